package e2e_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/ocsf"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// hostile are texts that do something where they are taken for more than text.
var hostile = []string{
	`<script>window.pwned=1</script>`,
	`"><img src=x onerror=window.pwned=2>`,
	`'><svg/onload=window.pwned=3>`,
	`<svg><script>window.pwned=4</script><a xlink:href="javascript:window.pwned=4"><text>x</text></a></svg>`,
	`</td></tr></tbody></table><script>window.pwned=5</script>`,
	`</title><script>window.pwned=6</script>`,
	`</style><script>window.pwned=7</script>`,
	`<style>@import url(/leak-css);body{display:none}</style>`,
	`<a href="javascript:window.pwned=9" autofocus onfocus=window.pwned=9>click</a>`,
	`javascript:window.pwned=10//`,
	`<iframe src="javascript:parent.pwned=11"></iframe>`,
	`<iframe srcdoc="<script>parent.pwned=12</script>"></iframe>`,
	`<meta http-equiv=refresh content="0;url=/leak-meta">`,
	`<base href="//127.0.0.1:9/">`,
	`<link rel=stylesheet href=/leak-link><img src=/leak-img><video src=/leak-video autoplay></video>`,
	`<object data=/leak-object></object><embed src=/leak-embed>`,
	`<form action=/leak-form><input name=x autofocus onfocus=window.pwned=17></form>`,
	`{{.PackID}}{{template "tally"}}${7*7}<%= 7*7 %>#{7*7}`,
	`--><!--<script>window.pwned=19</script>-->]]><![CDATA[`,
	`<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=window.pwned=20&gt;">`,
	`&lt;script&gt;window.pwned=21&lt;/script&gt;&#60;img src=x onerror=window.pwned=21&#62;`,
	`\u003cscript\u003ewindow.pwned=22\u003c/script\u003e\x3cimg src=x onerror=window.pwned=22\x3e`,
	`<details open ontoggle=window.pwned=23><summary>x</summary></details><x tabindex=1 autofocus onfocus=window.pwned=23 onclick=window.pwned=23 style="background:url(/leak-style);position:fixed;inset:0">`,
	`<template><script>window.pwned=24</script></template><noscript><p title="</noscript><img src=x onerror=window.pwned=24>">`,
	`=HYPERLINK("http://127.0.0.1:9/?"&A1,"x")`,
	`+cmd|' /C calc'!A0`,
	`-2+3+cmd|' /C calc'!A0`,
	`@SUM(1+1)*cmd|' /C calc'!A0`,
	"\t=1+1", "\r\n=1+1,\"=1+1\"\r\n", "\uff1d1+1", "'=1+1", "\"=1+1", ";=1+1", "\ufeff=1+1",
	"user\u202e<script>window.pwned=36</script>\u202c\u2066\u2069\u200f\u061c",
	"\x00\x1b]0;title\x07\x1b[31m\x7f\u0085\u2028<script>window.pwned=37</script>\u2029",
	"\xff\xfe<script>window.pwned=38</script>\xc0\xbc",
	`%3Cscript%3Ewindow.pwned=39%3C/script%3E`,
}

// harmless are as many texts that do nothing.
func harmless() (list []string) {
	for i := range hostile {
		list = append(list, fmt.Sprintf("text-%02d", i))
	}
	return list
}

// inertLog is a log whose clients and administrators send texts.
type inertLog struct {
	t     *testing.T
	texts []string
	dir   string
	key   *audit.Key
	log   *audit.Log
	now   time.Time
}

var inertDay = time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)

