package notary_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp/tsa"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
)

func openLog(t *testing.T, dir string, key *audit.Key) *audit.Log {
	t.Helper()
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: "edge-1", CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

// grow appends records and has them signed.
func grow(t *testing.T, log *audit.Log, n int) int64 {
	t.Helper()
	seq := int64(0)
	for i := range n {
		ev := audit.Event{Start: time.Unix(int64(i), 0), Path: fmt.Sprint("/", i)}
		var err error
		if seq, err = log.Append(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Sign(context.Background(), seq+1); err != nil {
		t.Fatal(err)
	}
	return seq + 1
}

// server is a witness on the loopback, which can be down.
type server struct {
	url  string
	key  *cosignature.Key
	down atomic.Bool
}

func startWitness(t *testing.T, name string, logs ...*audit.Key) *server {
	t.Helper()
	key, err := cosignature.NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	var known []witness.Log
	for _, k := range logs {
		v, err := k.Verifier()
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, witness.Log{Origin: k.Origin(), Keys: []note.Verifier{v}})
	}
	w, err := witness.Open(witness.Config{Dir: filepath.Join(t.TempDir(), "witness"), Key: key, Logs: known})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{key: key}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			http.Error(rw, "down", http.StatusBadGateway)
			return
		}
		w.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() { srv.Close(); _ = w.Close() })
	s.url = srv.URL
	return s
}

func (s *server) client() *witness.Client {
	return &witness.Client{URL: s.url, Verifier: s.key.Verifier()}
}

