package checks

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
)

// TestReadingBackGoesOnInTheNextConfiguration has a configuration be replaced
// while the log is read back: the next one reads the rest, and nothing twice.
func TestReadingBackGoesOnInTheNextConfiguration(t *testing.T) {
	const requests = 3000
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Dir: filepath.Join(t.TempDir(), "log"), Key: key, Instance: "edge-1", CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	past := time.Now().Add(-time.Hour)
	change := &audit.ConfigChange{Time: past, Outcome: "applied", Source: "load", After: "a"}
	if _, err := log.Enqueue(t.Context(), change.AppendBody(nil, "edge-1")); err != nil {
		t.Fatal(err)
	}
	for i := range requests {
		ev := audit.Event{Start: past.Add(time.Duration(i) * time.Millisecond), Method: "GET", Path: "/", Status: 200, End: audit.EndComplete}
		ev.ID = audit.NewID(ev.Start)
		appendTo := log.Enqueue
		if i == requests-1 {
			appendTo = log.Append
		}
		if _, err := appendTo(t.Context(), ev.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}

	w := &watcher{tally: controls.NewTally(time.Now())}
	facts := func() (s controls.Server) {
		w.tally.Facts(&s)
		return s
	}
	replaced, cancel := context.WithCancel(t.Context())
	cancel()
	w.readBack(replaced, log.Records())
	if s := facts(); w.past.done || !s.History.IsZero() || s.Traffic.Requests == 0 || s.Traffic.Requests == requests {
		t.Fatalf("after the first: done %v, %d requests, history %s", w.past.done, s.Traffic.Requests, s.History)
	}
	w.readBack(t.Context(), log.Records())
	s := facts()
	if !w.past.done || s.Traffic.Requests != requests || len(s.Changes) != 1 || s.Recorded != "a" {
		t.Errorf("after the second: done %v, %d requests, changes %+v", w.past.done, s.Traffic.Requests, s.Changes)
	}
	if s.History.IsZero() || s.History.After(past.AddDate(0, 0, -90)) {
		t.Errorf("all was read, and the history begins %s", s.History)
	}
}

// TestRecordsThatNoLogTookAreNotForgotten writes without a log.
func TestRecordsThatNoLogTookAreNotForgotten(t *testing.T) {
	w := &watcher{tally: controls.NewTally(time.Now())}
	if w.write([]*audit.CheckTransition{{Check: "TLS-001"}}) {
		t.Error("there is no log, and the record was taken")
	}
}
