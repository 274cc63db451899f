package checks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// shelf is a log as the app would own it.
type shelf struct {
	log   *audit.Log
	tally *controls.Tally
	fails error
}

func (*shelf) Hold() bool        { return true }
func (*shelf) Release()          {}
func (s *shelf) Log() *audit.Log { return s.log }
func (s *shelf) Write(r audit.Body, _ bool) error {
	_, err := s.log.Append(context.Background(), r.AppendBody(nil, "edge-1"))
	return err
}

func (s *shelf) Enter(r *audit.Review) (int64, error) {
	if s.fails != nil {
		return 0, s.fails
	}
	seq, err := s.log.Append(context.Background(), r.AppendBody(nil, "edge-1"))
	if err == nil {
		s.tally.Decided(seq, r, false)
	}
	return seq, err
}

var _ ledger.Numbered = (*shelf)(nil)

func newShelf(t *testing.T, dir string) *shelf {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: "edge-1", CheckpointEvery: time.Hour, SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &shelf{log: log, tally: controls.NewTally(time.Now())}
}

// requests fills more than a segment.
func (s *shelf) requests(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		ev := audit.Event{Start: time.Now(), Method: "GET", Path: fmt.Sprintf("/%d", i), Status: 200, End: audit.EndComplete}
		ev.ID = audit.NewID(ev.Start)
		appendTo := s.log.Enqueue
		if i == n-1 {
			appendTo = s.log.Append
		}
		if _, err := appendTo(t.Context(), ev.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *shelf) enter(t *testing.T, r *audit.Review) int64 {
	t.Helper()
	seq, err := s.Enter(r)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func listed(t *testing.T, tally *controls.Tally, now time.Time) string {
	t.Helper()
	b, err := json.Marshal(tally.Accepted(now))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDecisionsAreReadBackFromTheLog has a log of many segments, in few of
// which a risk was accepted or withdrawn, and a process that starts with it. What
// it knows then is what the process before knew.
func TestDecisionsAreReadBackFromTheLog(t *testing.T) {
	s := newShelf(t, filepath.Join(t.TempDir(), "log"))
	now := time.Now().UTC()
	risk := func(check string, until time.Duration) *audit.Review {
		return &audit.Review{
			Time: now.Add(-300 * 24 * time.Hour), Kind: audit.KindReviewException, Subject: check, Verdict: controls.VerdictAccepted,
			Owner: "o", Approver: "a", Reason: "r", Until: now.Add(until),
		}
	}
	s.enter(t, risk("UPS-004", time.Hour))
	s.requests(t, 1000)
	withdrawn := s.enter(t, risk("BKP-001", time.Hour))
	s.requests(t, 1000)
	s.enter(t, &audit.Review{Time: now, Kind: audit.KindReviewException, Subject: "BKP-001", Verdict: controls.VerdictWithdrawn, Seq: withdrawn, Reason: "r"})
	s.enter(t, risk("ENV-003", -time.Hour))
	s.requests(t, 1000)
	s.enter(t, risk("CHG-005", time.Hour))
	s.enter(t, &audit.Review{Time: now.Add(-200 * 24 * time.Hour), Kind: audit.KindReviewTriage, Subject: "AUD-003", Verdict: "incident", Owner: "o", Reason: "r"})

	for deadline, skipped, read := time.Now().Add(30*time.Second), 0, 0; skipped == 0 || read == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("of the sealed segments %d are read and %d are not, after 30 s", read, skipped)
		}
		s.requests(t, 200)
		skipped, read = 0, 0
		for _, without := range segmentsWithout(s.log.Records(), reviews) {
			if without {
				skipped++
			} else {
				read++
			}
		}
	}

	w := &watcher{tally: controls.NewTally(now)}
	w.readDecisions(t.Context(), s.log)
	got, want := listed(t, w.tally, now), listed(t, s.tally, now)
	if got != want || strings.Count(got, `"state":"in_force"`) != 2 || strings.Count(got, `"state":"withdrawn"`) != 1 || strings.Count(got, `"state":"expired"`) != 1 {
		t.Errorf("read back\n%s\nknown\n%s", got, want)
	}
	other := newShelf(t, filepath.Join(t.TempDir(), "log"))
	w.readDecisions(t.Context(), other.log)
	if list := w.tally.Accepted(now); len(list) != 0 {
		t.Errorf("another log accepts %+v", list)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.readDecisions(ended, s.log)
	w.readDecisions(t.Context(), s.log)
	if got := listed(t, w.tally, now); got != want {
		t.Errorf("after a configuration that was replaced while it read: %s", got)
	}
	if list := w.tally.Reviews(); len(list) != 1 || list[0].Subject != "AUD-003" {
		t.Errorf("a triage that was read twice: %+v", list)
	}
}

// TestAWithdrawalThatCannotBeReadIsNotOverlooked has a log in which a risk was
// accepted and withdrawn, and the segment of the withdrawal is damaged.
func TestAWithdrawalThatCannotBeReadIsNotOverlooked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	s := newShelf(t, dir)
	now := time.Now().UTC()
	risk := func(check string) *audit.Review {
		return &audit.Review{Time: now, Kind: audit.KindReviewException, Subject: check, Verdict: controls.VerdictAccepted, Owner: "o", Approver: "a", Reason: "r", Until: now.Add(time.Hour)}
	}
	before := s.enter(t, risk("UPS-004"))
	s.requests(t, 1000)
	lost := s.enter(t, &audit.Review{Time: now, Kind: audit.KindReviewException, Subject: "UPS-004", Verdict: controls.VerdictWithdrawn, Seq: before, Reason: "r"})
	s.requests(t, 1000)
	after := s.enter(t, risk("BKP-001"))
	if err := s.log.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := s.log.Records().Segments()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s records.Segment) bool { return s.First > lost }) - 1
	if i < 1 || list[i].First <= before || list[i+1].First > after {
		t.Fatalf("the records %d, %d and %d are not in three segments: %+v", before, lost, after, list)
	}
	if err := os.Truncate(filepath.Join(dir, filepath.FromSlash(list[i].Path())), 10); err != nil {
		t.Fatal(err)
	}
	tally := controls.NewTally(now)
	if err := eachReview(t.Context(), s.log.Records(), s.log.Next(), tally); err == nil {
		t.Error("the damage is not told")
	}
	tally.Decided(before, risk("UPS-004"), true) // as by who reads the log back
	if all := tally.Accepted(now); len(all) != 1 || all[0].Record != after || all[0].State != controls.StateInForce {
		t.Errorf("in force: %+v", all)
	}
}

