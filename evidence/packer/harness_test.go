package packer_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// site is a log that was written by a simulated clock, with what the script that
// wrote it knows of it.
type site struct {
	t     testing.TB
	dir   string
	key   *audit.Key
	log   *audit.Log
	now   time.Time
	n     int
	added int    // records
	host  string // of requests

	exempt string // accepted exception that results of checks name

	clock atomic.Int64 // the log's
	opt   audit.Config
	want  truth
}

// truth is kept by the script alone, for the period.
type truth struct {
	period   pack.Period
	requests int64
	bytes    int64
	status   map[string]int64
	denials  int64
	limited  int64
	changes  int64
	failing  map[string]time.Duration // of checks
	state    map[string]string
	since    map[string]time.Time
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newSite makes an empty log. Its period of examination is the third of
// January.
func newSite(t testing.TB, origin string) *site {
	t.Helper()
	key, err := audit.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "log"), key: key, now: start}
	s.want = truth{
		period: pack.Period{From: start.AddDate(0, 0, 2), To: start.AddDate(0, 0, 3)},
		status: map[string]int64{}, failing: map[string]time.Duration{}, state: map[string]string{}, since: map[string]time.Time{},
	}
	return s
}

func (s *site) in() bool {
	return !s.now.Before(s.want.period.From) && s.now.Before(s.want.period.To)
}

func (s *site) open() {
	s.t.Helper()
	s.opt.Dir, s.opt.Key, s.opt.Instance, s.opt.CheckpointEvery = s.dir, s.key, "edge-1", time.Hour
	if s.opt.SegmentBytes == 0 {
		s.opt.SegmentBytes, s.opt.SegmentAge = 24<<10, 12*time.Hour
	}
	s.clock.Store(s.now.UnixNano())
	s.opt.Now = func() time.Time { return time.Unix(0, s.clock.Load()).UTC() }
	var err error
	if s.log, err = audit.Open(s.opt); err != nil {
		s.t.Fatal(err)
	}
}

// close ends the log, and waits until all its segments but the last are sealed.
func (s *site) close() {
	s.t.Helper()
	if err := s.log.Close(); err != nil {
		s.t.Fatal(err)
	}
	for id := range s.want.state {
		s.turn(id, "unknown")
	}
}

func (s *site) append(b audit.Body) (seq int64) {
	s.t.Helper()
	add := s.log.Enqueue
	if s.added++; s.added%20 == 0 {
		add = s.log.Append // so that segments end where they should
	}
	seq, err := add(context.Background(), b.AppendBody(nil, "edge-1"))
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}

// request appends a request that the script counts.
func (s *site) request(status int, deny, limited bool) {
	s.t.Helper()
	s.n++
	ev := &audit.Event{Start: s.now, Method: "GET", Host: cmp.Or(s.host, "example.com"), Path: fmt.Sprintf("/p/%d", s.n), Proto: "HTTP/2.0", Status: status, Bytes: int64(100 + s.n%7), Duration: 3 * time.Millisecond, End: "complete"}
	ev.ClientIP, ev.Agent = "203.0.113.9", `=cmd|'/c calc'!A1"<script>alert(1)</script>`
	ev.TLS.Version = "1.3"
	if s.n%5 == 0 {
		ev.User, ev.AuthMethod = "alice", "oidc"
	}
	if deny {
		ev.Access.Outcome, ev.Access.Rule = "deny", "staff"
	}
	if limited {
		ev.Limit.Outcome, ev.Limit.Rule = "limited", "all"
	}
	s.append(ev)
	if !s.in() {
		return
	}
	s.want.requests++
	s.want.bytes += ev.Bytes
	s.want.status[fmt.Sprint(status)]++
	if deny || status == 401 || status == 403 {
		s.want.denials++
	}
	if limited {
		s.want.limited++
	}
}

// check appends a result of a check.
func (s *site) check(id, result string) {
	s.t.Helper()
	d := controls.Checks().Check(id)
	s.append(&audit.CheckTransition{Time: s.now, Check: id, Version: d.Version, Definition: d.SHA256, Severity: string(d.Severity), Class: string(d.Class), Criteria: d.Criteria, Before: s.want.state[id], After: result, Since: s.want.since[id], Exception: s.exempt, Trigger: "change", Summary: "found"})
	s.turn(id, result)
}

// decide appends what a person decided.
func (s *site) decide(kind audit.Kind, subject, verdict string, until time.Time, answers ...int64) (seq int64) {
	s.t.Helper()
	return s.append(&audit.Review{
		Seq: slices.Max(append(answers, 0)), Time: s.now, Kind: kind, Subject: subject, Verdict: verdict, Owner: "platform", Until: until, Ticket: "RISK-7", Reason: "a reason, with \"quotes\"",
		Actor: audit.Actor{Name: "uid:1000(alice)", Known: "verified", How: "peer", Claim: "-alice"},
	})
}

// turn keeps the failing time.
func (s *site) turn(id, result string) {
	if s.want.state[id] == "fail" {
		from, to := s.want.since[id], s.now
		if from.Before(s.want.period.From) {
			from = s.want.period.From
		}
		if to.After(s.want.period.To) {
			to = s.want.period.To
		}
		if from.Before(to) {
			s.want.failing[id] += to.Sub(from)
		}
	}
	s.want.state[id], s.want.since[id] = result, s.now
}

