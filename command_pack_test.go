package soc2

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

var updateReport = flag.Bool("update-report", false, "write what caddy soc2 report prints")

// packable makes a log whose clock is simulated, with its key beside it.
func packable(t *testing.T) (dir string, key *audit.Key) {
	t.Helper()
	data := t.TempDir()
	dir = filepath.Join(data, logFolder)
	if err := os.MkdirAll(filepath.Join(data, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Save(durable.OS{}, filepath.Join(data, filepath.FromSlash(keyFile))); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: "edge-1", CheckpointEvery: time.Hour, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	add := func(b audit.Body) {
		t.Helper()
		if _, err := log.Append(t.Context(), b.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		ev := audit.Event{Start: at.Add(time.Duration(i) * time.Second), Method: "GET", Host: "shop.example", Path: "/", Proto: "HTTP/2.0", Status: 200 + 203*(i%2), Bytes: 100, End: audit.EndComplete}
		ev.TLS.Version = "1.3"
		add(&ev)
	}
	add(&audit.UpstreamChange{Time: at.Add(time.Hour), Kind: "upstream.down", Address: "app:3000", Server: "srv0", Before: "up", Cause: "active"})
	add(&audit.Review{Time: at.Add(2 * time.Hour), Kind: audit.KindReviewTriage, Subject: "a strange call", Verdict: "benign", Reason: "a test"})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, key
}

var january = map[string]string{"from": "2026-01-01", "to": "2026-01-02"}

// with adds flags.
func with(flags map[string]string, more ...string) map[string]string {
	all := maps.Clone(flags)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// verified runs "caddy soc2 verify FILE" with keys.
func verified(t *testing.T, file string, keys ...string) (code int, out string) {
	t.Helper()
	list, err := verify.Keys(keys)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	code = pack.Command{File: file, Keys: list, Stdout: &b, Stderr: &b}.Run()
	return code, b.String()
}

func TestAPackWithSamplesIsMadeAndVerified(t *testing.T) {
	dir, key := packable(t)
	for name, full := range map[string]string{"full": "true", "hashes": "false"} {
		out := filepath.Join(t.TempDir(), name+".zip")
		flags := with(january, "out", out, "sample", "denials=5", "seed", "Tuesday", "full", full)
		code, said, errs, err := runWith(t, packCommand(), runPack, dir, flags)
		if err != nil || code != 0 || !strings.Contains(said, "pack ") || !strings.Contains(said, "of 1 logs") {
			t.Fatal(name, code, err, said, errs)
		}
		info, err := os.Stat(out)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
		if code, said := verified(t, out, key.Public()); code != 0 || !strings.Contains(said, "VERIFIED") {
			t.Errorf("%s: %d %s", name, code, said)
		}
		again := filepath.Join(t.TempDir(), "again.zip")
		if code, _, _, err := runWith(t, packCommand(), runPack, dir, with(flags, "out", again)); code != 0 {
			t.Fatal(err)
		}
		a, aerr := os.ReadFile(out)
		b, berr := os.ReadFile(again)
		if aerr != nil || berr != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: two packs of the same period differ", name)
		}
		if code, _, _, err := runWith(t, packCommand(), runPack, dir, flags); code != 1 || err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("it writes over a file: %d %v", code, err)
		}
	}
}

func TestPackFlagsThatAreWrongAreUsage(t *testing.T) {
	dir, _ := packable(t)
	out := filepath.Join(t.TempDir(), "x.zip")
	for want, flags := range map[string]map[string]string{
		"--from and --to are needed": {"from": "2026-01-01"},
		"not after its beginning":    {"from": "2026-01-02", "to": "2026-01-01"},
		"in the future":              {"from": "2999-01-01", "to": "2999-01-02"},
		"go together":                with(january, "sample", "denials=5"),
		"like denials=25":            with(january, "sample", "denials", "seed", "s"),
		"packs do not have it":       with(january, "sample", "principals=5", "seed", "s"),
		"from 1 to 1000 rows":        with(january, "sample", "denials=0", "seed", "s"),
		"choose one of requests":     with(january, "sample", "x=1", "seed", "s"),
	} {
		code, _, _, err := runWith(t, packCommand(), runPack, dir, with(flags, "out", out))
		if code != verify.ExitUsage || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %d %v, want %q", flags, code, err, want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Fatalf("%v: a file is made", flags)
		}
	}
	if code, _, _, err := runWith(t, packCommand(), runPack, t.TempDir(), with(january, "out", out)); code != 1 || err == nil || !strings.Contains(err.Error(), "is not an audit log") {
		t.Errorf("%d %v", code, err)
	}
}

// TestAnOldKeyIsNeededForAHeadThatItSigned: after a rotation the newest
// checkpoint may still be of the key before.
func TestAnOldKeyIsNeededForAHeadThatItSigned(t *testing.T) {
	dir, old := packable(t)
	key, err := audit.NewKey(old.Origin())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "next.key")
	if err := key.Save(durable.OS{}, file); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.zip")
	flags := with(january, "out", out, "key", file)
	if code, _, _, err := runWith(t, packCommand(), runPack, dir, flags); code != 1 || err == nil || !strings.Contains(err.Error(), "checkpoint") {
		t.Errorf("without the old key: %d %v", code, err)
	}
	for _, end := range []string{"@1", "@x"} {
		if code, _, _, err := runWith(t, packCommand(), runPack, dir, with(flags, "old-key", old.Public()+end)); code != 1 || err == nil {
			t.Errorf("with the old key and its end %s: %d %v", end, code, err)
		}
	}
	flags["old-key"] = old.Public() + "@1000"
	if code, _, _, err := runWith(t, packCommand(), runPack, dir, flags); code != 0 || err != nil {
		t.Fatalf("with the old key: %d %v", code, err)
	}
	if code, said := verified(t, out, key.Public(), old.Public()+"@1000"); code != 0 {
		t.Errorf("with both keys: %d %s", code, said)
	}
	for _, one := range []string{key.Public(), old.Public() + "@1000"} {
		if code, said := verified(t, out, one); code != 1 {
			t.Errorf("with %s alone: %d %s", one, code, said)
		}
	}
}

