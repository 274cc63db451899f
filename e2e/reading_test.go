package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// made makes a log of many requests and returns it, open, with the id of one of
// them.
func (h home) made(n int) (log *audit.Log, key *audit.Key, id string) {
	h.t.Helper()
	key, err := audit.NewKey("edge-1.example.com/soc2")
	if err != nil {
		h.t.Fatal(err)
	}
	if err := key.Save(durable.OS{}, filepath.Join(h.dir, "caddy", "soc2", "keys", "log.key")); err != nil {
		h.t.Fatal(err)
	}
	log, err = audit.Open(audit.Config{Dir: h.logDir(), Key: key, SegmentBytes: 4 << 20, CheckpointEvery: 50 * time.Millisecond})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = log.Close() })
	for i := range n {
		added := h.add(log, fmt.Sprintf("/%d", i))
		if i == n/2 {
			id = added
		}
	}
	return log, key, id
}

func (h home) add(log *audit.Log, path string) (id string) {
	h.t.Helper()
	ev := audit.Event{Start: time.Now(), Method: "GET", Path: path, Host: "example.com", Status: 200, End: audit.EndComplete}
	ev.ID = audit.NewID(ev.Start)
	if _, err := log.Enqueue(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
		h.t.Fatal(err)
	}
	return ev.ID.String()
}