func (s *site) pass(d time.Duration) { s.now = s.now.Add(d); s.clock.Store(s.now.UnixNano()) }

// sealed waits until all segments but the newest are sealed.
func (s *site) sealed() {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(time.Millisecond) {
		open, err := filepath.Glob(filepath.Join(s.dir, "segments", "*.log"))
		if err != nil || time.Now().After(deadline) {
			s.t.Fatalf("segments are not sealed: %v", err)
		}
		if len(open) <= 1 {
			return
		}
	}
}

// days writes four days, with everything in them.
func (s *site) days() *site {
	s.t.Helper()
	s.open()
	withdrawn := int64(0)
	for hour := range 4 * 24 {
		if hour%6 == 5 {
			s.sealed()
		}
		if hour%24 == 0 {
			s.check("TLS-001", "pass")
			s.check("AUD-001", "pass")
		}
		switch hour {
		case 3:
			s.decide(audit.KindReviewException, "UPS-001", "accepted", start.AddDate(0, 0, 1)) // expires before the period
		case 30:
			s.check("ADM-001", "fail")
		case 40:
			s.decide(audit.KindReviewException, "UPS-004", "accepted", start.AddDate(0, 1, 0))
			withdrawn = s.decide(audit.KindReviewException, "UPS-002", "accepted", start.AddDate(0, 1, 0))
		case 44: // before the period, of nothing that is there
			s.decide(audit.KindReviewException, "UPS-003", "withdrawn", time.Time{})
		case 49:
			s.decide(audit.KindReviewTriage, "ADM-001", "incident", time.Time{})
			s.decide(audit.KindReviewTriage, "=a call from outside", "benign", time.Time{})
		case 52:
			s.exempt = "a trial, accepted by alice until 2026-02-01T00:00:00Z"
			s.check("ADM-002", "fail")
			s.exempt = ""
		case 54:
			s.check("ADM-002", "fail")
		case 50:
			s.check("ADM-001", "pass")
		case 55:
			s.append(&audit.ConfigChange{Time: s.now, Outcome: "applied", Source: "reload", Ticket: "CHG-1", Risks: []string{"weakens_tls"}})
			s.want.changes++
			s.check("TLS-001", "fail")
		case 57:
			s.pass(90 * time.Second)
			s.check("TLS-001", "pass")
			s.append(&audit.UpstreamChange{Time: s.now, Kind: "upstream.down", Address: "app:3000", Server: "srv0", Before: "up", Cause: "active"})
		case 58:
			s.decide(audit.KindReviewException, "UPS-002", "withdrawn", time.Time{}, withdrawn)
			s.append(&audit.UpstreamChange{Time: s.now, Kind: "upstream.up", Address: "app:3000", Server: "srv0", Before: "down", Cause: "active"})
		case 59: // again, which does not put the end off
			s.decide(audit.KindReviewException, "UPS-002", "withdrawn", time.Time{}, withdrawn)
		case 60:
			s.close()
			s.pass(10 * time.Minute)
			s.open()
			s.check("TLS-001", "pass")
		}
		for i := range 5 {
			s.pass(time.Minute)
			status := 200
			if i == 0 {
				status = 403
			}
			s.request(status, i == 3, i == 4)
		}
		s.pass(start.Add(time.Duration(hour+1) * time.Hour).Sub(s.now))
	}
	s.close()
	return s
}

// input returns the log for packer.Write.
func (s *site) input() packer.Log {
	s.t.Helper()
	v, err := s.key.Verifier()
	if err != nil {
		s.t.Fatal(err)
	}
	return packer.Log{Dir: records.Dir{FS: os.DirFS(s.dir)}, Signer: s.key, Keys: []note.Verifier{v}}
}

func (s *site) options(full bool) packer.Options {
	return packer.Options{
		Period: s.want.period, Full: full, Temp: s.t.TempDir(), Now: func() time.Time { return start.AddDate(1, 0, 0) },
		Samples: []pack.Sample{ask("requests", 9, "audit 2026/01"), ask("denials", 5, "seed-b"), ask("denials", 5, "seed-a"), ask("config_changes", 25, "all")},
	}
}

func ask(name string, n int, seed string) pack.Sample {
	return pack.Sample{Population: name, Rows: n, Seed: seed}
}

// make packs logs.
func (s *site) make(full bool, more ...*site) []byte {
	s.t.Helper()
	logs := []packer.Log{s.input()}
	for _, m := range more {
		logs = append(logs, m.input())
	}
	var b bytes.Buffer
	if _, err := packer.Write(context.Background(), &b, logs, s.options(full)); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// verify verifies a pack by the keys of sites.
func verify(t testing.TB, b []byte, sites ...*site) *pack.Result {
	t.Helper()
	var keys []note.Verifier
	for _, s := range sites {
		v, err := s.key.Verifier()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, v)
	}
	r, err := pack.Verify(bytes.NewReader(b), int64(len(b)), keys, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustVerify(t testing.TB, b []byte, sites ...*site) *pack.Result {
	t.Helper()
	r := verify(t, b, sites...)
	if !r.Verified {
		t.Fatalf("it is not verified:\n%s", strings.Join(r.Problems, "\n"))
	}
	return r
}
