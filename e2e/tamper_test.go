package e2e_test

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// bigLog makes a closed log with sealed segments and hash tiles. It returns
// its directory and the files in it, and the verifier key.
func bigLog(t *testing.T) (h home, files []string, vkey string) {
	t.Helper()
	h = newHome(t)
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	cfg := audit.Config{Dir: h.logDir(), Key: key, SegmentBytes: 64 << 10}
	ev := audit.Event{Start: time.Now(), Method: "GET", Path: "/some/path", Status: 200, End: audit.EndComplete}
	for range 2 { // what the first leaves unsealed is sealed by the second
		log, err := audit.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 600 {
			ev.ID = audit.NewID(ev.Start)
			if _, err := log.Append(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name := range snapshot(t, h.logDir()) {
		files = append(files, name)
	}
	slices.Sort(files)
	return h, files, key.Public()
}

// TestVerifierNamesWhatWasTamperedWith changes a log on disk in many ways. The
// verifier must exit with 1 and name the file or a record.
func TestVerifierNamesWhatWasTamperedWith(t *testing.T) {
	h, files, vkey := bigLog(t)
	if code, out := h.run("soc2-verify", h.logDir(), "--key", vkey); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	found := func(what, name string) {
		t.Helper()
		code, out := h.run("soc2-verify", h.logDir(), "--key", vkey)
		first, _, _ := strings.Cut(out, "\n")
		if code != 1 || !strings.HasPrefix(first, "FAILED") || !strings.Contains(first, "record ") && !strings.Contains(first, name) {
			t.Errorf("%s: exit %d: %s", what, code, first)
		}
	}
	rel := func(name string) string { return strings.TrimPrefix(name, h.logDir()+"/") }
	for range 150 {
		name := files[rand.IntN(len(files))]
		damage(t, name, func(b []byte) []byte { b[rand.IntN(len(b))] ^= 1 << rand.IntN(8); return b }, func() {
			found("flip in "+rel(name), rel(name))
		})
	}
	var sealed []string
	for _, name := range files {
		if strings.HasSuffix(name, ".zst") {
			sealed = append(sealed, name)
		}
	}
	if len(sealed) < 2 {
		t.Fatalf("too few sealed segments: %q", files)
	}
	other, err := os.ReadFile(sealed[1])
	if err != nil {
		t.Fatal(err)
	}
	damage(t, sealed[1], func([]byte) []byte { b, _ := os.ReadFile(sealed[0]); return b }, func() {
		damage(t, sealed[0], func([]byte) []byte { return other }, func() { found("two segments swapped", rel(sealed[0])) })
	})
	for _, name := range files {
		if n := rel(name); n == "reserve" || n == "rollups" {
			continue // the log makes them again, of any length
		}
		damage(t, name, func(b []byte) []byte { return b[:len(b)-1] }, func() { found("cut "+rel(name), rel(name)) })
		if !strings.Contains(name, "/tile/") { // a tile that is missing is made again
			removed(t, name, func() { found("removed "+rel(name), rel(name)) })
		}
	}
}

// removed takes a file away, runs f and puts the file back.
func removed(t *testing.T, name string, f func()) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	f()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
