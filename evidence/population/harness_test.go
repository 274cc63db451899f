package population_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// began is about the time of the first record of a test's log.
var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// fact is what a test knows of a record, from what it appended and not from what
// it read.
type fact struct {
	seq  int64
	kind string
	at   time.Time

	denied, limited bool
	outage          bool
	user            string // of a request
	actor           string // that is verified
}

// bench is a log with all kinds of records.
type bench struct {
	t     testing.TB
	dir   string
	cfg   audit.Config
	log   *audit.Log
	rand  *rand.Rand
	mu    sync.Mutex // guards now, which the log asks for
	now   time.Time
	facts []fact
}

func newBench(t testing.TB) *bench {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "log"), now: began, rand: rand.New(rand.NewPCG(1, 2))}
	b.cfg = audit.Config{Dir: b.dir, Key: key, Instance: "edge-1", SegmentBytes: 64 << 10, CheckpointEvery: time.Hour, Deadline: time.Minute, Now: b.clock}
	b.open()
	return b
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) open() {
	b.t.Helper()
	log, err := audit.Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.log = log
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// add appends a record. The last of a run is awaited.
func (b *bench) add(body audit.Body, f fact, wait bool) int64 {
	b.t.Helper()
	add := b.log.Enqueue
	if wait {
		add = b.log.Append
	}
	seq, err := add(context.Background(), body.AppendBody(nil, "edge-1"))
	if err != nil {
		b.t.Fatal(err)
	}
	f.seq = seq
	b.facts = append(b.facts, f)
	return seq
}

// hostile are texts as attackers send them.
var hostile = []string{
	"=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\"\n\",x", "\u202e=1", "\xff\x00", "'=x", "＝1", `\x41`, "é",
	"<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</script>", "{{7*7}}", "a,b", "\u2028", "\x1b[31m", "",
}

// grow appends so many records, seconds apart.
func (b *bench) grow(n int) {
	b.t.Helper()
	for i := range n {
		b.pass(time.Duration(b.rand.IntN(4000)) * time.Millisecond)
		body, f := b.body()
		b.add(body, f, i%200 == 199 || i == n-1)
	}
}

func pick[T any](b *bench, list ...T) T { return list[b.rand.IntN(len(list))] }

func (b *bench) body() (audit.Body, fact) {
	at := b.now
	who := audit.Actor{Name: "CN=ops-" + pick(b, "1", "2", "é"), Known: pick(b, "verified", "asserted", "none"), How: "mtls", Claim: pick(b, hostile...)}
	f := fact{at: at}
	if who.Known == "verified" {
		f.actor = who.Name
	}
	text := pick(b, hostile...)
	switch b.rand.IntN(14) {
	case 0:
		f.kind = "config.change"
		return &audit.ConfigChange{Time: at, Outcome: "applied", Actor: who, Ticket: text, Reason: text, Risks: []string{"a", text}}, f
	case 1:
		f.kind = "admin.call"
		return &audit.AdminCall{Time: at, Actor: who, Method: "POST", Path: text, Query: text, Status: 200, Outcome: "allowed"}, f
	case 2:
		f.kind, f.actor = pick(b, "cert.obtained", "cert.failed", "cert.expired"), ""
		return &audit.Certificate{Time: at, Kind: audit.Kind(f.kind), Names: []string{"a.example", text}, Issuer: text, Error: text}, f
	case 3:
		f.kind, f.actor = "upstream."+pick(b, "up", "down", "unknown"), ""
		before, cause := pick(b, "up", "down", ""), pick(b, "active", "interval", "traffic")
		f.outage = cause != "interval" && (f.kind == "upstream.down" || before == "down")
		return &audit.UpstreamChange{Time: at, Kind: audit.Kind(f.kind), Address: "10.0.0.1:80", Before: before, Cause: cause, Error: text}, f
	case 4:
		f.kind = "evidence.read"
		return &audit.EvidenceRead{Time: at, Actor: who, Role: "auditor", Resource: "population", Path: text, From: at, Seed: text, Status: 200, Rows: 3}, f
	case 5:
		f.kind, f.actor = pick(b, "process.start", "process.crash", "process.signal"), ""
		return &audit.Process{Time: at, Kind: audit.Kind(f.kind), PID: 7, Reason: text}, f
	case 6:
		f.kind, f.actor = "check.transition", ""
		return &audit.CheckTransition{Time: at, Check: "TLS-001", Before: "pass", After: "fail", Criteria: []string{"CC6.1"}, Summary: text}, f
	case 7:
		f.kind, f.actor = "protocol.error", ""
		return &audit.ProtocolError{Time: at, Layer: "tls", Reason: "x", Count: 3, From: at.Add(-time.Minute), To: at, Example: text}, f
	case 8:
		f.kind = "review.triage"
		return &audit.Review{Time: at, Kind: audit.KindReviewTriage, Actor: who, Subject: text, Verdict: "benign"}, f
	}
	return b.request(text)
}

func (b *bench) request(text string) (audit.Body, fact) {
	took := time.Duration(b.rand.IntN(20)) * time.Second
	ev := &audit.Event{
		Start: b.now.Add(-took), Duration: took, Method: "GET", Host: "shop.example", Path: text, Query: text, Agent: text, ClientIP: "192.0.2.1", Proto: "HTTP/2.0",
		Status: pick(b, 200, 200, 200, 204, 401, 403, 404, 429, 500), Bytes: int64(b.rand.IntN(1000)), End: audit.EndComplete,
		User: pick(b, "", "", "alice", "bob", "=cmd", "\u202ecarol", text), AuthMethod: "mtls",
		Access: audit.Decision{Outcome: pick(b, "", "allow", "deny", "shadow_deny"), Rule: text}, Limit: audit.Decision{Outcome: pick(b, "", "allow", "limited", "shadow_limited")},
		Refused: pick(b, "", "", "", "", "host"),
	}
	ev.ID = audit.NewID(ev.Start)
	f := fact{kind: "request", at: ev.Start, user: ev.User}
	f.denied = ev.Access.Outcome == "deny" || ev.Status == 401 || ev.Status == 403 || ev.Refused != ""
	f.limited = ev.Limit.Outcome == "limited"
	return ev, f
}

// head is the log as its newest checkpoint signs it.
func (b *bench) head() *population.Log {
	b.t.Helper()
	log, err := population.Open(records.Dir{FS: os.DirFS(b.dir)}, b.cfg.Key.Public())
	if err != nil {
		b.t.Fatal(err)
	}
	return log
}

// has is what each population is, said another way.
var has = map[string]func(f fact) bool{
	"requests":          func(f fact) bool { return f.kind == "request" },
	"denials":           func(f fact) bool { return f.denied },
	"limited":           func(f fact) bool { return f.limited },
	"config_changes":    func(f fact) bool { return f.kind == "config.change" },
	"admin_calls":       func(f fact) bool { return f.kind == "admin.call" },
	"certificates":      func(f fact) bool { return strings.HasPrefix(f.kind, "cert.") },
	"upstream_outages":  func(f fact) bool { return f.outage },
	"evidence_reads":    func(f fact) bool { return f.kind == "evidence.read" },
	"process_events":    func(f fact) bool { return strings.HasPrefix(f.kind, "process.") },
	"check_transitions": func(f fact) bool { return f.kind == "check.transition" },
	"protocol_errors":   func(f fact) bool { return f.kind == "protocol.error" },
	"lockouts":          func(fact) bool { return false },
	"disposals":         func(fact) bool { return false },
	"reviews":           func(f fact) bool { return f.kind == "review.triage" },
}

// truth returns the indexes of the records of a population in a period.
func (b *bench) truth(name string, p population.Period) (seqs []int64) {
	for _, f := range b.facts {
		if !p.From.IsZero() && f.at.Before(p.From) || !p.To.IsZero() && !f.at.Before(p.To) {
			continue
		}
		if has[name](f) {
			seqs = append(seqs, f.seq)
		}
	}
	return seqs
}

// rows reads the rows of a population.
func rows(t testing.TB, log *population.Log, opt population.Options) (list []population.Row, r population.Result) {
	t.Helper()
	r, err := population.Rows(context.Background(), log, opt, func(row *population.Row) error {
		c := *row
		c.Record, c.Cells = slices.Clone(row.Record), slices.Clone(row.Cells)
		list = append(list, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, r
}

func find(t testing.TB, name string) *population.Population {
	t.Helper()
	p, err := population.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func codes(c population.Coverage) string {
	var list []string
	for _, n := range c.Notes {
		list = append(list, n.Code)
	}
	return fmt.Sprint(c.State, list)
}

// inRecord is a text as docs/records.md says that records have it, after JSON's
// escapes are undone.
func inRecord(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == '\\' || r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}
