package soc2

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
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
		<-s.closed
	}
}

// TestJoiningTwiceWhatCannotBeOpened removes the segment of an open log: each
// configuration that comes is told so, and the one that comes when the file is
// back has a log.
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
	name := filepath.Join(s.dir, records.Folder, "00000000000000000000.log")
	if err := os.Rename(name, filepath.Join(a.DataDir, "aside")); err != nil {
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
	}
	if err := os.Rename(filepath.Join(a.DataDir, "aside"), name); err != nil {
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
}

// TestOrdersSayWhatWasDone gives orders: one that cannot be carried out is no
// failure of the server, and an answer has the names of the records' members.
func TestOrdersSayWhatWasDone(t *testing.T) {
	a := &App{InstanceName: "test", DataDir: t.TempDir()}
	a.Audit.Pseudonymize = new(Pseudonymize)
	if err := a.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
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