// TestTesserasFsckReadsTheLogOverHTTP lets fsck read a log that is open, from
// the server of package tiles.
func TestTesserasFsckReadsTheLogOverHTTP(t *testing.T) {
	tool := os.Getenv("SOC2_FSCK")
	if tool == "" {
		needs(t, "Tessera's fsck, named by SOC2_FSCK,")
	}
	h := newHome(t)
	log, key, _ := h.made(70_000)
	if err := log.Close(); err != nil { // it signs all
		t.Fatal(err)
	}
	srv := httptest.NewServer(tiles.New(tiles.Handler{
		Source: func() (tiles.Source, error) { return log, nil },
		Failed: func(err error) { t.Error(err) },
	}))
	defer srv.Close()
	ok, out := fsckURL(t, tool, srv.URL+"/", key.Public())
	if !ok {
		t.Fatalf("fsck does not accept the log:\n%s", out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	t.Log(lines[len(lines)-1])
	broken := httptest.NewServer(changed{srv.Config.Handler})
	defer broken.Close()
	if ok, _ := fsckURL(t, tool, broken.URL+"/", key.Public()); ok {
		t.Error("fsck accepts a changed record")
	}
}

// changed serves a log with one byte of one bundle changed.
type changed struct{ http.Handler }

func (c changed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	c.Handler.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	if r.URL.Path == "/tile/entries/100" {
		body[5000] ^= 1
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body)
}

func TestProofOfARequestIsVerifiedOffline(t *testing.T) {
	h := newHome(t)
	log, key, id := h.made(3000)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	proof, record := filepath.Join(h.dir, "r.tlog-proof"), filepath.Join(h.dir, "r.json")
	code, out := h.run("caddy", "soc2", "show", id, "--proof", proof)
	if code != 0 || !strings.Contains(out, id) {
		t.Fatalf("show: exit %d: %s", code, out)
	}
	if err := os.WriteFile(record, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := audit.NewKey("edge-1.example.com/soc2")
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(h.dir, "forged.json")
	if err := os.WriteFile(forged, []byte(strings.Replace(out, `"status":200`, `"status":404`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"the record":      {0, "VERIFIED   the record is record 1501 of the log", []string{"--proof", proof, "--record", record, "--key", key.Public()}},
		"as JSON":         {0, `"verified": true`, []string{"--proof", proof, "--record", record, "--key", key.Public(), "--json"}},
		"another record":  {1, "FAILED", []string{"--proof", proof, "--record", forged, "--key", key.Public()}},
		"another key":     {1, "FAILED", []string{"--proof", proof, "--record", record, "--key", other.Public()}},
		"no record":       {2, "needed both", []string{"--proof", proof, "--key", key.Public()}},
		"a directory too": {2, "no directory", []string{h.logDir(), "--proof", proof, "--record", record, "--key", key.Public()}},
		"no proof":        {3, "not a C2SP tlog-proof", []string{"--proof", record, "--record", record, "--key", key.Public()}},
		"no file":         {3, "no such file", []string{"--proof", proof + "x", "--record", record, "--key", key.Public()}},
	} {
		if code, out := h.run("soc2-verify", c.args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, want %d: %s", name, code, c.code, out)
		}
	}
	code, byIndex := h.run("caddy", "soc2", "show", "1501")
	if code != 0 || byIndex != out {
		t.Errorf("by index: exit %d: %s", code, byIndex)
	}
}

func TestTailFollowsAndGoesOn(t *testing.T) {
	h := newHome(t)
	log, _, _ := h.made(50)
	seen := int64(0)
	for round := range 3 {
		cmd := h.command("caddy", "soc2", "tail", "--follow", "--from", fmt.Sprint(seen), "--dir", h.logDir())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := context.AfterFunc(t.Context(), func() { _ = cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		last := h.add(log, fmt.Sprintf("/round/%d", round))
		for lines.Scan() {
			var r struct {
				Seq int64
				ID  string
			}
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Seq != seen {
				t.Fatalf("record %d, want %d: %v", r.Seq, seen, err)
			}
			seen++
			if r.ID == last {
				break
			}
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // until it has ended
			seen++
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		stop()
	}
	if seen < 54 {
		t.Errorf("%d records were followed", seen)
	}
	if code, out := h.run("caddy", "soc2", "tail", "--from", "3", "-n", "2", "--dir", h.logDir()); code != 2 {
		t.Errorf("--from and -n: exit %d: %s", code, out)
	}
	if code, out := h.run("caddy", "soc2", "tail", "-n", "2", "--dir", h.logDir()); code != 0 || strings.Count(out, "\n") != 2 {
		t.Errorf("the newest two: exit %d: %s", code, out)
	}
}

func TestExportsSayWhereTheyComeFrom(t *testing.T) {
	h := newHome(t)
	log, _, _ := h.made(5000)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(h.dir, "january.ndjson")
	args := []string{"soc2", "export", h.logDir(), "--format", "ndjson", "--kind", "request", "--from", "1000", "--to", "2000"}
	code, out := h.run("caddy", append(args, "--out", name)...)
	if code != 0 || !strings.Contains(out, "exported 1000 records of edge-1.example.com/soc2") {
		t.Fatalf("exit %d: %s", code, out)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name + ".provenance.json")
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		SHA256 string
		Count  int
	}
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); p.SHA256 != hex.EncodeToString(sum[:]) || p.Count != bytes.Count(data, []byte{'\n'}) || p.Count != 1000 {
		t.Errorf("%s", text)
	}
	cmd := h.command("caddy", args...)
	if piped, err := cmd.Output(); err != nil || !bytes.Equal(piped, data) {
		t.Errorf("to the standard output: %d bytes, %v", len(piped), err)
	}
	tilesDir := filepath.Join(h.dir, "tiles")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{1, "remove it", append(args, "--out", name)},
		{2, "choose one of", []string{"soc2", "export", h.logDir(), "--format", "xml"}},
		{2, "neither the index", append(args, "--from", "yesterday")},
		{2, "one of them", []string{"soc2", "export", h.logDir()}},
		{2, "--kind does not go", []string{"soc2", "export", h.logDir(), "--tiles", tilesDir, "--kind", "request"}},
		{2, "--resume does not go", append(args, "--resume")},
		{0, "exported 50", []string{"soc2", "export", h.logDir(), "--tiles", tilesDir}},
		{1, "--resume", []string{"soc2", "export", h.logDir(), "--tiles", tilesDir}},
		{0, "exported 50", []string{"soc2", "export", h.logDir(), "--tiles", tilesDir, "--resume"}},
	} {
		if code, out := h.run("caddy", c.args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%q: exit %d, want %d: %s", c.args, code, c.code, out)
		}
	}
}
