package quarter_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/personal/hold"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// The quarter, and the log around it.
var (
	logBegins = time.Date(2025, 12, 28, 9, 0, 0, 0, time.UTC)
	begins    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ends      = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	logEnds   = time.Date(2026, 4, 3, 6, 0, 0, 0, time.UTC)
)

// forgotten is who asks to be.
const forgotten = "user-07@example.com"

// script plays the quarter.
type script struct {
	*site
	daily   int // requests
	steps   []step
	tracker *controls.Tracker
	saved   []byte
	holes   map[string][]jsonpatch.Op // what is wrong now, by check
	good    any
	runs    map[string]*controls.Report
	states  map[string]string // of upstreams
	since   map[string]time.Time
	config  int
}

type step struct {
	at time.Time
	do func()
}

// on plans what happens at a time: 02-14 15:04:05 of 2026.
func (s *script) on(at string, do func()) {
	t, err := time.Parse("2006-01-02 15:04:05", "2026-"+at)
	s.must(err)
	s.steps = append(s.steps, step{t, do})
}

func newScript(t testing.TB, daily int) *script {
	t.Helper()
	s := &script{site: newSite(t, logBegins), daily: daily, tracker: new(controls.Tracker), holes: map[string][]jsonpatch.Op{}, runs: map[string]*controls.Report{}, states: map[string]string{}, since: map[string]time.Time{}}
	b, err := os.ReadFile("../../controls/testdata/good.json")
	s.must(err)
	s.good, err = jsonpatch.Parse(b)
	s.must(err)
	s.plan()
	for at := logBegins.Truncate(6 * time.Hour).Add(6 * time.Hour); at.Before(logEnds); at = at.Add(6 * time.Hour) {
		s.steps = append(s.steps, step{at.Add(time.Second), func() { s.check("interval") }})
	}
	for at := logBegins.Add(time.Hour); at.Before(logEnds); at = at.Add(time.Hour) {
		s.steps = append(s.steps, step{at.Add(2 * time.Second), s.repeat})
	}
	slices.SortStableFunc(s.steps, func(a, b step) int { return a.at.Compare(b.at) })
	return s
}

