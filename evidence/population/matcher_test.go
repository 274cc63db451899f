package population

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
)

// TestTheMatcherFindsWhatSelectorsFind compares both on records of all kinds with
// all that conditions look at, there, absent, escaped and misplaced.
func TestTheMatcherFindsWhatSelectorsFind(t *testing.T) {
	var list []*Population
	var selectors []*Selector
	for _, p := range All() {
		if !p.Derived {
			list = append(list, p)
			selectors = append(selectors, p.Selector(Period{}))
		}
	}
	m := NewMatcher(list)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(choices ...string) string { return choices[random.IntN(len(choices))] }
	hits := 0
	for range 20_000 {
		kind := pick("request", "request.open", "config.change", "admin.call", "cert.obtained", "upstream.down", "upstream.up", "evidence.read", "process.start",
			"log.open", "log.gap", "check.transition", "protocol.error", "access.lockout", "log.erase", "review.triage", "unheard.of", "cert", "certs.x")
		body := pick("", `,"cause":"interval"`, `,"cause":"active"`) + pick("", `,"before":"down"`, `,"before":"up"`, `,"before":"dow\u006e"`, `,"before":null`) +
			pick("", `,"request":{"path":"\"refused\":","status":403}`, `,"refused":"x"`) +
			pick("", `,"access":{"outcome":"deny"}`, `,"access":{"outcome":"allow","rule":"deny"}`, `,"access":"deny"`, `,"access":{}`) +
			pick("", `,"limit":{"outcome":"limited"}`, `,"limit":{"outcome":"shadow_limited"}`) +
			pick("", `,"headers":{"refused":"csp"}`, `,"headers":{"refused":""}`, `,"headers":{"mended":["refused"]}`) +
			pick("", `,"response":{"status":200}`, `,"response":{"status":403}`, `,"response":{"status":"401"}`, `,"response":{"status":4010}`)
		record := fmt.Appendf(nil, `{"v":1,"seq":1,"pos":0,"time":"2026-01-01T00:00:00.000000000Z","kind":%q%s,"crc":"00000000"}`, kind, body)
		var r member.Record
		if err := r.Read(record); err != nil {
			t.Fatalf("%v: %s", err, record)
		}
		got, err := m.Of(&r)
		if err != nil {
			t.Fatal(err)
		}
		got = slices.Sorted(slices.Values(got))
		var want []int
		for i, s := range selectors {
			ok, err := s.Has(record)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				want = append(want, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("found %v, want %v in %s", got, want, record)
		}
		hits += len(want)
	}
	if hits < 10_000 {
		t.Errorf("only %d hits", hits)
	}
}
