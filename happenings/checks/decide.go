package checks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/internal/adminapi"
)

// triage records what a finding is. It is named by its check, or, for a change
// that weakened something (CHG-004), by the hash of the configuration after it.
func (w *watcher) triage(out http.ResponseWriter, r *http.Request, id string) (any, error) {
	t, now := new(decision.Triage), time.Now()
	if err := read(out, r, t); err != nil {
		return nil, err
	}
	if err := t.Vet(now); err != nil {
		return nil, refuse(err)
	}
	book, err := hold()
	if err != nil {
		return nil, err
	}
	defer book.Release()
	subject := id
	var since time.Time
	if d := controls.Checks().Check(id); d != nil {
		subject = d.ID
		since, err = w.found(r.Context(), book.Log(), d.ID, t)
	} else {
		since, err = w.changed(id, t)
	}
	if err != nil {
		return nil, err
	}
	return enter(book, t.Record(now, subject, since, changes.ActorOf(r)))
}

// found returns since when a check fails, and sets the record that the triage
// answers. If it names one itself, that is asked.
func (w *watcher) found(ctx context.Context, log *audit.Log, id string, t *decision.Triage) (time.Time, error) {
	if t.Seq > 0 {
		return transitionAt(log, t.Seq, id)
	}
	report := w.report.Load()
	if report == nil {
		return time.Time{}, adminapi.Fail(http.StatusServiceUnavailable, "It is not recorded: the checks were not made yet: try again in a moment.")
	}
	f := report.Check(id)
	if f.Result != controls.Fail && f.Result != controls.Unknown {
		return time.Time{}, adminapi.Fail(http.StatusConflict, `It is not recorded: the result of %s is %s now, so there is no finding. For one of the past give "record_seq", the index of the check.transition record that it began with.`, id, f.Result)
	}
	if seq, ok := transitionSince(ctx, log.Records(), id, f.Failing); ok {
		t.Seq = seq
	}
	return f.Failing, nil
}

// transitionAt returns the time of the record with which a finding began.
func transitionAt(log *audit.Log, seq int64, id string) (time.Time, error) {
	none := adminapi.Fail(http.StatusNotFound, `It is not recorded: "record_seq" is %d, which is no check.transition record in which %s begins to fail or to be unknown.`, seq, id)
	if seq >= log.Durable() {
		return time.Time{}, none
	}
	b, err := log.Records().Record(seq)
	if errors.Is(err, records.ErrNotFound) {
		return time.Time{}, none
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading record %d: %w", seq, err)
	}
	if r, err := audit.Decode(b); err == nil {
		if c, ok := r.Body.(*audit.CheckTransition); ok && c.Check == id && finds(c) {
			return c.Time, nil
		}
	}
	return time.Time{}, none
}

func finds(c *audit.CheckTransition) bool {
	return c.After == string(controls.Fail) || c.After == string(controls.Unknown)
}

// The bounds of the search for the record with which a finding began. The record
// is written right after the run whose time it has.
const (
	earlier   = time.Second
	transited = 4096 // records that are looked at
)

// transitionSince finds the record with which a finding began. It reports false
// if the log does not have it any more, or not where it has to be.
func transitionSince(ctx context.Context, dir records.Dir, id string, since time.Time) (found int64, ok bool) {
	from, err := dir.Search(ctx, func(record []byte) (bool, error) {
		at, err := records.Appended(record)
		return at.Before(since.Add(-earlier)), err
	})
	if err != nil {
		return 0, false
	}
	_, _ = dir.Range(ctx, from, from+transited, func(seq int64, record []byte) error { // what cannot be read is not found
		if string(records.Kind(record)) != string(audit.KindCheck) {
			return nil
		}
		r, err := audit.Decode(record)
		if err != nil {
			return nil
		}
		if c, is := r.Body.(*audit.CheckTransition); is && c.Check == id && finds(c) && !c.Time.Before(since) {
			found, ok = seq, true
			return errFound
		}
		return nil
	})
	return found, ok
}

// errFound ends a search.
var errFound = errors.New("found")

// changed returns when the configuration with a hash was applied, if that
// weakened something.
func (w *watcher) changed(hash string, t *decision.Triage) (time.Time, error) {
	if !decision.IsSHA256(hash) {
		return time.Time{}, adminapi.Fail(http.StatusNotFound, "It is not recorded: %.40q is neither a check, such as TLS-001, nor the SHA-256 of a configuration.", hash)
	}
	if t.Seq > 0 {
		return time.Time{}, adminapi.Fail(http.StatusBadRequest, `It is not recorded: "record_seq" is for checks; a configuration is named by its hash alone.`)
	}
	var s controls.Server
	w.tally.Facts(&s)
	for _, c := range slices.Backward(s.Changes) {
		if c.After == hash && len(c.Risks) > 0 {
			return c.Time, nil
		}
	}
	return time.Time{}, adminapi.Fail(http.StatusNotFound, "It is not recorded: no change to the configuration %s that weakened something is known.", hash)
}

