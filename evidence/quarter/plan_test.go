package quarter_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal/hold"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

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
	s.planDecisions()
}

// planAttacks plans credential stuffing, a flood, and guesses of hosts.
func (s *script) planAttacks() {
	until := func(m mood) func() { return func() { s.mood = m } }
	for _, a := range []struct {
		from, to string
		mood     mood
	}{
		{"01-09 22:00:00", "01-10 04:00:00", stuffing},
		{"02-13 01:00:00", "02-13 09:00:00", stuffing},
		{"03-02 03:00:00", "03-02 05:30:00", flood},
		{"03-10 10:00:00", "03-11 20:00:00", hosts},
		{"03-31 22:00:00", "04-01 02:00:00", flood},
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
	down := func(u string) func() { return func() { s.upstream(u, "down", "active"); s.mood = outage } }
	up := func(u string) func() { return func() { s.upstream(u, "up", "active"); s.mood = calm } }
	s.on("01-12 13:00:00", down(upstreams[0]))
	s.on("01-12 13:40:30", up(upstreams[0]))
	s.on("02-03 04:00:00", down(upstreams[1]))
	s.on("02-03 04:00:59", up(upstreams[1]))
	s.on("02-17 23:00:00", down(upstreams[0])) // goes on while the process crashes
	s.on("02-18 06:00:07", up(upstreams[0]))
	s.on("03-31 23:30:00", down(upstreams[1])) // at the end of the quarter
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
	s.on("01-18 10:00:00", hole("RLM-003", large)) // begins in what retention removes
	s.on("02-04 10:30:00", mend("RLM-003"))
	s.on("02-18 01:00:00", hole("ADM-001", listen)) // fails while the process crashes
	s.on("02-20 15:00:30", mend("ADM-001"))
	s.on("02-25 11:50:00", hole("TLS-004", secrets)) // the clock is set back meanwhile
	s.on("02-25 12:00:10", hole("TLS-004", secrets))
	s.on("02-25 13:00:00", mend("TLS-004"))
	s.on("03-31 20:00:00", hole("EVD-001", open)) // at the end of the quarter
	s.on("04-01 10:00:00", mend("EVD-001"))

	s.on("02-18 03:00:00", s.crashed)
	s.on("02-25 12:00:00", func() {
		s.setBack(25*time.Minute, &audit.AdminCall{Time: s.now.Add(-25 * time.Minute), Actor: admin, Method: "GET", Path: "/config/", Outcome: "allowed", Status: 200})
		mend("TLS-004")() // by the clock, before it failed
		s.add(&audit.Review{Time: s.now, Kind: audit.KindReviewTriage, Actor: admin, Subject: "6f02", Verdict: "incident", Reason: "by the clock, the first"})
		s.upstream(upstreams[1], "down", "active")
		s.pass(s.now.Add(3 * time.Minute))
		s.upstream(upstreams[1], "up", "active")
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
