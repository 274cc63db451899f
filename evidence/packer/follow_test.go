package packer_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// bare is the log with the tree that it stands on, and nothing that signs.
func (s *site) bare() packer.Log {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, checkpoint.File))
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := checkpoint.Peek(text)
	if err != nil {
		s.t.Fatal(err)
	}
	l := s.input()
	l.Head, l.Signer, l.Keys = &h, nil, nil
	return l
}

// followed is the history of a check: its spans and its figures.
func (s *site) followed(id string) (list []pack.Span, f *pack.Figures) {
	s.t.Helper()
	f, err := packer.History(context.Background(), s.bare(), s.options(false), id, func(x *pack.Span) error {
		list = append(list, *x)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list, f
}

func TestDocumentsAreTheFilesOfThePack(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	packed, _ := unpack(t, s.make(false))
	_, made, err := packer.Documents(t.Context(), []packer.Log{s.bare()}, s.options(false))
	if err != nil {
		t.Fatal(err)
	}
	if len(made) < 8 {
		t.Errorf("%d documents", len(made))
	}
	for name, content := range made {
		if !bytes.Equal(packed[name], content) {
			t.Errorf("%s differs from the pack's", name)
		}
	}
	defined, err := packer.Definitions(t.Context(), []packer.Log{s.bare()}, s.options(false))
	if err != nil || len(defined) != 2 {
		t.Fatal(len(defined), err)
	}
	for name, content := range defined {
		if !bytes.Equal(packed[name], content) {
			t.Errorf("%s without records differs from the pack's", name)
		}
	}
	if _, err := packer.Write(t.Context(), new(bytes.Buffer), []packer.Log{s.bare()}, s.options(false)); err == nil {
		t.Error("a pack of a tree that nobody verified was written")
	}
}

// TestSpansOfAHistoryAreThePeriodAndAddUpToTheFigures of each check, also of one
// that the log does not know.
func TestSpansOfAHistoryAreThePeriodAndAddUpToTheFigures(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	_, period := report(t, s.make(false)).Logs[0], s.want.period
	whole := report(t, s.make(false)).Logs[0].Checks
	for _, id := range append(slices.Sorted(maps.Keys(whole)), "RLM-001") {
		list, f := s.followed(id)
		at, sums := period.From.Format(pack.TimeForm), map[string]int64{}
		for i, x := range list {
			if x.From != at || x.From >= x.To || i > 0 && list[i-1].State == x.State {
				t.Errorf("%s: span %d is %+v after %s", id, i, x, at)
			}
			from, err1 := time.Parse(time.RFC3339Nano, x.From)
			to, err2 := time.Parse(time.RFC3339Nano, x.To)
			if err := errors.Join(err1, err2); err != nil || to.Sub(from).Nanoseconds() != x.NS {
				t.Errorf("%s: %+v is %s long: %v", id, x, to.Sub(from), err)
			}
			at = x.To
			sums[x.State] += x.NS
		}
		if at != period.To.Format(pack.TimeForm) {
			t.Errorf("%s ends at %s", id, at)
		}
		if want, known := whole[id]; known && (!maps.Equal(sums, want.NS) || !maps.Equal(f.Checks[id].NS, want.NS) || f.Checks[id].FailingMinutes != want.FailingMinutes || f.Checks[id].Transitions != want.Transitions || f.Checks[id].State != want.State) {
			t.Errorf("%s: %v, the pack has %+v", id, sums, want)
		} else if !known && (len(list) != 1 || list[0].State != "unknown" || list[0].By != nil) {
			t.Errorf("%s: %+v", id, list)
		}
		if len(f.Checks) > 1 {
			t.Errorf("%s: %d checks were followed", id, len(f.Checks))
		}
	}
}

func TestSpansNameTheRecordsThatBeganThem(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	hour := func(h time.Duration) string { return start.Add(h * time.Hour).Format(pack.TimeForm) }
	list, _ := s.followed("ADM-001")
	if len(list) != 3 {
		t.Fatalf("%+v", list)
	}
	for i, want := range []struct{ state, from, to, minutes, kind string }{
		{"fail", hour(48), hour(50), "120.000", "check.transition"},
		{"pass", hour(50), hour(60), "600.000", "check.transition"},
		{"unknown", hour(60), hour(72), "720.000", "log.close"},
	} {
		x := list[i]
		if x.State != want.state || x.From != want.from || x.To != want.to || x.Minutes() != want.minutes || x.By == nil || x.By.Kind != want.kind {
			t.Errorf("%d: %+v by %+v, want %+v", i, x, x.By, want)
		}
	}
	if list[0].By.Summary != "found" || list[0].By.Trigger != "change" || list[0].By.Seq >= list[1].By.Seq {
		t.Errorf("%+v %+v", list[0].By, list[1].By)
	}
	tls, _ := s.followed("TLS-001")
	var states []string
	for _, x := range tls {
		states = append(states, x.State)
	}
	if !slices.Equal(states, []string{"pass", "fail", "pass", "unknown", "pass"}) {
		t.Errorf("%v", states)
	}
}

func TestHistoryOfADamagedLogIsUnknownWhereItIsDamaged(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	names, err := filepath.Glob(filepath.Join(s.dir, "segments", "*"))
	if err != nil || len(names) < 8 {
		t.Fatal(len(names), err)
	}
	_, whole := s.followed("TLS-001")
	for _, name := range names[len(names)/2 : len(names)/2+2] {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	list, f := s.followed("TLS-001")
	if !slices.ContainsFunc(f.Gaps, func(g pack.Gap) bool { return strings.Contains(g.Why, "cannot be read") }) || f.Checks["TLS-001"].NS["unknown"] <= whole.Checks["TLS-001"].NS["unknown"] {
		t.Errorf("gaps %v, %+v", f.Gaps, list)
	}
}

func TestHistoryStopsWithWhoAsked(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := packer.History(ctx, s.bare(), s.options(false), "TLS-001", func(*pack.Span) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	full := errors.New("full")
	if _, err := packer.History(t.Context(), s.bare(), s.options(false), "TLS-001", func(*pack.Span) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}