// accept records that a risk is accepted.
func (w *watcher) accept(out http.ResponseWriter, r *http.Request) (any, error) {
	a, now := new(decision.Acceptance), time.Now()
	if err := read(out, r, a); err != nil {
		return nil, err
	}
	if err := a.Vet(now); err != nil {
		return nil, refuse(err)
	}
	book, err := hold()
	if err != nil {
		return nil, err
	}
	defer book.Release()
	return enter(book, a.Record(now, changes.ActorOf(r)))
}

// withdraw records that a risk is not accepted any more.
func (w *watcher) withdraw(out http.ResponseWriter, r *http.Request, id string) (any, error) {
	d, now := new(decision.Withdrawal), time.Now()
	if err := read(out, r, d); err != nil {
		return nil, err
	}
	if err := d.Vet(); err != nil {
		return nil, refuse(err)
	}
	book, err := hold()
	if err != nil {
		return nil, err
	}
	defer book.Release()
	seq, err := strconv.ParseInt(id, 10, 64)
	for _, x := range w.tally.Accepted(now) {
		switch {
		case err != nil || x.Record != seq:
		case x.State != controls.StateInForce:
			return nil, adminapi.Fail(http.StatusConflict, "It is not recorded: the exception %d is %s.", seq, strings.ReplaceAll(x.State, "_", " "))
		default:
			return enter(book, d.Record(now, &x.Acceptance, changes.ActorOf(r)))
		}
	}
	return nil, adminapi.Fail(http.StatusNotFound, "It is not recorded: there is no exception %.40q. An exception is named by the index of its record; one of the configuration is withdrawn there.", id)
}

// drill records how a drill went. What was restored is compared with the log.
func (w *watcher) drill(out http.ResponseWriter, r *http.Request) (any, error) {
	d := new(decision.Drill)
	if err := read(out, r, d); err != nil {
		return nil, err
	}
	if err := d.Vet(); err != nil {
		return nil, refuse(err)
	}
	book, err := hold()
	if err != nil {
		return nil, err
	}
	defer book.Release()
	if d.Restored != nil && d.Verdict == decision.Passed {
		err := ofLog(r.Context(), book.Log(), d.Restored)
		if err == nil {
			err = fresh(book.Log(), d.Restored, time.Now())
		}
		if err != nil {
			return nil, adminapi.Fail(http.StatusConflict, "It is not recorded: %s.", err)
		}
	}
	record, err := d.Record(time.Now(), changes.ActorOf(r))
	if err != nil {
		return nil, err
	}
	return enter(book, record)
}

// ofLog checks that what was restored is a beginning of the log.
func ofLog(ctx context.Context, log *audit.Log, c *decision.Restored) error {
	h, err := log.Head()
	if err != nil {
		return err
	}
	head, err := checkpoint.Peek(h.Note)
	if err != nil {
		return err
	}
	switch {
	case export.Visible(head.Origin) != c.Origin:
		return fmt.Errorf("the copy is of the log %.80q, and this is %q", c.Origin, head.Origin)
	case c.Size > head.Size:
		return fmt.Errorf("the copy has %d signed records, and this log's checkpoint signs %d", c.Size, head.Size)
	}
	root := head.Root
	if c.Size < head.Size {
		if root, err = (tiles.Reader{Records: log.Records(), Size: c.Size}).Root(ctx); err != nil {
			return err
		}
	}
	if root.String() != c.Root {
		return fmt.Errorf("the tree of the first %d records of this log has another root than the copy", c.Size)
	}
	return nil
}

// delivery is how long a drill may take to be recorded, besides its verification.
const delivery = 10 * time.Minute

// fresh checks that the log has not gone on without what was restored for longer
// than the drill allowed: the caller may have compared it with another copy.
func fresh(log *audit.Log, c *decision.Restored, now time.Time) error {
	if c.Size >= log.Durable() {
		return nil
	}
	b, err := log.Records().Record(c.Size)
	if err != nil {
		return fmt.Errorf("the first record that the copy lacks cannot be read: %w", err)
	}
	at, err := records.Appended(b)
	if err != nil {
		return err
	}
	if age := now.Sub(at); age > c.MaxAge+c.Took+delivery {
		return fmt.Errorf("this log went on without the copy since %s, and the drill allowed %s", at.UTC().Format(time.RFC3339), c.MaxAge)
	}
	return nil
}
