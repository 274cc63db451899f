package soc2

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
)

// openShared opens a log and lets a request in.
func openShared(t *testing.T) *sharedLog {
	t.Helper()
	key, err := audit.NewKey("test/soc2")
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Dir: t.TempDir(), Key: key, CheckpointEvery: minCheckpointInterval})
	if err != nil {
		t.Fatal(err)
	}
	s := &sharedLog{dir: t.TempDir()}
	s.use(log, "test")
	if err := s.begin(false); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRequestMayEndAfterItWasCutOff ends the process under the requests of two
// logs: both logs are closed, and the requests end after that without a panic.
func TestRequestMayEndAfterItWasCutOff(t *testing.T) {
	list := []*sharedLog{openShared(t), openShared(t)}
	for _, s := range list {
		if err := s.Destruct(); err != nil {
			t.Fatal(err)
		}
	}
	awaitLeaving(time.Millisecond)
	for i, s := range list {
		if err := s.get().Ready(); !errors.Is(err, audit.ErrClosed) {
			t.Errorf("log %d is open: %v", i, err)
		}
		s.end()
		<-s.users.closed
	}
}

// TestJoiningTwiceWhatCannotBeOpened puts another directory, which has lost its
// records, in the place of an open log: each configuration that comes is told
// so, and the one that comes when the log is back has it.
func TestJoiningTwiceWhatCannotBeOpened(t *testing.T) {
	a := &App{InstanceName: "test", DataDir: t.TempDir()}
	a.Audit.CheckpointInterval = 1 // as often as the log looks
	if err := a.setDefaults(); err != nil {
		t.Fatal(err)
	}
	s, err := joinLog(a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.leave() }()
	aside := filepath.Join(a.DataDir, "aside")
	if err := os.Rename(s.dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.dir, os.DirFS(aside)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, records.Folder)); err != nil {
		t.Fatal(err)
	}
	ev := audit.LogHold{Time: time.Now(), Action: "set", Name: "x"}
	for s.get().Err() == nil {
		_ = s.appendNow(&ev, "test", true) // each is followed by a checkpoint, which notices
	}
	for range 2 {
		if _, err := joinLog(a); !errors.Is(err, audit.ErrDamaged) {
			t.Fatal(err)
		}
		if err := s.begin(false); err == nil {
			t.Error("a request came in")
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, s.dir); err != nil {
		t.Fatal(err)
	}
	again, err := joinLog(a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.leave() }()
	if err := again.begin(false); err != nil {
		t.Error(err)
	}
	again.end()
	if told := refusals(t, s); told != 2 {
		t.Errorf("the log tells of %d requests that were refused, not 2", told)
	}
}

// refusals has a log say what it missed, and reads how many requests were
// refused.
func refusals(t *testing.T, s *sharedLog) (n int64) {
	t.Helper()
	for lost, m := s.get().Gaps(); lost > 0 || m.Refused > 0; lost, m = s.get().Gaps() {
		if err := s.appendNow(&audit.LogHold{Time: time.Now(), Action: "set", Name: "x"}, "test", true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.appendNow(&audit.LogHold{Time: time.Now(), Action: "set", Name: "x"}, "test", true); err != nil {
		t.Fatal(err) // what was queued before it is on disk, too
	}
	_, err := records.Dir{FS: os.DirFS(s.dir)}.Scan(0, func(_ int64, b []byte) error {
		r, err := audit.Decode(b)
		if g, ok := r.Body.(*audit.LogGap); ok {
			n += g.Refused
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnotherDirectoryIsOpenedBeforeTheOldIsGivenUp moves the directory of an
// open log away. What was counted by then is told in the log that is begun.
func TestAnotherDirectoryIsOpenedBeforeTheOldIsGivenUp(t *testing.T) {
	a := &App{InstanceName: "test", DataDir: t.TempDir()}
	a.Audit.CheckpointInterval = 1 // as often as the log looks
	if err := a.setDefaults(); err != nil {
		t.Fatal(err)
	}
	s, err := joinLog(a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.leave() }()
	old := s.get()
	if err := os.Rename(s.dir, s.dir+".aside"); err != nil {
		t.Fatal(err)
	}
	for s.get().Err() == nil {
		_ = s.appendNow(&audit.LogHold{Time: time.Now(), Action: "set", Name: "x"}, "test", true)
	}
	if err := s.begin(false); err == nil {
		t.Fatal("a request came in")
	}
	if _, err := joinLog(a); err == nil { // the state file has seen another log
		t.Fatal("a log was begun anew")
	}
	if errors.Is(old.Ready(), audit.ErrClosed) || s.teller == nil {
		t.Error("the old log was given up")
	}
	if err := os.Remove(filepath.Join(a.DataDir, filepath.FromSlash(stateFile))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir); err != nil { // what the refused one made
		t.Fatal(err)
	}
	again, err := joinLog(a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.leave() }()
	old.Miss(audit.CauseFailure, audit.Missed{Refused: 1})
	if told := refusals(t, s); told != 2 {
		t.Errorf("the log tells of %d requests that were refused, not 2", told)
	}
}

// TestMissingKeyHasOneRemedy: of a key that is in no file, for a log that is to be
// begun and for one that exists.
func TestMissingKeyHasOneRemedy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, checkpoint.File), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	for key, want := range map[string]string{
		"env:SOC2_TEST_NO_KEY":   "name another source",
		"credential:no.key":      "service's unit",
		filepath.Join(dir, "no"): "to begin a new log",
	} {
		for _, log := range []string{dir, t.TempDir()} {
			_, err := logKeys(&App{InstanceName: "test", Audit: Audit{Key: key}}, log)
			if filepath.IsAbs(key) && log != dir {
				if err != nil { // it is made
					t.Error(err)
				}
				continue
			}
			if err == nil || !errors.Is(err, os.ErrNotExist) || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "make it writable") {
				t.Errorf("%s: %v", key, err)
			}
		}
		_ = os.Remove(filepath.Join(dir, "no"))
	}
}

// provision does what Provision does, but for what needs a running Caddy.
func provision(t *testing.T, a *App) {
	t.Helper()
	if err := errors.Join(a.setDefaults(), a.check()); err != nil {
		t.Fatal(err)
	}
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
}

// TestOrdersSayWhatWasDone gives orders: one that cannot be carried out is no
// failure of the server, and an answer has the names of the records' members.
func TestOrdersSayWhatWasDone(t *testing.T) {
	a := &App{InstanceName: "test", DataDir: t.TempDir()}
	a.Audit.Pseudonymize = new(Pseudonymize)
	provision(t, a)
	defer func() { _ = a.Cleanup() }()
	for _, period := range []string{time.Now().UTC().Format("2006-01"), "yesterday"} {
		_, err := a.Destroy(evidence.Order{What: "pseudonyms", Period: period, By: "x", Reason: "y"})
		if !errors.Is(err, evidence.ErrOrder) {
			t.Errorf("period %s: %v", period, err)
		}
	}
	set, err := a.Hold(evidence.Order{Name: "case-7", By: "x", Reason: "y"})
	if err != nil {
		t.Fatal(err)
	}
	verified, err := a.Verify(t.Context(), evidence.Order{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{set, verified})
	if err != nil || !strings.Contains(string(text), `"outcome":"verified"`) || strings.Contains(string(text), "0001-") {
		t.Errorf("%s %v", text, err)
	}
}
