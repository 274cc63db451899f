package checkpoint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// MaxNotes is how many notes Several reads: more than a log has witnesses.
const MaxNotes = 256

// Several splits a file that holds one note or several, with an empty line
// between them:
//
//	edge-1/soc2            first note: text,
//	286403
//	CsUYapGG…
//	                       empty line,
//	— edge-1/soc2 Az3g…    signatures
//	                       empty line
//	edge-1/soc2            second note
//	…
//
// No signature is looked at. There is only the one spelling that Join writes.
func Several(b []byte) (notes [][]byte, err error) {
	for rest := b; ; {
		n := noteSize(rest)
		if n == 0 || len(notes) == MaxNotes {
			return nil, fmt.Errorf("%w: note %d in it has no signatures, or there are more than %d", ErrMalformed, len(notes)+1, MaxNotes)
		}
		notes = append(notes, rest[:n])
		if rest = rest[n:]; len(rest) == 0 {
			return notes, nil
		}
		if rest[0] != '\n' {
			return nil, fmt.Errorf("%w: no empty line follows note %d in it", ErrMalformed, len(notes))
		}
		rest = rest[1:]
	}
}

// noteSize returns the bytes of the first note, or 0 if it is none.
func noteSize(b []byte) int {
	at := bytes.Index(b, []byte("\n\n— "))
	if at < 0 {
		return 0
	}
	for at += 2; bytes.HasPrefix(b[at:], []byte("— ")); {
		end := bytes.IndexByte(b[at:], '\n')
		if end < 0 {
			return 0
		}
		at += end + 1
	}
	return at
}

// Join is the reverse of Several.
func Join(notes [][]byte) []byte { return bytes.Join(notes, []byte{'\n'}) }

// Newest adds a cosigned note to those that were kept, newest first, and drops
// those that are of no use any more: each witness who is in one is in a newer
// one too. A witness is known by the name and key hash of its line; lines under
// the log's own name are not of witnesses.
func Newest(kept [][]byte, newest []byte) ([][]byte, error) {
	type sized struct {
		size int64
		note []byte
	}
	var all []sized
	for _, b := range append([][]byte{newest}, kept...) {
		h, err := Peek(b)
		if err != nil {
			return nil, err
		}
		all = append(all, sized{h.Size, b})
	}
	slices.SortStableFunc(all, func(a, b sized) int { return cmp.Compare(b.size, a.size) })
	var notes [][]byte
	seen := map[string]bool{}
	for _, n := range all {
		ids, err := cosigners(n.note)
		if err != nil {
			return nil, err
		}
		if len(notes) < MaxNotes && slices.ContainsFunc(ids, func(id string) bool { return !seen[id] }) {
			notes = append(notes, n.note)
		}
		for _, id := range ids {
			seen[id] = true
		}
	}
	return notes, nil
}

// cosigners returns the names and key hashes of the signatures that are not
// under the log's own name.
func cosigners(b []byte) (ids []string, err error) {
	h, err := Peek(b)
	if err != nil {
		return nil, err
	}
	n, err := unverified(b)
	if err != nil {
		return nil, err
	}
	for _, s := range n.UnverifiedSigs {
		if s.Name != h.Origin {
			ids = append(ids, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
		}
	}
	return ids, nil
}

// unverified parses a note without a key.
func unverified(b []byte) (*note.Note, error) {
	_, err := note.Open(b, note.VerifierList())
	if u, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		return u.Note, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
}
