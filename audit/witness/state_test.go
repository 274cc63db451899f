package witness_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/witness"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

func TestTheClockNeverGoesBack(t *testing.T) {
	l := newLog(t, "a").grow(3)
	w := newWitness(t, "w", l.known())
	at := func(old int64) time.Time {
		t.Helper()
		c, err := w.client().Submit(t.Context(), old, l.sign(), l.prove)
		if err != nil {
			t.Fatal(err)
		}
		return c.Time
	}
	first := at(0)
	if !first.Equal(w.clock.now()) {
		t.Errorf("cosigned at %v, the clock shows %v", first, w.clock.now())
	}
	w.clock.add(-24 * time.Hour)
	if got := at(3); !got.Equal(first) {
		t.Errorf("the clock was set back: %v before %v", got, first)
	}
	if err := w.current().Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t, l.known())
	l.grow(4)
	if got := at(3); !got.Equal(first) {
		t.Errorf("after a restart: %v before %v", got, first)
	}
	w.clock.add(25 * time.Hour)
	if got := at(4); !got.Equal(first.Add(time.Hour)) {
		t.Errorf("the clock goes on: %v", got)
	}
}

func TestStateOutlivesARestart(t *testing.T) {
	l := newLog(t, "a").grow(300)
	w := newWitness(t, "w", l.known())
	w.expect(t, "before", l.body(0), 200, "")
	if _, err := witness.Open(witness.Config{Dir: w.dir, Key: w.key}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a second witness in the directory: %v", err)
	}
	if err := w.current().Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.current().Close(); err != nil {
		t.Error("closed twice:", err)
	}
	w.expect(t, "closed", l.body(300), http.StatusServiceUnavailable, "")
	w.open(t, l.known())
	w.expect(t, "a fork after the restart", l.fork(200, 300).body(300), 422, "")
	w.expect(t, "a rollback after the restart", l.fork(200, 200).body(0), 409, "300")
	w.expect(t, "the log goes on", l.grow(301).body(300), 200, "")
}

func TestDamagedStateStopsTheWitness(t *testing.T) {
	l := newLog(t, "a").grow(300)
	w := newWitness(t, "w", l.known())
	w.expect(t, "before", l.body(0), 200, "")
	if err := w.current().Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(w.dir, witness.OriginHash("a")+".checkpoint")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	other := newLog(t, "b").grow(1)
	for what, b := range map[string][]byte{
		"empty":          {},
		"cut":            good[:len(good)-1],
		"another size":   []byte(strings.Replace(string(good), "\n300\n", "\n200\n", 1)),
		"of another log": other.sign(w.key.At(w.clock.now())),
		"unsigned":       []byte(string(good[:strings.Index(string(good), "\n\n")+2])),
		"by a stranger":  newLog(t, "a").grow(5).sign(),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := witness.Open(witness.Config{Dir: w.dir, Key: w.key, Logs: []witness.Log{l.known()}})
		if err == nil {
			t.Errorf("%s: opened", what)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the error does not name the file: %v", what, err)
		}
	}
	if err := os.WriteFile(name, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.open(t, l.known())
}
