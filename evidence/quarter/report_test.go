package quarter_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// figures is the part of the report that is of the log, as JSON.
func (w *truth) figures() map[string]any {
	rollups := map[string]any{"segments": 0, "records": 0, "requests": 0}
	segments, records, requests := 0, int64(0), 0
	for _, p := range w.s.pieces {
		if p.until == 0 || p.first < w.first || p.until > w.next || !w.rolledUp(p) {
			continue
		}
		segments++
		records += p.until - p.first
		for seq := p.first; seq < p.until; seq++ {
			if w.s.kinds[w.s.facts[seq].kind] == "request" {
				requests++
			}
		}
	}
	rollups["segments"], rollups["records"], rollups["requests"] = segments, records, requests
	counts := map[string]any{}
	for _, name := range populations {
		c := map[string]any{"count": len(w.rows[name]), "first_seq": nil, "last_seq": nil}
		if rows := w.rows[name]; len(rows) > 0 {
			c["first_seq"], c["last_seq"] = rows[0], rows[len(rows)-1]
		}
		counts[name] = c
	}
	days := map[string]any{}
	for date, d := range w.days {
		days[date] = map[string]any{"requests": d.requests, "bytes": d.bytes, "class": d.class, "denied": d.denied, "limited": d.limited, "plain": d.plain}
	}
	checks, upstreams := map[string]any{}, map[string]any{}
	for id, l := range w.checks {
		checks[id] = l.check()
	}
	for id, l := range w.upstreams {
		upstreams[id] = l.json()
	}
	lost := map[string]any{"gaps": 0, "lost": 0, "refused": 0, "served": 0, "late": 0}
	for name, n := range w.lost {
		lost[name] = n
	}
	return w.decisions(map[string]any{
		"origin": origin, "tree_size": w.size, "root": w.root, "first": w.first, "next": w.next, "records": w.records, "kinds": w.kinds,
		"gaps": w.gapList(), "requests": map[string]any{"total": w.total, "bytes": w.bytes, "authenticated": w.named, "by": w.by},
		"days": days, "populations": counts, "checks": checks, "upstreams": upstreams, "rollups": rollups, "lost": lost, "keys": w.keys, "samples": w.samples,
	})
}

// rolledUp reports whether the rollup record of a piece is among the records,
// which comes after the piece.
func (w *truth) rolledUp(p piece) bool {
	rollup := w.s.kindOf["rollup"]
	for seq := p.until; seq < w.next; seq++ {
		if w.s.facts[seq].kind == rollup {
			return true
		}
	}
	return false
}

func (w *truth) gapList() []any {
	list := []any{}
	for _, g := range w.gaps {
		list = append(list, map[string]any{"from": g.from, "to": g.to, "why": g.why})
	}
	return list
}

// report is all of report.json. The criteria and definitions are those of the
// pack.
func (w *truth) report(full bool, criteria []criterion, definitions []definition) map[string]any {
	period := map[string]any{"from": w.from.Format(time.RFC3339), "to": w.to.Format(time.RFC3339)}
	return map[string]any{
		"schema": "caddy-soc2/evidence-pack/1",
		"notice": "This is evidence for the examination of controls. Whether controls meet the criteria is an independent auditor's opinion.",
		"period": period, "full": full, "pack_id": w.id(full), "logs": []any{w.figures()}, "criteria": w.judge(criteria, definitions),
	}
}

// id is the name of the pack.
func (w *truth) id(full bool) string {
	text := fmt.Sprintf("caddy-soc2/evidence-pack/1\n%s\n%s\n%t\n%s\n%d\n%s\n", w.from.Format(stamp), w.to.Format(stamp), full, origin, w.size, w.root)
	for _, s := range w.samples {
		text += fmt.Sprintf("sample\n%s\n%d\n%s\n", s.Population, s.N, s.Seed)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

type criterion struct{ ID, Strength string }

type definition struct {
	ID       string
	Title    string
	Criteria []string
}

// judge is what is there for each criterion.
func (w *truth) judge(criteria []criterion, definitions []definition) []any {
	list := []any{}
	for _, c := range criteria {
		checks, exceptions, nothing := []string{}, []string{}, []string{}
		for _, d := range definitions {
			if !slices.Contains(d.Criteria, c.ID) {
				continue
			}
			checks = append(checks, d.ID)
			l := w.checks[d.ID]
			switch {
			case l != nil && l.ns["fail"]+l.ns["warn"] > 0:
				exceptions = append(exceptions, d.ID)
			case l == nil || l.ns["pass"]+l.ns["not_applicable"] == 0:
				nothing = append(nothing, d.ID)
			}
		}
		slices.Sort(checks)
		slices.Sort(exceptions)
		slices.Sort(nothing)
		state := "evidence collected"
		if len(exceptions) > 0 {
			state = "exceptions"
		} else if len(checks) > 0 && len(checks) == len(nothing) {
			state = "no data"
		}
		if c.Strength == "not_assessed" {
			state = "not assessed"
		}
		list = append(list, map[string]any{"id": c.ID, "state": state, "checks": checks, "exceptions": exceptions, "no_data": nothing})
	}
	return list
}

// plain turns a value into what a JSON document of it is read as.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	return out
}
