package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
)

// head is a checkpoint that the log has.
type head struct {
	Size   int64     `json:"tree_size"`
	Root   string    `json:"tree_root"`
	Newest time.Time `json:"newest_record,omitzero"` // about when the last record of the tree was appended
	From   string    `json:"kept_as"`                // newest, witnessed, timestamped
	Note   string    `json:"note"`
	By     []signer  `json:"signatures"`
	Stamp  []byte    `json:"timestamp,omitempty"` // TimeStampResp (RFC 3161), DER
}

// signer is a signature of a note, as it says itself.
type signer struct {
	Name string    `json:"name"`
	Hash string    `json:"key_hash"`
	Time time.Time `json:"time,omitzero"` // of a cosignature
}

// kept is a checkpoint that the log has, before it is read.
type kept struct {
	size int64
	as   string
	note []byte // nil: it is in a file
}

// checkpoints answers with the signed heads that the log has: the newest, those
// that were witnessed last and those that were stamped. Of the period are those
// whose newest record is.
func (q *inquest) checkpoints() {
	after, ok := q.place()
	if !ok {
		return
	}
	list, err := q.heads()
	if err == nil {
		list, err = q.spanned(list)
	}
	if err != nil {
		q.failed(err)
		return
	}
	count := int64(len(list))
	list = list[min(after, count):]
	rest := list[min(q.limit, len(list)):]
	page := []head{}
	for _, k := range list[:len(list)-len(rest)] {
		h, err := q.read(k)
		if err != nil {
			q.failed(err)
			return
		}
		page = append(page, h)
	}
	var next *string
	if len(rest) > 0 {
		next = new(q.next(strconv.FormatInt(after+int64(len(page)), 10)))
	}
	q.listed(len(page), count)
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		basis
		Count       int64   `json:"count"`
		Checkpoints []head  `json:"checkpoints"`
		Next        *string `json:"next"`
	}{q.basis(), count, page, next})
}

// heads lists the checkpoints of the log by their size.
func (q *inquest) heads() (list []kept, err error) {
	if q.log.Checkpoint != nil {
		list = append(list, kept{q.log.Head.Size, "newest", q.log.Checkpoint})
	}
	fsys := q.log.Dir.FS
	entries, err := fs.ReadDir(fsys, timestamp.Folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if size, stamp, ok := timestamp.ParsePath(timestamp.Folder + "/" + e.Name()); ok && !stamp {
			list = append(list, kept{size: size, as: "timestamped"})
		}
	}
	b, err := fs.ReadFile(fsys, notary.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(b) > 0 {
		notes, err := checkpoint.Several(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", notary.File, err)
		}
		for _, n := range notes {
			h, err := checkpoint.Peek(n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", notary.File, err)
			}
			list = append(list, kept{h.Size, "witnessed", n})
		}
	}
	list = slices.DeleteFunc(list, func(k kept) bool { return k.size > q.log.Head.Size })
	slices.SortStableFunc(list, func(a, b kept) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.as, b.as)) })
	return list, nil
}

// spanned cuts off the checkpoints that are not of the period.
func (q *inquest) spanned(list []kept) ([]kept, error) {
	for _, b := range []struct {
		at  time.Time
		cut func(i int)
	}{
		{q.period.To, func(i int) { list = list[:i] }},
		{q.period.From, func(i int) { list = list[i:] }},
	} {
		if b.at.IsZero() {
			continue
		}
		var failed error
		i, _ := slices.BinarySearchFunc(list, b.at, func(k kept, at time.Time) int {
			newest, err := q.newestOf(k.size)
			failed = errors.Join(failed, err)
			if newest.Before(at) {
				return -1
			}
			return 1
		})
		if failed != nil {
			return nil, failed
		}
		b.cut(i)
	}
	return list, nil
}

// newestOf is about when the last record of a tree was appended; zero if the log
// no longer has it.
func (q *inquest) newestOf(size int64) (time.Time, error) {
	if size == 0 {
		return time.Time{}, nil
	}
	record, err := q.log.Dir.Record(size - 1)
	if errors.Is(err, records.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	at, err := records.Appended(record)
	if err != nil {
		return at, fmt.Errorf("record %d: %w", size-1, err)
	}
	return at.UTC(), nil
}

// read reads a checkpoint.
func (q *inquest) read(k kept) (h head, err error) {
	text := k.note
	if text == nil {
		if text, err = fs.ReadFile(q.log.Dir.FS, timestamp.CheckpointPath(k.size)); err != nil {
			return h, err
		}
		if h.Stamp, err = fs.ReadFile(q.log.Dir.FS, timestamp.ResponsePath(k.size)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return h, err
		}
	}
	c, err := checkpoint.Peek(text)
	if err != nil {
		return h, err
	}
	h.Size, h.Root, h.From, h.Note, h.By = c.Size, c.Root.String(), k.as, string(text), signersOf(text)
	h.Newest, err = q.newestOf(c.Size)
	return h, err
}

// signersOf lists the signatures of a note, none of which is verified.
func signersOf(text []byte) []signer {
	list := []signer{}
	_, err := note.Open(text, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return list
	}
	for _, s := range unverified.Note.UnverifiedSigs {
		by := signer{Name: s.Name, Hash: fmt.Sprintf("%08x", s.Hash)}
		if at, err := cosignature.Time(s); err == nil {
			by.Time = at
		}
		list = append(list, by)
	}
	return list
}