// TestTheReportIsWhatItWas compares the figures of a log that is always the same
// with testdata/report. Write it with go test . -run TestTheReport -update-report.
func TestTheReportIsWhatItWas(t *testing.T) {
	dir, _ := packable(t)
	code, out, errs, err := runWith(t, reportCommand(), runReport, dir, with(january, "format", "json"))
	if err != nil || code != 0 {
		t.Fatal(code, err, errs)
	}
	var r struct{ Logs []map[string]any }
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Logs) != 1 {
		t.Fatalf("%v %s", err, out)
	}
	f := r.Logs[0]
	delete(f, "root")
	delete(f, "keys") // which are new each time
	got, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const name = "testdata/report/figures.json"
	if *updateReport {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v: it is now\n%s", err, got)
	}
}

func TestTheReportIsAPageByDefault(t *testing.T) {
	dir, _ := packable(t)
	file := filepath.Join(t.TempDir(), "report.html")
	if code, out, _, err := runWith(t, reportCommand(), runReport, dir, with(january, "out", file)); code != 0 || err != nil || out != "" {
		t.Fatal(code, err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<!DOCTYPE html>", "40 requests, 4000 bytes", "a strange call", "independent auditor", "srv0 app:3000 1"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for want, flags := range map[string]map[string]string{
		"choose html or json": with(january, "format", "pdf"), "--from and --to": {"to": "2026-01-01"},
	} {
		if code, _, _, err := runWith(t, reportCommand(), runReport, dir, flags); code != verify.ExitUsage || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %d %v", flags, code, err)
		}
	}
	if code, _, _, err := runWith(t, reportCommand(), runReport, dir, with(january, "out", file)); code != 1 || err == nil || !strings.Contains(fmt.Sprint(err), "is there already") {
		t.Errorf("%d %v", code, err)
	}
}

func TestTheReportFromRollupsSaysWhatItDoesNotTell(t *testing.T) {
	dir, _ := packable(t)
	code, out, _, err := runWith(t, reportCommand(), runReport, dir, with(january, "rollups", "true"))
	if err != nil || code != 0 {
		t.Fatal(code, err)
	}
	for _, want := range []string{"requests    40 ", "4000 bytes", "denials", "20", "principals", "independent auditor"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	code, out, _, err = runWith(t, reportCommand(), runReport, dir, with(january, "rollups", "true", "format", "json"))
	var s summary
	if err != nil || code != 0 || json.Unmarshal([]byte(out), &s) != nil || s.Logs[0].By["status"]["403"] != 20 || s.Logs[0].Read != s.Logs[0].Records {
		t.Errorf("%d %v %s", code, err, out)
	}
	if code, _, _, err := runWith(t, reportCommand(), runReport, dir, with(january, "rollups", "true", "format", "html")); code != verify.ExitUsage || err == nil {
		t.Errorf("%d %v", code, err)
	}
}
