package schedule

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// world has a log and a clock that goes on when the schedule waits.
type world struct {
	t   *testing.T
	key *audit.Key
	log *audit.Log
	to  string

	mu     sync.Mutex
	now    time.Time
	until  time.Time     // the clock stops there
	idle   chan struct{} // closed when it has
	broken error         // of the log
	faults []string
}

func newWorld(t *testing.T, now string) *world {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, key: key, to: filepath.Join(t.TempDir(), "reports"), now: when(t, now)}
	w.log, err = audit.Open(audit.Config{Dir: filepath.Join(t.TempDir(), "log"), Key: key, Instance: "edge-1", CheckpointEvery: time.Hour, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.log.Close() })
	return w
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) set(text string) { w.mu.Lock(); w.now = when(w.t, text); w.mu.Unlock() }

func (w *world) record(b audit.Body) error {
	_, err := w.log.Append(context.Background(), b.AppendBody(nil, "edge-1"))
	return err
}

func (w *world) packed(ctx context.Context) (packer.Log, error) {
	w.mu.Lock()
	broken := w.broken
	w.mu.Unlock()
	if broken != nil {
		return packer.Log{}, broken
	}
	if err := w.log.Sign(ctx, w.log.Next()); err != nil {
		return packer.Log{}, err
	}
	v, err := w.key.Verifier()
	return packer.Log{Dir: w.log.Records(), Signer: w.key, Keys: []note.Verifier{v}}, err
}

// wait lets the clock go on, up to where it stops.
func (w *world) wait(ctx context.Context, d time.Duration) bool {
	w.mu.Lock()
	if w.now.Before(w.until) {
		w.now = w.now.Add(d)
		w.mu.Unlock()
		return ctx.Err() == nil
	}
	if w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
	w.mu.Unlock()
	<-ctx.Done()
	return false
}

// run runs the plans up to a time.
func (w *world) run(until string, plans ...*Plan) {
	w.t.Helper()
	if err := Check(plans); err != nil {
		w.t.Fatal(err)
	}
	idle := make(chan struct{})
	w.mu.Lock()
	w.until, w.idle = when(w.t, until), idle
	w.mu.Unlock()
	s := Start(Options{Plans: plans, Log: w.packed, Record: w.record, Report: w.fault, Now: w.clock, Wait: w.wait})
	select {
	case <-idle:
	case <-time.After(2 * time.Minute):
		w.t.Error("the schedule does not come to rest")
	}
	s.Stop()
}

func (w *world) fault(err error) {
	w.mu.Lock()
	w.faults = append(w.faults, err.Error())
	w.mu.Unlock()
}

// files are the names of what was made, without what all have.
func (w *world) files() (names []string) {
	w.t.Helper()
	list, err := os.ReadDir(w.to)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, strings.NewReplacer("soc2-", "", "T000000Z", "").Replace(e.Name()))
	}
	return names
}