// newInertLog writes each text into each member that somebody else decides on.
func newInertLog(t *testing.T, texts []string) *inertLog {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	l := &inertLog{t: t, texts: texts, dir: filepath.Join(t.TempDir(), "log"), key: key, now: inertDay}
	l.log, err = audit.Open(audit.Config{Dir: l.dir, Key: key, Instance: "edge-1", CheckpointEvery: time.Hour, Now: func() time.Time { return inertDay }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range texts {
		l.request(i)
		l.others(i)
	}
	if err := l.log.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *inertLog) add(b audit.Body) {
	l.t.Helper()
	if _, err := l.log.Append(context.Background(), b.AppendBody(nil, "edge-1")); err != nil {
		l.t.Fatal(err)
	}
}

const inertPolicy = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func (l *inertLog) request(i int) {
	l.t.Helper()
	s := l.texts[i]
	l.now = l.now.Add(time.Minute)
	for _, outcome := range []string{"deny", "allow", "break_glass", "shadow_deny"} {
		l.add(&audit.Event{
			Start: l.now, ID: audit.NewID(l.now), Server: s, ClientIP: "203.0.113.9", Proto: s, Method: s, Host: s, Path: s, Query: s, Agent: s,
			User: s, AuthMethod: s, Access: audit.Decision{Outcome: outcome, Rule: s, Reason: s}, AccessPolicy: inertPolicy,
			Limit: audit.Decision{Outcome: "limited", Rule: s, Reason: s}, Cache: s, Refused: s, TLS: audit.TLS{Version: s, Cipher: s, ServerName: s},
			Upstream: audit.Upstream{Address: s, Status: 200}, Status: 403, End: audit.End(s), Error: s, RequestHeaders: []audit.Header{{Name: s, Value: s}},
		})
	}
	l.add(&audit.Event{Start: l.now, ID: audit.NewID(l.now), Method: "GET", Host: "h", Path: "/", Access: audit.Decision{Outcome: s, Rule: s}, Limit: audit.Decision{Outcome: s}, Status: 200})
}

func (l *inertLog) others(i int) {
	l.t.Helper()
	s, at := l.texts[i], l.now
	who := audit.Actor{Name: s, Known: "verified", How: s, Claim: s, Address: s}
	evidence, err := json.Marshal(map[string]any{"examined": 1, "found": []map[string]string{{"where": strings.ToValidUTF8(s, ""), "what": strings.ToValidUTF8(s, "")}}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.add(&audit.ConfigChange{Time: at, Outcome: "applied", Source: s, Mode: s, Actor: who, Method: s, Path: s, File: s, Ticket: s, Reason: s, Error: s, Risks: []string{s}, Diff: audit.JSON{Value: evidence}})
	l.add(&audit.AdminCall{Time: at, Actor: who, Method: s, Host: s, Path: s, Query: s, Ticket: s, Reason: s, Outcome: s, Error: s})
	l.add(&audit.EvidenceRead{Time: at, Actor: who, Role: s, Resource: s, Name: s, Path: s, Query: s, Seed: s, Filter: s, Outcome: s})
	d := controls.Checks().Checks[i%len(controls.Checks().Checks)]
	l.add(&audit.CheckTransition{Time: at, Check: d.ID, Version: 1, Definition: d.SHA256, Severity: s, Class: s, Criteria: []string{s}, After: "fail", Trigger: s, Summary: s, Threshold: s, Exception: s, Evidence: audit.JSON{Value: evidence}})
	l.add(&audit.CheckTransition{Time: at, Check: s, Version: 1, Definition: s, Severity: s, Class: s, After: "fail", Summary: s, Exception: s})
	l.add(&audit.CheckTransition{Time: at, Check: "X-" + fmt.Sprint(i), Severity: "low", After: s, Summary: s})
	l.add(&audit.UpstreamChange{Time: at, Kind: "upstream.down", Address: s, Server: s, Check: s, Error: s, Cause: s})
	l.add(&audit.Certificate{Time: at, Kind: "cert.failed", Names: []string{s}, Issuer: s, Serial: s, Error: s, Reason: s})
	l.add(&audit.ProtocolError{Time: at, Listener: s, Layer: s, Reason: s, Prefix: s, Example: s, Count: 1})
	l.add(&audit.Lockout{Time: at, Action: "lock", What: s, Subject: s, Provider: s, Rule: s, Actor: who, Reason: s})
	l.add(&audit.BreakGlass{Time: at, Action: "open", Grant: s, Policy: s, Principal: s, Actor: who, Reason: s, Ticket: s, Until: at.Add(time.Hour)})
	l.add(&audit.Review{Time: at, Kind: audit.KindReviewTriage, Actor: who, Subject: s, Verdict: s, Owner: s, Ticket: s, Reason: s, Files: []string{s}})
	l.add(&audit.AccessReview{Time: at, Review: fmt.Sprint("r-", i), Part: 1, Parts: 1, Actor: who, Reviewer: s, Document: s, From: at, To: at.Add(time.Hour), Config: s, Reason: s, Ticket: s, Decisions: audit.JSON{Value: []byte("[]")}})
	l.add(&audit.LogErase{Time: at, What: "subject", Subject: s, By: s, Reason: s})
	l.add(&audit.LogHold{Time: at, Action: "set", Name: s, By: s, Reason: s})
	l.add(&audit.LogGap{Time: at, Cause: s, Reason: s, From: at, To: at.Add(time.Second), Served: 1})
	l.add(&audit.Process{Time: at, Kind: "process.signal", Signal: s, Reason: s, State: s, Program: audit.Program{Version: s, Path: s}})
}

var inertPeriod = pack.Period{From: inertDay, To: inertDay.AddDate(0, 0, 1)}

// pack returns the files of a verified pack of the log.
func (l *inertLog) pack() map[string][]byte {
	l.t.Helper()
	v, err := l.key.Verifier()
	if err != nil {
		l.t.Fatal(err)
	}
	var b bytes.Buffer
	logs := []packer.Log{{Dir: records.Dir{FS: os.DirFS(l.dir)}, Signer: l.key, Keys: []note.Verifier{v}}}
	if _, err := packer.Write(context.Background(), &b, logs, packer.Options{Period: inertPeriod, Full: true, Temp: l.t.TempDir()}); err != nil {
		l.t.Fatal(err)
	}
	r, err := pack.Verify(bytes.NewReader(b.Bytes()), int64(b.Len()), []note.Verifier{v}, pack.Options{})
	if err != nil || !r.Verified {
		l.t.Fatalf("the pack is not verified: %v %+v", err, r)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		l.t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		in, err := f.Open()
		if err == nil {
			files[f.Name], err = io.ReadAll(in)
		}
		if err != nil {
			l.t.Fatal(f.Name, err)
		}
	}
	return files
}

// review returns the files of an access review of the log, with a configuration
// that has the texts, too.
func (l *inertLog) review() map[string][]byte {
	l.t.Helper()
	g := &review.Grants{Configuration: review.Configuration{Source: "file", SHA256: "00"}}
	for i, s := range l.texts {
		s = strings.ToValidUTF8(s, "")
		p := review.Policy{Names: []string{s}, Sites: []string{s}, Hash: inertPolicy, Mode: "enforce", BreakGlass: []string{s}, Rules: []review.Rule{{Name: s, Roles: []string{s}, Conditions: []string{s}}}}
		if i > 0 {
			p.Hash = fmt.Sprintf("%032x", i)
		}
		g.Policies = append(g.Policies, p)
		g.Accounts = append(g.Accounts, review.Account{Kind: review.APIKey, Name: s, Sources: []string{s}, Roles: []string{s}, Limits: []string{s}})
	}
	g.Merge()
	d, err := review.Make(context.Background(), records.Dir{FS: os.DirFS(l.dir)}, g, review.Options{Period: review.Period{From: inertPeriod.From, To: inertPeriod.To}})
	if err != nil {
		l.t.Fatal(err)
	}
	files := map[string][]byte{}
	for name, write := range map[string]func(io.Writer) error{"review.html": d.HTML, "review.csv": d.CSV, "review.txt": d.Text} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			l.t.Fatal(err)
		}
		files[name] = b.Bytes()
	}
	if files["review.json"], err = d.JSON(); err != nil {
		l.t.Fatal(err)
	}
	return files
}

// events returns the records as events of OCSF.
func (l *inertLog) events() (events []byte) {
	l.t.Helper()
	c := ocsf.Converter{Origin: "edge-1/soc2"}
	dir := records.Dir{FS: os.DirFS(l.dir)}
	_, err := dir.Range(context.Background(), 0, 1<<40, func(_ int64, record []byte) (err error) {
		events, err = c.Append(events, record)
		events = append(events, '\n')
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return events
}

// TestTextsOfClientsAreInertInTheFilesOfAPack looks at each table and each
// document: no cell is a formula, and nothing steers a terminal or an editor.
func TestTextsOfClientsAreInertInTheFilesOfAPack(t *testing.T) {
	l := newInertLog(t, hostile)
	files := l.pack()
	maps.Copy(files, l.review())
	files["events.ndjson"] = l.events()
	cells, lines := 0, 0
	for name, content := range files {
		switch filepath.Ext(name) {
		case ".csv":
			cells += inertTable(t, name, content)
		case ".json", ".ndjson", ".html", ".txt":
			lines += inertText(t, name, content)
		}
	}
	if cells < 100*len(hostile) || lines < 20*len(hostile) {
		t.Errorf("only %d cells and %d lines were looked at", cells, lines)
	}
	for _, s := range hostile { // the texts are there, so that this test sees them
		if strings.ContainsFunc(s, acting) || strings.Contains(s, `\`) || !utf8.ValidString(s) {
			continue
		}
		quoted, _ := json.Marshal(s) //nolint:errchkjson // a string
		for _, name := range []string{"logs/edge-1_soc2/populations/denials.ndjson", "report.json", "review.json"} {
			if !bytes.Contains(files[name], quoted) {
				t.Errorf("%s does not have %q", name, s)
			}
		}
	}
}

// acting reports whether a character does something instead of being shown.
func acting(c rune) bool {
	return c < 0x20 || c >= 0x7f && c <= 0x9f || strings.ContainsRune("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff", c)
}

func inertTable(t *testing.T, name string, content []byte) (cells int) {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil {
		t.Fatal(name, err)
	}
	for i, row := range all {
		for k, cell := range row {
			first, _ := utf8.DecodeRuneInString(strings.TrimLeft(cell, " "))
			if cell != "" && strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", first) {
				t.Errorf("%s: row %d, %s: %q is a formula", name, i, all[0][k], cell)
			}
			if strings.ContainsFunc(cell, acting) || !utf8.ValidString(cell) {
				t.Errorf("%s: row %d, %s: %q acts", name, i, all[0][k], cell)
			}
			cells++
		}
	}
	// Spreadsheets of some countries take semicolons and tabs for what divides
	// cells: a quoted cell keeps its line.
	if bytes.Contains(content, []byte("\t")) || bytes.Count(content, []byte("\n")) != len(all) {
		t.Errorf("%s has tabs, or rows of several lines", name)
	}
	return cells
}

func inertText(t *testing.T, name string, content []byte) (lines int) {
	t.Helper()
	for line := range bytes.Lines(content) {
		lines++
		if text := strings.TrimSuffix(string(line), "\n"); strings.ContainsFunc(text, func(c rune) bool { return acting(c) && (c != '\t' || strings.HasSuffix(name, ".ndjson")) }) || !utf8.ValidString(text) {
			t.Errorf("%s: line %d: %.300q acts", name, lines, text)
		}
		if filepath.Ext(name) == ".ndjson" && !json.Valid(line) {
			t.Errorf("%s: line %d is no JSON", name, lines)
		}
	}
	if filepath.Ext(name) == ".json" && !json.Valid(content) {
		t.Errorf("%s is no JSON", name)
	}
	return lines
}
