package soc2_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	soc2 "github.com/caddy-soc2/caddy-soc2"
	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
)

// decide runs a command that records something, against the server.
func (c *checked) decide(code int, words ...string) string {
	c.t.Helper()
	got, out, err := soc2.RunDecision(append(words, "--address", "unix/"+c.socket)...)
	if got != code {
		c.t.Fatalf("%q: exit %d, %v\n%s", words, got, err, out)
	}
	return out
}

// ask calls the admin API.
func (c *checked) ask(method, path, body string) (status int, answer []byte) {
	c.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.socket)
	}}}
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://localhost/soc2/v1"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// review is the record with an index.
func (c *checked) review(seq int64) *audit.Review {
	c.t.Helper()
	b, err := app(c.t).Log().Records().Record(seq)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := audit.Decode(b)
	if err != nil {
		c.t.Fatal(err)
	}
	v, ok := r.Body.(*audit.Review)
	if !ok {
		c.t.Fatalf("record %d is a %T", seq, r.Body)
	}
	return v
}

func decodeAnswer[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// TestCriticalFindingIsTriagedInTime has a critical check fail for longer than it
// may without a triage, and triages it.
func TestCriticalFindingIsTriagedInTime(t *testing.T) {
	c := newChecked(t)
	c.await("TLS-004", time.Time{}, controls.Pass)
	begin := time.Now()
	c.apply(`[{"op":"add","path":"/apps/soc2/checks/thresholds/ALT-002","value":{"within":["1s"]}},
		{"op":"add","path":"` + siteAt + `/tls_connection_policies/0/insecure_secrets_log","value":"` + c.dir + `/secrets"}]`)
	c.await("TLS-004", begin, controls.Fail)
	since := app(t).CheckReport().Check("TLS-004").Failing
	c.await("ALT-002", begin, controls.Fail)
	if status, b := c.ask(http.MethodPost, "/findings/UPS-003/triage", `{"verdict":"benign","owner":"o","reason":"r"}`); status != http.StatusConflict || !bytes.Contains(b, []byte("record_seq")) {
		t.Errorf("a check that passes: %d %s", status, b)
	}
	begin = time.Now()
	triaged := map[string]bool{}
	for _, f := range decodeAnswer[checks.FindingList](t, c.decide(0, "findings", "--json")).Findings {
		if f.Severity != controls.Critical || f.Result != controls.Fail {
			continue
		}
		out := c.decide(0, "triage", strings.ToLower(f.Check), "--verdict", "incident", "--owner", "on <call>", "--reason", "=looking into it", "--ticket", "INC-7", "--by", "dora", "--json")
		e := decodeAnswer[checks.Entered](t, out)
		r := c.review(e.Record)
		if r.Kind != audit.KindReviewTriage || r.Subject != f.Check || r.Verdict != "incident" || r.Owner != "on <call>" || r.Reason != "=looking into it" || r.Ticket != "INC-7" || !r.From.Equal(f.Since) {
			t.Errorf("%+v", r)
		}
		if r.Actor.Known != "verified" || r.Actor.How != "peer" || r.Actor.Name == "" || r.Actor.Claim != "dora" {
			t.Errorf("actor %+v", r.Actor)
		}
		b, err := app(t).Log().Records().Record(r.Seq)
		if err != nil || !bytes.Contains(b, []byte(`"check":"`+f.Check+`"`)) || !bytes.Contains(b, []byte(`"after":"fail"`)) {
			t.Errorf("it answers record %d: %v, %s", r.Seq, err, b)
		}
		triaged[f.Check] = true
	}
	if !triaged["TLS-004"] {
		t.Fatalf("triaged are %v", triaged)
	}
	c.await("ALT-002", begin, controls.Pass)
	out := c.decide(0, "findings")
	for _, want := range []string{"TLS-004  critical  triaged  fail since " + since.UTC().Format(time.RFC3339), "incident, owner on <call>: =looking into it (INC-7)"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	c.apply(`[{"op":"add","path":"/apps/soc2/checks/thresholds/ALT-002","value":{"within":["1s"]}}]`)
	c.await("TLS-004", begin, controls.Pass)
	seq := c.lastTransition("TLS-004", "fail")
	if status, b := c.ask(http.MethodPost, "/findings/TLS-004/triage", fmt.Sprintf(`{"verdict":"incident","owner":"o","reason":"r","record_seq":%d}`, seq)); status != http.StatusOK {
		t.Errorf("a finding of the past: %d %s", status, b)
	}
	for _, wrong := range []int64{seq - 1, 1 << 40} {
		if status, b := c.ask(http.MethodPost, "/findings/TLS-004/triage", fmt.Sprintf(`{"verdict":"incident","owner":"o","reason":"r","record_seq":%d}`, wrong)); status != http.StatusNotFound {
			t.Errorf("record %d: %d %s", wrong, status, b)
		}
	}
}

// lastTransition is the index of the last record of a check with a result.
func (c *checked) lastTransition(id, result string) (found int64) {
	c.t.Helper()
	err := app(c.t).Log().Records().Newest(func(seq int64, record []byte) bool {
		r, err := audit.Decode(record)
		if err != nil {
			return false
		}
		n, ok := r.Body.(*audit.CheckTransition)
		if ok && n.Check == id && n.After == result && n.Before != n.After {
			found = seq
		}
		return found == 0
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

// TestChangeThatWeakensIsTriagedByItsConfiguration takes a change out of what
// CHG-004 found.
func TestChangeThatWeakensIsTriagedByItsConfiguration(t *testing.T) {
	c := newChecked(t)
	window := `{"op":"replace","path":"/apps/soc2/checks/thresholds/CHG-004","value":{"window":["1h"]}}`
	found := func(f *controls.Finding) int { return len(f.Evidence) + f.Omitted } // also of other tests of this process
	run := func() (*controls.Finding, string) {
		t.Helper()
		r, err := app(t).RunChecks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r.Check("CHG-004"), r.Config
	}
	await := func(want int) (config string) {
		t.Helper()
		var f *controls.Finding
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); wait(t, 5*time.Millisecond) {
			if f, config = run(); found(f) == want {
				return config
			}
		}
		t.Fatalf("%d are found, want %d: %+v", found(f), want, f)
		return ""
	}
	c.apply(`[` + window + `]`)
	f, _ := run()
	before := found(f)
	c.apply(`[` + window + `,{"op":"replace","path":"` + siteAt + `/tls_connection_policies/0/protocol_min","value":"tls1.2"}]`)
	hash := await(before + 1)
	if status, b := c.ask(http.MethodPost, "/findings/"+strings.Repeat("0", 64)+"/triage", `{"verdict":"benign","owner":"o","reason":"r"}`); status != http.StatusNotFound {
		t.Errorf("a configuration that never ran: %d %s", status, b)
	}
	c.decide(0, "triage", hash, "--verdict", "accepted", "--owner", "o", "--reason", "old clients until Friday")
	await(before)
}

// TestAcceptedRiskExpires accepts a risk for moments, and withdraws another.
func TestAcceptedRiskExpires(t *testing.T) {
	c := newChecked(t)
	c.await("BKP-001", time.Time{}, controls.Fail)
	until := time.Now().Add(6 * time.Second).UTC()
	status, b := c.ask(http.MethodPost, "/exceptions", fmt.Sprintf(`{"check":"BKP-001","reason":"snapshots of the disk","owner":"platform","approved_by":"carol","until":%q}`, until.Format(time.RFC3339Nano)))
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, b)
	}
	e := decodeAnswer[checks.Entered](t, string(b))
	if r := c.review(e.Record); r.Kind != audit.KindReviewException || r.Approver != "carol" || r.Owner != "platform" || !r.Until.Equal(until) || r.Actor.Known != "verified" {
		t.Errorf("%+v", r)
	}
	c.awaitAccepted("BKP-001", e.Record)
	if f := app(t).CheckReport().Check("BKP-001"); f.Result != controls.Fail || f.Open() {
		t.Errorf("%+v", f)
	}
	c.awaitAccepted("BKP-001", 0)
	var began, ended time.Time
	_, err := app(t).Log().Records().Scan(e.Record, func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		if err != nil {
			return err
		}
		if n, ok := r.Body.(*audit.CheckTransition); ok && n.Check == "BKP-001" {
			if n.After != "fail" || n.Before != "fail" {
				t.Errorf("%+v", n)
			}
			if strings.HasPrefix(n.Exception, fmt.Sprintf("record %d until ", e.Record)) {
				began = n.Time
			} else if n.Exception == "" && !began.IsZero() {
				ended = n.Time
			}
		}
		return nil
	})
	if err != nil || began.IsZero() || ended.Before(until) {
		t.Errorf("accepted from %s to %s, and it expires %s: %v", began, ended, until, err)
	}
	t.Logf("the transition is %s after the end", ended.Sub(until))

	out := c.decide(0, "accept", "bkp-001", "--until", "30d", "--reason", "snapshots", "--owner", "platform", "--approved-by", "carol", "--json")
	e = decodeAnswer[checks.Entered](t, out)
	c.awaitAccepted("BKP-001", e.Record)
	c.decide(0, "accept", "withdraw", fmt.Sprint(e.Record), "--reason", "a replica is there")
	c.awaitAccepted("BKP-001", 0)
	c.decide(1, "accept", "withdraw", fmt.Sprint(e.Record), "--reason", "again")
	out = c.decide(0, "accept", "list")
	for _, want := range []string{"BKP-001  withdrawn", "BKP-001  superseded", "a replica is there", "2 exceptions, 0 of them in force"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// awaitAccepted waits until a check is accepted by a record, or by none for 0.
func (c *checked) awaitAccepted(id string, record int64) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); wait(c.t, 2*time.Millisecond) {
		f := app(c.t).CheckReport().Check(id)
		if record == 0 && !f.Accepted() || f.Accepted() && f.Exception.Record == record {
			return
		}
	}
	c.t.Fatalf("%s: %+v", id, app(c.t).CheckReport().Check(id).Exception)
}

// restored copies the log as a backup does whose checkpoint is the oldest part.
func (c *checked) restored() string {
	c.t.Helper()
	log, to := app(c.t).Log(), filepath.Join(c.t.TempDir(), "copy")
	dir := log.Dir()
	if err := os.MkdirAll(to, 0o700); err != nil {
		c.t.Fatal(err)
	}
	for _, part := range []string{"checkpoint", "rollups", "anchors", "witnessed", "tile", "segments"} {
		info, err := os.Stat(filepath.Join(dir, part))
		if os.IsNotExist(err) {
			continue
		}
		if err == nil && info.IsDir() {
			for range 100 { // files are renamed meanwhile
				err = errors.Join(os.RemoveAll(filepath.Join(to, part)), os.CopyFS(filepath.Join(to, part), os.DirFS(filepath.Join(dir, part))))
				if !errors.Is(err, fs.ErrNotExist) {
					break
				}
			}
		} else if err == nil {
			var b []byte
			if b, err = os.ReadFile(filepath.Join(dir, part)); err == nil {
				err = os.WriteFile(filepath.Join(to, part), b, 0o600)
			}
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return to
}

type drilled struct {
	Verdict  string
	Restored decision.Restored
	Record   *checks.Entered
}

// TestRestoreDrillVerifiesTheCopy makes drills of copies that are good, doctored
// and too old, against the running server.
func TestRestoreDrillVerifiesTheCopy(t *testing.T) {
	c := newChecked(t)
	c.apply(`[{"op":"add","path":"/apps/soc2/audit","value":{"checkpoint_interval":"1s"}}]`)
	c.awaitCheckpoint(10)
	good := c.restored()
	begin := time.Now()
	d := decodeAnswer[drilled](t, c.decide(0, "drill", "restore", "--from", good, "--json", "--ticket", "DR-1"))
	if d.Verdict != "passed" || d.Record == nil || d.Restored.Size < 10 || len(d.Restored.Problems) > 0 {
		t.Fatalf("%+v", d)
	}
	r := c.review(d.Record.Record)
	var figures decision.Restored
	if err := json.Unmarshal(r.Figures.Value, &figures); err != nil || figures.Root != d.Restored.Root || figures.Checkpoint != d.Restored.Checkpoint || len(r.Files) != 1 ||
		r.Files[0] != figures.Checkpoint+" checkpoint" || r.Verdict != "passed" || r.Subject != "restore" || r.Ticket != "DR-1" {
		t.Errorf("%v: %+v", err, r)
	}
	c.await("BKP-002", begin, controls.Pass)

	doctored := c.restored()
	list, err := filepath.Glob(filepath.Join(doctored, "segments", "*"))
	if err != nil || len(list) == 0 {
		t.Fatal(err, list)
	}
	b, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list[0], bytes.Replace(b, []byte(`"outcome":"applied"`), []byte(`"outcome":"refused"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	d = decodeAnswer[drilled](t, c.decide(1, "drill", "restore", "--from", doctored, "--json"))
	if r := c.review(d.Record.Record); d.Verdict != "failed" || r.Verdict != "failed" || len(d.Restored.Problems) == 0 {
		t.Errorf("doctored: %+v, %+v", d, r)
	}
	c.await("BKP-002", begin, controls.Fail)

	c.awaitCheckpoint(figures.Size + 1)
	log := app(t).Log().Dir()
	d = decodeAnswer[drilled](t, c.decide(1, "drill", "restore", "--from", good, "--log", log, "--max-age", "1ms", "--json"))
	if d.Verdict != "failed" || d.Restored.Behind == 0 || d.Restored.Age < time.Millisecond || !strings.Contains(strings.Join(d.Restored.Problems, " "), "are allowed") {
		t.Errorf("too old: %+v", d)
	}
	begin = time.Now()
	if out := c.decide(0, "drill", "restore", "--from", good, "--log", log); !strings.Contains(out, "restore: passed; record ") || !strings.Contains(out, "lacks ") {
		t.Error(out)
	}
	c.await("BKP-002", begin, controls.Pass)
	c.decide(2, "drill", "restore", "--from", log)
	c.decide(2, "drill", "restore", "--from", good, "--log", good)

	forged := d.Restored
	forged.Problems, forged.Age, forged.Root = nil, 0, figures.LiveRoot
	forged.Size--
	text, err := json.Marshal(map[string]any{"subject": "restore", "verdict": "passed", "reason": "trust me", "restored": forged})
	if err != nil {
		t.Fatal(err)
	}
	if status, b := c.ask(http.MethodPost, "/drills", string(text)); status != http.StatusConflict || !bytes.Contains(b, []byte("another root")) {
		t.Errorf("a drill that nobody made: %d %s", status, b)
	}
}

// awaitCheckpoint waits until so many records are signed.
func (c *checked) awaitCheckpoint(size int64) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); wait(c.t, 5*time.Millisecond) {
		if _, head, _ := app(c.t).Log().Checkpoint(); head.Size >= size {
			return
		}
	}
	c.t.Fatalf("%d records are not signed after 30 s", size)
}

// TestAlertDrillRecordsWhatShowsIt hashes files.
func TestAlertDrillRecordsWhatShowsIt(t *testing.T) {
	c := newChecked(t)
	file := filepath.Join(t.TempDir(), "pager <1>.txt")
	if err := os.WriteFile(file, []byte("test"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	d := decodeAnswer[drilled](t, c.decide(0, "drill", "alert", "--verdict", "passed", "--reason", "the pager rang", "--file", file, "--json"))
	r := c.review(d.Record.Record)
	if len(r.Files) != 1 || r.Files[0] != "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 pager <1>.txt" || r.Subject != "alert" {
		t.Errorf("%+v", r)
	}
	c.await("ALT-001", begin, controls.Pass)
	begin = time.Now()
	c.decide(0, "drill", "alert", "--verdict", "failed", "--reason", "nobody was called")
	c.await("ALT-001", begin, controls.Fail)
}

// TestDecisionsOfWrongShapeAreRefusedAndRecordNothing asks the admin API.
func TestDecisionsOfWrongShapeAreRefusedAndRecordNothing(t *testing.T) {
	c := newChecked(t)
	c.await("BKP-001", time.Time{}, controls.Fail)
	before := app(t).Log().Next()
	long := strings.Repeat("x", 70_000)
	for _, v := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/findings/BKP-001/triage", `{`, 400},
		{"POST", "/findings/BKP-001/triage", `{"verdict":"benign","owner":"o","reason":"` + long + `"}`, 400},
		{"POST", "/findings/BKP-001/triage", `{"verdict":"benign","owner":"o","reason":"r","x":1}`, 400},
		{"POST", "/findings/NONE-1/triage", `{"verdict":"benign","owner":"o","reason":"r"}`, 404},
		{"POST", "/findings/%2e%2e/triage", `{"verdict":"benign","owner":"o","reason":"r"}`, 404},
		{"GET", "/findings/BKP-001/triage", ``, 405},
		{"PUT", "/findings", `{}`, 405},
		{"GET", "/findings/BKP-001", ``, 404},
		{"POST", "/exceptions", `{"check":"BKP-001"}`, 400},
		{"POST", "/exceptions", `{"check":"BKP-001","reason":"r","owner":"o","approved_by":"a","until":"2099-01-01T00:00:00Z"}`, 400},
		{"DELETE", "/exceptions", `{"reason":"r"}`, 405},
		{"DELETE", "/exceptions/1", `{"reason":"r"}`, 404},
		{"DELETE", "/exceptions/x", `{"reason":"r"}`, 404},
		{"DELETE", "/exceptions/1", ``, 400},
		{"POST", "/drills", `{"subject":"restore","verdict":"passed","reason":"r"}`, 400},
		{"GET", "/drills", ``, 405},
		{"GET", "/findings", ``, 200},
		{"GET", "/exceptions", ``, 200},
	} {
		if status, b := c.ask(v.method, v.path, v.body); status != v.status {
			t.Errorf("%s %s: %d %s", v.method, v.path, status, b)
		}
	}
	_, err := app(t).Log().Records().Scan(before, func(_ int64, record []byte) error {
		if bytes.Contains(record, []byte(`"kind":"review.`)) {
			t.Errorf("recorded: %s", record)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
