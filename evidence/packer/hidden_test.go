package packer_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// TestWithoutRawRecordsWhatIsSaidOfRequestsHasToAddUp: nothing else can be said
// against it.
func TestWithoutRawRecordsWhatIsSaidOfRequestsHasToAddUp(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	b := s.make(false)
	agree(t, s, false)
	if r := verify(t, b, s); len(r.Unchecked) != 3 || !strings.Contains(strings.Join(r.Unchecked, ""), "no rollup record tells the kinds") {
		t.Errorf("unchecked: %q", r.Unchecked)
	}
	n := func(i int64) json.Number { return json.Number(fmt.Sprint(i)) }
	for name, c := range map[string]struct {
		says string
		do   func(f map[string]any)
	}{
		"a total":           {"requests.total", func(f map[string]any) { at(f, "requests")["total"] = n(1) }},
		"no requests":       {"less than", func(f map[string]any) { none(f) }},
		"a status":          {"requests.by.status", func(f map[string]any) { at(f, "requests", "by", "status")["403"] = n(0) }},
		"denials":           {"denied", func(f map[string]any) { at(f, "days", "2026-01-03")["denied"] = n(0) }},
		"bytes":             {"requests.bytes", func(f map[string]any) { at(f, "requests")["bytes"] = n(1); at(f, "days", "2026-01-03")["bytes"] = n(1) }},
		"another day":       {"days.2026-01-03", func(f map[string]any) { f["days"] = map[string]any{} }},
		"authenticated":     {"authenticated", func(f map[string]any) { at(f, "requests")["authenticated"] = n(0) }},
		"a kind":            {"kinds.request", func(f map[string]any) { delete(at(f, "kinds"), "request") }},
		"the first request": {"populations.requests", func(f map[string]any) { at(f, "populations", "requests")["first_seq"] = nil }},
		"more than there are": {"only", func(f map[string]any) {
			f["records"], at(f, "kinds")["request"], at(f, "requests")["total"] = n(1e6), n(1e6), n(1e6)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := doctor(t, s, b)
			d.edit(pack.ReportFile, func(v map[string]any) { c.do(at(v, "logs", 0)) })
			reject(t, d.insider(), c.says, s)
		})
	}
}

// none says that there was no request, and says it everywhere.
func none(f map[string]any) {
	left, _ := f["records"].(json.Number).Int64()
	q, _ := at(f, "kinds")["request"].(json.Number).Int64()
	f["records"] = json.Number(fmt.Sprint(left - q))
	delete(at(f, "kinds"), "request")
	f["days"] = map[string]any{}
	for _, name := range []string{"total", "bytes", "authenticated"} {
		at(f, "requests")[name] = json.Number("0")
	}
	for name := range at(f, "requests", "by") {
		at(f, "requests", "by")[name] = map[string]any{}
	}
	at(f, "populations")["requests"] = map[string]any{"count": json.Number("0"), "first_seq": nil, "last_seq": nil}
}

// TestWithoutRawRecordsADenialIsNotLeftOut: the rollup record of its segment
// counts it.
func TestWithoutRawRecordsADenialIsNotLeftOut(t *testing.T) {
	s := newSite(t, "edge-1/soc2").period(start, start.AddDate(0, 0, 10)).days()
	s.open()
	s.pass(7 * 24 * time.Hour)
	s.request(200, false, false)
	s.close()
	b := s.make(false)
	agree(t, s, false)
	d := doctor(t, s, b)
	var gone struct {
		Seq  int64
		Time string
	}
	d.lines(d.one("known/"), func(l []string) []string {
		i := slices.IndexFunc(l, func(line string) bool {
			return strings.Contains(line, `"status":403`) && strings.Contains(line, `"time":"2026-01-03T`)
		})
		if err := json.Unmarshal([]byte(l[i]), &gone); err != nil {
			t.Fatal(err)
		}
		return slices.Delete(l, i, i+1)
	})
	reject(t, d.insider(), "requests with the status 403", s)
}