// attempts are what the log says of attempts.
func (w *world) attempts() (list []string) {
	w.t.Helper()
	_, err := w.log.Records().Range(context.Background(), 0, w.log.Next(), func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		if read, ok := r.Body.(*audit.EvidenceRead); ok {
			list = append(list, read.From.Format("01-02 ")+read.Filter)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) want(got, want []string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAPeriodIsMadeWhenItIsOver(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	w.run("2026-01-12 01:00", &Plan{Every: Weekly, To: w.to})
	w.want(w.files(), nil)
	w.run("2026-01-12 01:02", &Plan{Every: Weekly, To: w.to})
	w.want(w.files(), []string{"evidence_weekly_20260105_20260112.zip"})
	b, err := os.ReadFile(filepath.Join(w.to, "soc2-evidence_weekly_20260105T000000Z_20260112T000000Z.zip"))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := w.key.Verifier()
	r, err := pack.Verify(bytes.NewReader(b), int64(len(b)), []note.Verifier{v}, pack.Options{})
	if err != nil || !r.Verified {
		t.Errorf("%v %+v", err, r)
	}
	a, err := pack.OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Bytes(pack.ReportFile, pack.MaxJSON)
	if err != nil || bytes.Contains(text, []byte("when the pack was made")) {
		t.Errorf("the log does not cover the period: %v %s", err, text)
	}
	w.want(w.attempts(), []string{"01-05 schedule begins", "01-05 schedule made"})
}

func TestNothingIsMadeTwiceAlthoughItsFileIsGone(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	w.run("2026-01-12 02:00", &Plan{Every: Weekly, To: w.to, Make: []string{Report}})
	w.want(w.files(), []string{"report_weekly_20260105_20260112.html"})
	if err := os.RemoveAll(w.to); err != nil {
		t.Fatal(err)
	}
	for range 3 { // restarts
		w.run("2026-01-13 00:00", &Plan{Every: Weekly, To: w.to, Make: []string{Report}})
	}
	w.want(w.files(), nil)
	w.run("2026-01-19 02:00", &Plan{Every: Weekly, To: w.to, Make: []string{Report}})
	w.want(w.files(), []string{"report_weekly_20260112_20260119.html"})
}

func TestWhatWasMissedWhileNothingRanIsMadeAtTheStart(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	w.run("2026-01-12 02:00", &Plan{Every: Weekly, To: w.to})
	w.set("2026-02-04 00:00")
	w.run("2026-02-04 00:01", &Plan{Every: Weekly, To: w.to})
	w.want(w.files(), []string{
		"evidence_weekly_20260105_20260112.zip", "evidence_weekly_20260112_20260119.zip",
		"evidence_weekly_20260119_20260126.zip", "evidence_weekly_20260126_20260202.zip",
	})
}

func TestANewPlanMakesTheLastPeriodOnly(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	w.set("2026-04-15 00:00")
	w.run("2026-04-15 00:01", &Plan{Every: Monthly, To: w.to}, &Plan{Every: Quarterly, To: w.to, Make: []string{Pack, Report}})
	w.want(w.files(), []string{"evidence_monthly_20260301_20260401.zip", "evidence_quarterly_20260101_20260401.zip", "report_quarterly_20260101_20260401.html"})
}

func TestAPeriodBeforeTheLogIsNotMade(t *testing.T) {
	w := newWorld(t, "2026-02-03 00:00")
	w.run("2026-02-05 00:00", &Plan{Every: Monthly, To: w.to})
	w.want(w.attempts(), nil)
}

func TestCronPeriodsGoFromOneTimeToTheNext(t *testing.T) {
	w := newWorld(t, "2026-01-01 00:00")
	w.run("2026-01-03 12:00", &Plan{Cron: "30 6 * * *", To: w.to, Make: []string{Report}})
	var got []string
	for _, name := range w.files() {
		got = append(got, name[len("report_cron-00000000_"):])
	}
	w.want(got, []string{"20251231T063000Z_20260101T063000Z.html", "20260101T063000Z_20260102T063000Z.html", "20260102T063000Z_20260103T063000Z.html"})
}

func TestOnlySoManyFilesAreKept(t *testing.T) {
	w := newWorld(t, "2026-01-01 00:00")
	if err := os.MkdirAll(w.to, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.to, "zzz.html"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("2026-01-05 12:00", &Plan{Cron: "0 0 * * *", To: w.to, Make: []string{Report}, Keep: 2})
	if got := w.files(); len(got) != 3 || !strings.HasSuffix(got[0], "20260103_20260104.html") || got[2] != "zzz.html" {
		t.Errorf("%q", got)
	}
}

func TestAFailureIsRecordedAndTriedAgain(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	if err := os.WriteFile(w.to, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("2026-01-12 03:30", &Plan{Every: Weekly, To: w.to})
	got := w.attempts()
	if len(got) != 6 || got[0] != "01-05 schedule begins" || !strings.HasPrefix(got[1], "01-05 schedule failed: ") || len(w.faults) != 3 {
		t.Fatalf("%q, reported %q", got, w.faults)
	}
	if err := os.Remove(w.to); err != nil {
		t.Fatal(err)
	}
	w.run("2026-01-12 03:40", &Plan{Every: Weekly, To: w.to})
	w.want(w.files(), []string{"evidence_weekly_20260105_20260112.zip"})
}

func TestAnAttemptThatEndedTheProcessIsNotMadeAtEachStart(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	w.set("2026-01-12 05:00")
	p := &Plan{Every: Weekly, To: w.to}
	if err := Check([]*Plan{p}); err != nil {
		t.Fatal(err)
	}
	s := &Schedule{opt: Options{Record: w.record, Now: w.clock}}
	crashed := &task{plan: p, what: Pack, period: p.periods(w.clock(), 1)[0]}
	if err := s.record(crashed, begun, made{}, nil); err != nil {
		t.Fatal(err)
	}
	w.run("2026-01-12 05:59", p)
	w.want(w.files(), nil)
	w.run("2026-01-12 06:01", p)
	w.want(w.files(), []string{"evidence_weekly_20260105_20260112.zip"})
}

func TestAPlanThatNeverSucceededMakesUpForWhatItTried(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	if err := os.WriteFile(w.to, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("2026-01-20 00:00", &Plan{Every: Weekly, To: w.to})
	if err := os.Remove(w.to); err != nil {
		t.Fatal(err)
	}
	w.run("2026-01-20 00:01", &Plan{Every: Weekly, To: w.to})
	w.want(w.files(), []string{"evidence_weekly_20260105_20260112.zip", "evidence_weekly_20260112_20260119.zip"})
}

func TestALogWhoseBeginningIsDamagedIsReportedOn(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	w.run("2026-01-06 00:00", &Plan{Every: Weekly, To: w.to})
	if err := w.log.Close(); err != nil {
		t.Fatal(err)
	}
	dir := w.log.Records()
	list, err := dir.Segments()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(w.log.Dir(), filepath.FromSlash(list[0].Path())), 10); err != nil {
		t.Fatal(err)
	}
	plans := []*Plan{{Every: Weekly, To: w.to}}
	if err := Check(plans); err != nil {
		t.Fatal(err)
	}
	open, _, err := pending(t.Context(), dir, plans, when(t, "2026-01-12 05:00"))
	if err != nil || len(open) != 1 || !open[0].period.To.Equal(when(t, "2026-01-12 00:00")) {
		t.Errorf("%v %v", open, err)
	}
}

func TestALogThatCannotBeReadIsReadAgainLater(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	w.set("2026-01-12 05:00")
	w.broken = errors.New("no log yet")
	w.run("2026-01-12 05:05", &Plan{Every: Weekly, To: w.to})
	if len(w.faults) == 0 || len(w.files()) > 0 {
		t.Errorf("%q %q", w.faults, w.files())
	}
	w.broken = nil
	w.run("2026-01-12 05:06", &Plan{Every: Weekly, To: w.to})
	w.want(w.files(), []string{"evidence_weekly_20260105_20260112.zip"})
}

func TestLeftoversOfACrashAreRemoved(t *testing.T) {
	w := newWorld(t, "2026-01-05 00:00")
	if err := os.MkdirAll(filepath.Join(w.to, ".soc2-evidence_weekly_12.tmp", "soc2-pack-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.run("2026-01-12 02:00", &Plan{Every: Weekly, To: w.to})
	w.want(w.files(), []string{"evidence_weekly_20260105_20260112.zip"})
}

func TestOneScheduleOfAProcessRunsAtATime(t *testing.T) {
	w := newWorld(t, "2026-01-12 05:00")
	running := make(chan struct{})
	first := Start(Options{Log: w.packed, Record: w.record, Report: w.fault, Now: w.clock, Wait: func(ctx context.Context, _ time.Duration) bool {
		close(running)
		<-ctx.Done()
		return false
	}})
	<-running
	second := Start(Options{Log: func(context.Context) (packer.Log, error) { t.Error("it runs"); return packer.Log{}, nil }, Report: w.fault})
	second.Stop()
	first.Stop()
	if len(turn) != 0 {
		t.Error("nobody gave the turn back")
	}
}

func TestPlansThatAreWrongAreRefused(t *testing.T) {
	for name, list := range map[string][]*Plan{
		"nothing": {{}}, "no directory": {{Every: Weekly}}, "not absolute": {{Every: Weekly, To: "x"}}, "daily": {{Every: "daily", To: "/x"}},
		"both": {{Every: Weekly, Cron: "0 0 * * *", To: "/x"}}, "cron": {{Cron: "x", To: "/x"}}, "make": {{Every: Weekly, To: "/x", Make: []string{"mail"}}},
		"keep": {{Every: Weekly, To: "/x", Keep: -1}}, "twice": {{Every: Weekly, To: "/x"}, {Every: Weekly, To: "/x", Full: true}}, "twice, spelled otherwise": {{Every: Weekly, To: "/x"}, {Every: Weekly, To: "/x/"}},
	} {
		if err := Check(list); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if err := Check([]*Plan{{Every: Weekly, To: "/x"}, {Every: Weekly, To: "/x", Make: []string{Report}}, {Every: Monthly, To: "/x"}}); err != nil {
		t.Error(err)
	}
}