// TestACopyIsNotNewerThanTheLogSays has a log that went on after the copy.
func TestACopyIsNotNewerThanTheLogSays(t *testing.T) {
	s := newShelf(t, filepath.Join(t.TempDir(), "log"))
	s.requests(t, 10)
	now := time.Now()
	copied := &decision.Restored{Size: 5, MaxAge: time.Hour, Took: time.Minute}
	if err := fresh(s.log, copied, now); err != nil {
		t.Error(err)
	}
	if err := fresh(s.log, copied, now.Add(2*time.Hour)); err == nil || !strings.Contains(err.Error(), "went on without the copy") {
		t.Errorf("two hours later: %v", err)
	}
	if err := fresh(s.log, &decision.Restored{Size: s.log.Durable()}, now.Add(2*time.Hour)); err != nil {
		t.Errorf("a copy that lacks nothing: %v", err)
	}
}

// TestDecisionWithoutARecordIsNotInForce has no log, and one that fails.
func TestDecisionWithoutARecordIsNotInForce(t *testing.T) {
	w := &watcher{tally: controls.NewTally(time.Now())}
	accept := func() (int, string) {
		t.Helper()
		body := `{"check":"UPS-004","reason":"r","owner":"o","approved_by":"a","until":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/soc2/v1/exceptions", strings.NewReader(body))
		_, err := w.route(httptest.NewRecorder(), r)
		if err == nil {
			return http.StatusOK, ""
		}
		return 0, err.Error()
	}
	before := ledger.Current()
	s := newShelf(t, filepath.Join(t.TempDir(), "log"))
	s.tally = w.tally
	ledger.Set(s)
	if before != nil {
		t.Cleanup(func() { ledger.Set(before) })
	}
	if status, text := accept(); status != http.StatusOK || len(w.tally.Accepted(time.Now())) != 1 {
		t.Fatalf("%d %s", status, text)
	}
	s.fails = audit.ErrStalled
	if _, text := accept(); !strings.Contains(text, "It is not in force, because its record was not kept") || len(w.tally.Accepted(time.Now())) != 1 {
		t.Errorf("a log that takes no records: %s", text)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/soc2/v1/findings", nil)
	if _, err := w.route(httptest.NewRecorder(), r); err == nil || !strings.Contains(err.Error(), "not made yet") {
		t.Errorf("before the first run: %v", err)
	}
}