func anchors(t *testing.T, log *audit.Log) (list []string) {
	t.Helper()
	grow(t, log, 1) // what was queued is durable
	_, err := log.Records().Scan(0, func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		if a, ok := r.Body.(*audit.LogAnchor); ok {
			list = append(list, a.What+" "+a.Name+" "+a.Outcome)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func newKey(t *testing.T, origin string) *audit.Key {
	t.Helper()
	key, err := audit.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestWitnessesCosignAsTheLogGrows(t *testing.T) {
	key := newKey(t, "edge-1/soc2")
	dir := filepath.Join(t.TempDir(), "log")
	log := openLog(t, dir, key)
	a, b := startWitness(t, "a.example/w", key), startWitness(t, "b.example/w", key)
	n := notary.New(log, "edge-1", slog.New(slog.DiscardHandler))
	defer n.Close()
	b.down.Store(true)
	if err := n.Set(notary.Config{Witnesses: []*witness.Client{a.client(), b.client()}, WitnessEvery: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		size := grow(t, log, 300)
		n.Witness(t.Context())
		want := 1
		if round == 1 {
			b.down.Store(false)
			n.Witness(t.Context()) // is tried again although the log did not grow
		}
		if round >= 1 {
			want = 2
		}
		text, err := os.ReadFile(filepath.Join(dir, notary.File))
		if err != nil {
			t.Fatal(err)
		}
		head, by, _, err := checkpoint.Cosigned(text, log.Verifiers(), []*cosignature.Verifier{a.key.Verifier(), b.key.Verifier()})
		if err != nil || head.Size < size || len(by) != want {
			t.Fatalf("round %d: %d records, %d cosignatures, %v", round, head.Size, len(by), err)
		}
	}
	for _, c := range []struct {
		witnesses []string
		ok        bool
	}{{[]string{a.key.Public(), b.key.Public()}, true}, {[]string{startWitness(t, "c.example/w", key).key.Public()}, false}} {
		o, err := verify.NewOutsiders(log.Verifiers(), c.witnesses, "")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		code := verify.Command{Dir: dir, Keys: log.Verifiers(), Outsiders: o, Stdout: &out, Stderr: &out}.Run()
		if c.ok != (code == verify.ExitVerified) || strings.Contains(out.String(), "has not cosigned") == c.ok {
			t.Errorf("exit %d:\n%s", code, &out)
		}
	}
	got := strings.Join(anchors(t, log), "\n")
	if want := "witness a.example/w ok\nwitness b.example/w failed\nwitness b.example/w ok"; got != want {
		t.Errorf("recorded:\n%s\nwant:\n%s", got, want)
	}
}

// TestRewrittenLogIsRefusedByItsWitness makes another history with the log's
// own key: only an outsider notices.
func TestRewrittenLogIsRefusedByItsWitness(t *testing.T) {
	key := newKey(t, "edge-1/soc2")
	w := startWitness(t, "a.example/w", key)
	for i, size := range []int{500, 700} {
		log := openLog(t, filepath.Join(t.TempDir(), "log"), key)
		grow(t, log, size)
		n := notary.New(log, "edge-1", slog.New(slog.DiscardHandler))
		if err := n.Set(notary.Config{Witnesses: []*witness.Client{w.client()}, WitnessEvery: time.Hour}); err != nil {
			t.Fatal(err)
		}
		n.Witness(t.Context())
		n.Close()
		want := []string{"witness a.example/w ok", "witness a.example/w conflict"}[i]
		if got := anchors(t, log); len(got) != 1 || got[0] != want {
			t.Errorf("history %d: %q", i, got)
		}
	}
}

func TestAuthorityThatFailsIsRecordedOnce(t *testing.T) {
	log := openLog(t, filepath.Join(t.TempDir(), "log"), newKey(t, "edge-1/soc2"))
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }))
	defer down.Close()
	n := notary.New(log, "edge-1", slog.New(slog.DiscardHandler))
	defer n.Close()
	if err := n.Set(notary.Config{TSA: &tsa.Client{URL: down.URL}, StampEvery: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		grow(t, log, 1)
		n.Stamp(t.Context())
	}
	if got := anchors(t, log); len(got) != 1 || got[0] != "timestamp "+down.URL+" failed" {
		t.Errorf("%q", got)
	}
}

func TestRollbackIsSeenByTheStateFile(t *testing.T) {
	key := newKey(t, "edge-1/soc2")
	base := t.TempDir()
	cfg := audit.Config{Dir: filepath.Join(base, "log"), Key: key, CheckpointEvery: time.Hour, StateFile: filepath.Join(base, "state", "head")}
	var older string
	for i := range 2 {
		log, err := audit.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		grow(t, log, 10)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			older = filepath.Join(t.TempDir(), "older")
			if err := os.CopyFS(older, os.DirFS(cfg.Dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(cfg.Dir, os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(cfg); !errors.Is(err, audit.ErrDamaged) || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("%v", err)
	}
}

// audited runs the auditor's command with all witnesses.
func audited(t *testing.T, log *audit.Log, dir string, witnesses ...*server) (code int, text string) {
	t.Helper()
	var keys []string
	for _, w := range witnesses {
		keys = append(keys, w.key.Public())
	}
	o, err := verify.NewOutsiders(log.Verifiers(), keys, "")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	code = verify.Command{Dir: dir, Keys: log.Verifiers(), Outsiders: o, Stdout: &out, Stderr: &out}.Run()
	return code, out.String()
}

// TestWitnessThatIsDownKeepsItsCosignature lets one of three witnesses be down
// while the log grows, and another after it, and restarts the notary meanwhile.
func TestWitnessThatIsDownKeepsItsCosignature(t *testing.T) {
	key := newKey(t, "edge-1/soc2")
	dir := filepath.Join(t.TempDir(), "log")
	log := openLog(t, dir, key)
	var all []*server
	var clients []*witness.Client
	for _, name := range []string{"a.example/w", "b.example/w", "c.example/w"} {
		w := startWitness(t, name, key)
		all, clients = append(all, w), append(clients, w.client())
	}
	for down, want := range [][]string{{}, {"the witness c.example/w cosigned 11 records last, 13 fewer"}, {"the witness b.example/w cosigned 24 records last, 13 fewer"}} {
		for i, w := range all {
			w.down.Store(down == 1 && i == 2 || down == 2 && i == 1)
		}
		n := notary.New(log, "edge-1", slog.New(slog.DiscardHandler))
		grow(t, log, 10)
		if err := n.Set(notary.Config{Witnesses: clients, WitnessEvery: time.Hour}); err != nil {
			t.Fatal(err)
		}
		n.Witness(t.Context())
		n.Close()
		code, text := audited(t, log, dir, all...)
		if code != verify.ExitVerified {
			t.Fatalf("round %d: exit %d:\n%s", down, code, text)
		}
		for _, words := range want {
			if !strings.Contains(text, words) {
				t.Errorf("round %d: want %q in\n%s", down, words, text)
			}
		}
	}
}

// TestRewriteThatEndsLongerIsSeenByTheStateFile replaces the log by another
// history of the same key, with more records.
func TestRewriteThatEndsLongerIsSeenByTheStateFile(t *testing.T) {
	key := newKey(t, "edge-1/soc2")
	base := t.TempDir()
	cfg := audit.Config{Dir: filepath.Join(base, "log"), Key: key, CheckpointEvery: time.Hour, SegmentBytes: 64 << 10, StateFile: filepath.Join(base, "state", "head")}
	write := func(cfg audit.Config, n int) {
		t.Helper()
		log, err := audit.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		grow(t, log, n)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(cfg, 700)
	seen, err := os.ReadFile(cfg.StateFile)
	if err != nil {
		t.Fatal(err)
	}
	write(cfg, 300) // the log goes on, and the state file with it
	if err := os.WriteFile(cfg.StateFile, seen, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, "tile", "0")); err != nil { // they are no evidence
		t.Fatal(err)
	}
	write(cfg, 1) // a state that is behind, as after a crash, is no rewrite
	other := cfg
	other.Dir, other.StateFile = filepath.Join(base, "other"), ""
	write(other, 1500)
	if err := os.WriteFile(cfg.StateFile, seen, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other.Dir, cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(cfg); !errors.Is(err, audit.ErrDamaged) || !strings.Contains(err.Error(), "rewritten") {
		t.Errorf("%v", err)
	}
}
