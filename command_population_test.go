package soc2

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// populated makes a log of requests with its key beside it, and the access log
// that Caddy would have written.
func populated(t *testing.T) (dir, access, vkey string) {
	t.Helper()
	data := t.TempDir()
	dir, access = filepath.Join(data, logFolder), filepath.Join(data, "access.log")
	if err := os.MkdirAll(filepath.Join(data, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: "edge-1", CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range 40 {
		ev := audit.Event{Start: at.Add(time.Duration(i) * time.Second), Method: "GET", Path: "/", Status: 200 + 203*(i%2), End: audit.EndComplete}
		ev.ID = audit.NewID(ev.Start)
		if _, err := log.Append(t.Context(), ev.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
		lines.WriteString(`{"logger":"http.log.access","ts":` + strconv.FormatInt(ev.Start.Unix(), 10) + `,"request":{},"duration":0,"status":` + strconv.Itoa(ev.Status) + `,"resp_headers":{"X-Request-Id":["` + ev.ID.String() + `"]}}` + "\n")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(access, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, access, key.Public()
}

// runWith runs a command with flags.
func runWith(t *testing.T, cmd *cobra.Command, run func(*cobra.Command, []string) (int, error), dir string, flags map[string]string) (code int, out, errs string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetContext(t.Context())
	for name, value := range flags {
		if err := cmd.Flags().Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	code, err = run(cmd, []string{dir})
	return code, stdout.String(), stderr.String(), err
}

func TestPopulationsAreExportedWithTheirProvenance(t *testing.T) {
	dir, _, _ := populated(t)
	name := filepath.Join(t.TempDir(), "denials.csv")
	code, _, errs, err := runWith(t, exportCommand(), runExport, dir, map[string]string{"population": "denials", "format": "csv", "from": "2026-01-01", "to": "2026-01-02", "out": name})
	if err != nil || code != 0 || !strings.Contains(errs, "exported 20 rows of denials") {
		t.Fatal(code, err, errs)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var p population.Provenance
	beside, err := os.ReadFile(name + population.ProvenanceSuffix)
	if err != nil || json.Unmarshal(beside, &p) != nil {
		t.Fatalf("%v %s", err, beside)
	}
	sum := sha256.Sum256(text)
	if p.SHA256 != hex.EncodeToString(sum[:]) || p.Count != 20 || bytes.Count(text, []byte("\r\n")) != 21 || !strings.HasPrefix(p.Tool, "caddy-soc2 ") {
		t.Errorf("%+v", p)
	}
	for _, format := range []string{"ndjson", "ocsf"} {
		if code, out, _, err := runWith(t, exportCommand(), runExport, dir, map[string]string{"population": "requests", "format": format}); err != nil || code != 0 || strings.Count(out, "\n") != 40 {
			t.Error(format, code, err)
		}
	}
	for want, flags := range map[string]map[string]string{
		"choose one of requests, denials": {"population": "request", "format": "csv"},
		"in the future":                   {"population": "requests", "format": "csv", "from": "2999-01-01"},
		"not after its beginning":         {"population": "requests", "format": "csv", "from": "2026-01-02", "to": "2026-01-01"},
		"--kind does not go":              {"population": "requests", "format": "csv", "kind": "request"},
		"choose one of csv, ndjson, ocsf": {"population": "requests", "format": "xls"},
		"is for --population":             {"format": "csv", "damaged": "true"},
	} {
		if code, _, _, err := runWith(t, exportCommand(), runExport, dir, flags); code != 2 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %d %v, want %q", flags, code, err, want)
		}
	}
}

func TestCountsAndPartialPeriodsArePrinted(t *testing.T) {
	dir, _, _ := populated(t)
	code, out, errs, err := runWith(t, populationsCommand(), runPopulations, dir, map[string]string{"from": "2025-01-01", "to": "2026-01-02"})
	if err != nil || code != 0 || !strings.Contains(out, "requests           40") || !strings.Contains(errs, "PARTIAL") || !strings.Contains(errs, "the log begins at") {
		t.Errorf("%d %v\n%s\n%s", code, err, out, errs)
	}
	if code, out, _, err := runWith(t, populationsCommand(), runPopulations, dir, map[string]string{"json": "true", "exact": "true"}); err != nil || code != 0 || !json.Valid([]byte(out)) {
		t.Error(code, err, out)
	}
}

func TestSamplesAreWrittenForTheVerifier(t *testing.T) {
	dir, _, vkey := populated(t)
	out := filepath.Join(t.TempDir(), "sample")
	code, _, errs, err := runWith(t, sampleCommand(), runSample, dir, map[string]string{"population": "requests", "n": "5", "seed": "7", "out": out})
	if err != nil || code != 0 || !strings.Contains(errs, "drew 5 of 40") {
		t.Fatal(code, err, errs)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	proofs, err := filepath.Glob(filepath.Join(out, "*"+tlogproof.Suffix))
	if err != nil || len(proofs) != 5 {
		t.Fatal(proofs, err)
	}
	for _, name := range proofs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		record, err := os.ReadFile(strings.TrimSuffix(name, tlogproof.Suffix) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		p, err := tlogproof.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Verify(record, verifier); err != nil {
			t.Error(err)
		}
	}
	if code, _, _, err := runWith(t, sampleCommand(), runSample, dir, map[string]string{"population": "requests", "seed": "7", "out": out}); code != 1 || err == nil {
		t.Errorf("a directory was written again: %d %v", code, err)
	}
	for _, flags := range []map[string]string{{"population": "requests"}, {"seed": "7"}, {"population": "requests", "seed": "7", "n": "0"}} {
		if code, _, _, err := runWith(t, sampleCommand(), runSample, dir, flags); code != 2 || err == nil {
			t.Errorf("%v: %d %v", flags, code, err)
		}
	}
}

func TestSourcesAreReconciled(t *testing.T) {
	dir, access, _ := populated(t)
	if code, out, _, err := runWith(t, reconcileCommand(), runReconcile, dir, map[string]string{"access-log": access}); err != nil || code != 0 || !strings.Contains(out, "The sources agree.") {
		t.Errorf("%d %v %s", code, err, out)
	}
	code, out, _, err := runWith(t, reconcileCommand(), runReconcile, dir, map[string]string{"access-log": access, "upstream": "10.0.0.1:80=3", "json": "true"})
	if err != nil || code != 1 || !strings.Contains(out, `"agrees": false`) {
		t.Errorf("%d %v %s", code, err, out)
	}
	for _, flags := range []map[string]string{{}, {"upstream": "x"}, {"upstream": "=3"}} {
		if code, _, _, err := runWith(t, reconcileCommand(), runReconcile, dir, flags); code != 2 || err == nil {
			t.Errorf("%v: %d %v", flags, code, err)
		}
	}
}