// play runs the quarter. Requests come evenly through the day, and each of the
// steps between two of them.
func (s *script) play() {
	s.t.Helper()
	s.open(true, 0)
	s.start("process.start")
	for _, u := range upstreams {
		s.upstream(u, "up", "start")
	}
	every := 24 * time.Hour / time.Duration(s.daily)
	skew := time.Duration(0)
	for at, i := logBegins.Add(time.Minute), 0; at.Before(logEnds); at, i = at.Add(every), i+1 {
		if at.Add(-skew).Day() != at.Add(every-skew).Day() {
			skew = 0 // the clock was set right in the night
		}
		for len(s.steps) > 0 && !at.Add(-skew).Before(s.steps[0].at) {
			next := s.steps[0]
			s.steps = s.steps[1:]
			s.pass(later(s.now, next.at))
			was := s.now
			next.do()
			if s.now.Before(was) {
				skew = was.Sub(s.now)
			}
		}
		s.pass(later(s.now, at.Add(-skew)))
		took, ahead := time.Duration(i%97)*time.Millisecond, ""
		switch {
		case i%1009 == 0:
			took, ahead = time.Duration(1+i%150)*time.Minute, "request.open"
		case i%503 == 0:
			ahead = "request.intent"
		}
		s.request(took, ahead)
	}
	s.stop("")
	s.close()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// plan is the quarter.
func (s *script) plan() {
	admin := audit.Actor{Name: "alice", Known: "verified", How: "peer", Address: "@"}
	robot := audit.Actor{Known: "none", How: "tcp", Claim: "=deploy-bot", Address: "127.0.0.1:50505"}
	change := func(outcome, ticket string, a audit.Actor, risks ...string) {
		s.config++
		c := &audit.ConfigChange{
			Time: s.now, Outcome: outcome, Source: "admin", Mode: "observe", Actor: a, Method: "POST", Path: "/load", Ticket: ticket, Reason: "=1+1",
			Before: fmt.Sprintf("%064x", s.config-1), After: fmt.Sprintf("%064x", s.config), Risks: risks,
			Diff: audit.JSON{Value: []byte(`[{"op":"replace","path":"/apps/http/servers/srv0/listen/0","value":":443"}]`)},
		}
		if outcome == "rejected" {
			c.Error = "loading http app: listen tcp :443: bind: permission denied"
		}
		s.add(c)
		status := map[string]int{"applied": 200, "rejected": 400}[outcome]
		s.add(&audit.AdminCall{Time: s.now, Actor: a, Listener: "unix//run/caddy/admin.sock", Method: "POST", Host: "localhost", Path: "/load", BodyBytes: 4711, Ticket: ticket, Outcome: "allowed", Status: status, Duration: 20 * time.Millisecond})
	}
	for d, at := 0, logBegins.Add(7*time.Hour); at.Before(logEnds); d, at = d+1, at.Add(53*time.Hour) { // ordinary work
		s.steps = append(s.steps, step{at, func() {
			switch d % 4 {
			case 0:
				change("applied", "CHG-"+strconv.Itoa(100+d), admin)
			case 1:
				change("rejected", "", robot)
			case 2:
				change("applied", "", robot, "weakens_tls", "disables_audit")
			case 3:
				s.add(&audit.AdminCall{Time: s.now, Actor: robot, Listener: "tcp/127.0.0.1:2019", Method: "DELETE", Path: "/config/", Outcome: "denied", Status: 403})
				s.add(&audit.EvidenceRead{Time: s.now, Actor: admin, Role: "auditor", Resource: "population", Name: "denials", Path: "/.soc2/v1/populations/denials", Format: "csv", From: begins, To: ends, Outcome: "allowed", Status: 200, Rows: 12, TreeSize: 99})
				s.add(&audit.ProtocolError{Time: s.now, Listener: ":443", Layer: "tls", Reason: "no_shared_version", Prefix: "198.51.100.0/24", Count: int64(3 + d), From: s.now.Add(-time.Minute), To: s.now, Example: "tls: client offered only unsupported versions: [301]"})
				s.add(&audit.Certificate{Time: s.now, Kind: "cert.renewed", Names: []string{"shop.example.com", "api.example.com"}, Issuer: "acme", Serial: "0a", KeyType: "ecdsa-p256", NotBefore: s.now, NotAfter: s.now.AddDate(0, 0, 90), Managed: true, Source: "event"})
				s.add(&audit.CachePurge{Time: s.now, Actor: admin, Selector: "prefix", Value: "/p", Outcome: "done", Removed: 3})
			}
		}})
	}
	s.on("02-02 10:30:00", func() { s.early(begins, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) })
	s.planAttacks()
	s.planFaults(admin)
	s.planKeys(admin)
}

// planAttacks plans credential stuffing, a flood, and guesses of hosts.
func (s *script) planAttacks() {
	until := func(m mood) func() { return func() { s.mood = m } }
	for _, a := range []struct {
		from, to string
		mood     mood
	}{
		{"01-09 22:00:00", "01-10 04:00:00", stuffing}, {"02-13 01:00:00", "02-13 09:00:00", stuffing}, {"03-02 03:00:00", "03-02 05:30:00", flood},
		{"03-10 10:00:00", "03-11 20:00:00", hosts}, {"03-31 22:00:00", "04-01 02:00:00", flood},
	} {
		s.on(a.from, until(a.mood))
		s.on(a.to, until(calm))
	}
	for _, day := range []string{"01-09 22:30:00", "02-13 01:30:00"} {
		s.on(day, func() {
			for i := range 9 {
				s.add(&audit.Lockout{Time: s.now, Action: "lock", What: "network", Subject: "198.51.100." + strconv.Itoa(i) + "/32", Provider: "password", Rule: "login", Attempts: 20, Window: time.Minute, Until: s.now.Add(time.Hour)})
			}
			s.add(&audit.LimitChange{Time: s.now, Kind: audit.KindLimitBan, Zone: "login", Key: "198.51.100.3", Limit: "5/m", Mode: "gcra", Until: s.now.Add(time.Hour)})
		})
		_ = day
	}
	s.on("02-13 10:00:00", func() {
		s.add(&audit.Lockout{Time: s.now, Action: "unlock", What: "network", Subject: "198.51.100.3/32", Provider: "password", Rule: "login", Actor: audit.Actor{Name: "bob", Known: "verified", How: "oidc"}, Reason: "=OFFICE()"})
		s.add(&audit.Review{Time: s.now, Kind: audit.KindReviewTriage, Actor: audit.Actor{Name: "bob", Known: "verified", How: "oidc"}, Subject: "LIM-1", Verdict: "incident", Owner: "bob", Ticket: "INC-7", Reason: "credential stuffing", Seq: 12, Files: []string{"a", "b"}})
	})
	s.on("03-02 03:00:01", func() {
		s.add(&audit.LimitChange{Time: s.now, Kind: audit.KindLimitBegin, Zone: "per client", Key: "192.0.2.66", Limit: "100/s", Mode: "gcra"})
	})
	s.on("03-02 05:30:01", func() {
		s.add(&audit.LimitChange{Time: s.now, Kind: audit.KindLimitEnd, Zone: "per client", Key: "192.0.2.66", Limit: "100/s", Mode: "gcra", Allowed: 1, Refused: 9, From: s.now.Add(-time.Hour), To: s.now})
	})
	s.on("03-05 08:00:00", func() {
		s.add(&audit.BreakGlass{Time: s.now, Action: "open", Grant: "bg-1", Policy: "shop", Principal: "user-01@example.com", Actor: audit.Actor{Name: "bob", Known: "verified", How: "oidc"}, Reason: "night shift", Ticket: "@INC-9", Until: s.now.Add(time.Hour)})
	})
	s.on("03-05 09:00:00", func() {
		s.add(&audit.BreakGlass{Time: s.now, Action: "close", Grant: "bg-1", Policy: "shop", Principal: "user-01@example.com", Used: 4})
	})
}

// planFaults plans what breaks: upstreams, controls, the clock, the process.
func (s *script) planFaults(admin audit.Actor) {
	down := func(u, err string) func() {
		return func() { s.upstream(u, "down", "active"); s.mood = outage; _ = err }
	}
	up := func(u string) func() { return func() { s.upstream(u, "up", "active"); s.mood = calm } }
	s.on("01-12 13:00:00", down(upstreams[0], ""))
	s.on("01-12 13:40:30", up(upstreams[0]))
	s.on("02-03 04:00:00", down(upstreams[1], "refused"))
	s.on("02-03 04:00:59", up(upstreams[1]))
	s.on("02-17 23:00:00", down(upstreams[0], "timeout")) // goes on while the process crashes
	s.on("02-18 06:00:07", up(upstreams[0]))
	s.on("03-31 23:30:00", down(upstreams[1], "")) // at the end of the quarter
	s.on("04-01 01:00:00", up(upstreams[1]))

	hole := func(id string, op ...jsonpatch.Op) func() {
		return func() { s.holes[id] = op; s.check("change") }
	}
	mend := func(id string) func() { return func() { delete(s.holes, id); s.check("change") } }
	secrets := jsonpatch.Op{Op: "add", Path: "/config/apps/http/servers/srv0/tls_connection_policies/1/insecure_secrets_log", Value: "/tmp/keys.log"}
	listen := jsonpatch.Op{Op: "replace", Path: "/server/endpoint", Value: map[string]any{"state": "deviates", "unexpected": []any{"tcp/localhost:2019"}}}
	large := jsonpatch.Op{Op: "add", Path: "/config/apps/http/servers/srv0/max_header_bytes", Value: json.Number("16777216")}
	open := jsonpatch.Op{Op: "add", Path: "/config/apps/http/servers/srv0/routes/0/handle/0/routes/2/handle/0/allow_unauthenticated", Value: true}
	s.on("01-05 10:00:00", hole("TLS-004", secrets))
	s.on("01-06 11:11:11", mend("TLS-004"))
	s.on("01-20 10:00:00", hole("RLM-003", large)) // fails while the first part is removed
	s.on("02-04 10:30:00", mend("RLM-003"))
	s.on("02-18 01:00:00", hole("ADM-001", listen)) // fails while the process crashes
	s.on("02-20 15:00:30", mend("ADM-001"))
	s.on("02-25 11:50:00", hole("TLS-004", secrets)) // the clock is set back meanwhile
	s.on("02-25 12:00:10", mend("TLS-004"))
	s.on("03-31 20:00:00", hole("EVD-001", open)) // at the end of the quarter
	s.on("04-01 10:00:00", mend("EVD-001"))

	s.on("02-18 03:00:00", s.crashed)
	s.on("02-25 12:00:00", func() {
		s.setBack(25*time.Minute, &audit.AdminCall{Time: s.now.Add(-25 * time.Minute), Actor: admin, Method: "GET", Path: "/config/", Outcome: "allowed", Status: 200})
	})
	s.on("02-26 05:00:00", func() { s.missed(audit.CauseStall, "stall", audit.Missed{Refused: 11, Late: 3}) })
	s.on("03-07 05:00:00", func() { s.missed(audit.CauseFailure, "failure", audit.Missed{Refused: 5, Served: 8, Other: 2}) })
	s.on("03-07 06:00:00", func() {
		s.add(&audit.LogGap{Time: s.now, Cause: "failure", Reason: "write: no space left on device", From: s.now.Add(-90 * time.Second), To: s.now.Add(-3 * time.Second), Lost: 17, Refused: 4})
	})
	s.on("03-15 02:00:00", func() { // an ordinary restart
		s.stop("terminated")
		s.close()
		s.pass(s.now.Add(95 * time.Second))
		s.open(true, 0)
		s.start("process.start")
	})
}

// planKeys plans what is done to keys, records and people.
func (s *script) planKeys(admin audit.Actor) {
	restart := func() {
		s.stop("")
		s.close()
		s.pass(s.now.Add(20 * time.Second))
		s.open(true, 0)
		s.start("process.start")
	}
	s.on("01-28 09:00:00", func() {
		_, err := audit.Rotate(durable.OS{}, s.keyFile)
		s.must(err)
		s.add(&audit.LogKey{Time: s.now, Use: "checkpoint", Action: "new", By: "alice"})
		s.anchor()
		restart()
	})
	s.on("01-30 09:00:00", func() {
		newest, _, _ := s.log.Checkpoint()
		_, err := audit.Promote(durable.OS{}, s.keyFile, newest)
		s.must(err)
		restart()
		s.anchor()
	})
	s.on("03-01 00:00:05", func() {
		s.protect()
		s.add(&audit.ConfigChange{Time: s.now, Outcome: "applied", Source: "reload", Actor: admin, File: "/etc/caddy/Caddyfile", Adapter: "caddyfile", Ticket: "CHG-GDPR"})
	})
	set := func(name, reason string) func() {
		return func() {
			s.must(s.holds.Set(hold.Hold{Name: name, Reason: reason, By: "legal@example.com", To: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}))
			s.add(&audit.LogHold{Time: s.now, Action: "set", Name: name, Reason: reason, By: "legal@example.com"})
		}
	}
	s.on("02-19 10:00:00", set("case-7", "=litigation"))
	s.on("03-20 10:00:00", func() {
		s.must(s.holds.Release("case-7", "settled", "legal@example.com"))
		s.add(&audit.LogHold{Time: s.now, Action: "release", Name: "case-7", Reason: "settled", By: "legal@example.com"})
	})
	s.on("03-23 10:00:00", set("case-8", "another one"))
	s.on("03-12 14:00:00", func() {
		e, err := s.sealer.Forget(forgotten)
		s.must(err)
		if e.Keys == 0 || e.Subject == "" {
			s.t.Fatalf("forgetting destroyed nothing: %+v", e)
		}
		s.add(&audit.LogErase{Time: s.now, What: e.What, Subject: e.Subject, KeysDestroyed: int64(e.Keys), By: "privacy@example.com", Reason: "Article 17"})
		s.forgets()
	})
}

// forgets checks that nobody opens what was sealed about who is forgotten.
func (s *script) forgets() {
	s.t.Helper()
	o := personal.NewOpener(durable.OS{}, filepath.Join(s.root, "personal"), s.identity)
	for _, b := range s.boxed {
		if _, err := o.Open(b.id, b.ref, b.box); !errors.Is(err, personal.ErrForgotten) {
			s.t.Errorf("a box of %s can be opened, or not for the reason that is to be: %v", forgotten, err)
		}
	}
	s.boxed = [2]boxed{}
}

// crashed is a process that was killed, and the one after it.
func (s *script) crashed() {
	last := s.now
	torn := s.crash()
	s.pass(s.now.Add(7 * time.Minute))
	s.open(false, torn)
	s.tracker = new(controls.Tracker)
	s.must(s.tracker.Load(s.saved))
	s.add(&audit.Process{Time: s.now, Kind: "process.crash", PID: 77, Boot: "b1", Last: last, Reason: "killed, or the power failed"})
	s.start("process.start")
}

// start is what a process records when it begins.
func (s *script) start(kind audit.Kind) {
	s.add(&audit.Process{Time: s.now, Kind: kind, PID: 78, Boot: "b2", Config: fmt.Sprintf("%064x", s.config), Program: audit.Program{Version: "v1", SHA256: "00"}})
	s.tracker = new(controls.Tracker)
	if s.saved != nil {
		s.must(s.tracker.Load(s.saved))
	}
	s.check("start")
	for _, u := range upstreams {
		if s.states[u] != "" {
			s.upstream(u, s.states[u], "start")
		}
	}
}

func (s *script) stop(signal string) {
	s.add(&audit.Process{Time: s.now, Kind: "process.stop", PID: 78, Boot: "b2", Signal: signal, Uptime: time.Hour})
}

// upstream records a state of an upstream.
func (s *script) upstream(address, state, cause string) {
	c := &audit.UpstreamChange{Time: s.now, Kind: audit.Kind("upstream." + state), Address: address, Server: "srv0", Check: "GET /healthz", Before: s.states[address], Cause: cause}
	if address == upstreams[1] {
		c.Handler = 2
	}
	if !s.since[address].IsZero() {
		c.Lasted = max(0, s.now.Sub(s.since[address]))
	}
	if s.states[address] != state {
		s.states[address], s.since[address] = state, s.now
	}
	s.add(c)
}

// repeat records the states again.
func (s *script) repeat() {
	for _, u := range upstreams {
		s.upstream(u, s.states[u], "interval")
	}
}

// check runs the checks on what the server is now, and records what the tracker
// finds to be told.
func (s *script) check(trigger string) {
	s.t.Helper()
	ids := slices.Sorted(keysOf(s.holes))
	name := fmt.Sprint(ids)
	r := s.runs[name]
	if r == nil {
		var patch []jsonpatch.Op
		for _, id := range ids {
			patch = append(patch, s.holes[id]...)
		}
		doc, err := jsonpatch.Apply(s.good, patch)
		s.must(err)
		b, err := jsonpatch.Canonical(doc)
		s.must(err)
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		snapshot := new(controls.Snapshot)
		s.must(d.Decode(snapshot))
		r = controls.Run(snapshot, new(controls.Settings))
		s.runs[name] = r
		s.expected(r)
	}
	r.Time, r.Trigger = s.now, trigger
	for _, c := range s.tracker.Apply(r) {
		s.add(c)
	}
	var err error
	s.saved, err = s.tracker.Save()
	s.must(err)
}

// expected compares results of checks with what the script means: what has a
// hole fails, and a good server passes all but three.
func (s *script) expected(r *controls.Report) {
	s.t.Helper()
	for _, f := range r.Checks {
		want := map[string]string{"CHG-007": "warn", "ALT-002": "not_applicable"}[f.ID]
		if want == "" {
			want = "pass"
		}
		if s.holes[f.ID] != nil {
			want = "fail"
		}
		if string(f.Result) != want {
			s.t.Fatalf("with holes %v the check %s says %s", slices.Sorted(keysOf(s.holes)), f.ID, f.Result)
		}
	}
}

// anchor keeps the checkpoint, as one that an outsider has seen is kept.
func (s *script) anchor() {
	s.t.Helper()
	b, _, _ := s.log.Checkpoint()
	size, _ := head(s.t, b)
	s.must(os.MkdirAll(filepath.Join(s.dir, "anchors"), 0o700))
	s.must(os.WriteFile(filepath.Join(s.dir, "anchors", fmt.Sprintf("%020d.checkpoint", size)), b, 0o600))
}

// head reads a checkpoint: origin, size and root are its first lines.
func head(t testing.TB, b []byte) (size int64, root string) {
	t.Helper()
	lines := bytes.SplitN(b, []byte("\n"), 4)
	size, err := strconv.ParseInt(string(lines[1]), 10, 64)
	if err != nil || string(lines[0]) != origin {
		t.Fatalf("checkpoint %q: %v", b, err)
	}
	return size, string(lines[2])
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
