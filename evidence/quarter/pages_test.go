package quarter_test

import (
	"fmt"
	"html"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// page compares the page for people: each row that the truth has is there.
func (o *opened) page() {
	o.t.Helper()
	page := html.UnescapeString(string(o.read("report.html")))
	w := o.w
	var want []string
	row := func(format string, args ...any) { want = append(want, fmt.Sprintf(format, args...)) }
	row(`<td>%s</td><td class="n">%d</td><td><code>%s</code></td><td>%d to before %d</td><td class="n">%d</td>`, origin, w.size, w.root, w.first, w.next, w.records)
	for _, g := range w.gaps {
		row(`<td>%s</td><td>%s</td><td>%s</td>`, g.from, g.to, g.why)
	}
	if w.lost["gaps"] > 0 {
		row("%d records of gaps: %d records lost, %d requests refused, %d served without a record, %d refused after their record was taken", w.lost["gaps"], w.lost["lost"], w.lost["refused"], w.lost["served"], w.lost["late"])
	}
	for _, name := range populations {
		first, last := "", ""
		if rows := w.rows[name]; len(rows) > 0 {
			first, last = strconv.FormatInt(rows[0], 10), strconv.FormatInt(rows[len(rows)-1], 10)
		}
		row(`<td>%s</td><td class="n">%d</td><td class="n">%s</td><td class="n">%s</td>`, strings.ReplaceAll(name, "_", " "), len(w.rows[name]), first, last)
	}
	row("%d requests, %d bytes, %d with a principal.", w.total, w.bytes, w.named)
	for _, table := range slices.Sorted(maps.Keys(w.by)) {
		row("<td>%s</td><td>%s</td>", table, most(w.by[table]))
	}
	for date, d := range w.days {
		row(`<td>%s</td><td class="n">%d</td><td class="n">%d</td><td class="n">%d</td><td class="n">%d</td><td class="n">%d</td>`, date, d.requests, d.bytes, d.denied, d.limited, d.plain)
	}
	titles := map[string]string{}
	for _, d := range o.definitions {
		titles[d.ID] = d.Title
	}
	for id, l := range w.checks {
		row(`<td>%s %s</td><td>%s</td><td>%s</td><td>%s</td><td class="n">%s</td><td class="n">%s</td><td class="n">%d</td>`,
			id, titles[id], l.meta.Severity, strings.ReplaceAll(l.last, "_", " "), l.since, minutes(l.ns["fail"]), minutes(l.ns["unknown"]), l.moves)
		if l.ns["fail"] > 0 {
			row(`<tr class="fail"><td>%s</td><td>%s %s</td><td>%s</td><td class="n">%s</td><td>%s</td><td>%s</td><td>%s</td>`, origin, id, titles[id], l.meta.Severity, minutes(l.ns["fail"]), l.begun, l.ended, l.last)
		}
	}
	o.decisionRows(row)
	for id, l := range w.upstreams {
		row(`<td>%s</td><td>%s</td>`, id, l.last)
		for state, ns := range l.ns {
			row("%s: %d", state, ns)
		}
	}
	for _, text := range want {
		if !strings.Contains(page, text) {
			o.t.Errorf("report.html has no %s", text)
		}
	}
	if got, want := strings.Count(page, `<tr class="fail"><td>`+origin), o.failing(); got != want {
		o.t.Errorf("report.html lists %d checks that failed, and in truth there are %d", got, want)
	}
}

func (o *opened) failing() (n int) {
	for _, l := range o.w.checks {
		if l.ns["fail"] > 0 {
			n++
		}
	}
	return n
}

// most are the ten largest numbers of a table, and the rest.
func most(table map[string]int) string {
	names := slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		if table[a] != table[b] {
			return table[b] - table[a]
		}
		return strings.Compare(a, b)
	})
	var list []string
	rest := 0
	for i, name := range names {
		if i >= 10 {
			rest += table[name]
			continue
		}
		list = append(list, fmt.Sprintf("%s: %d", name, table[name]))
	}
	if rest > 0 {
		list = append(list, fmt.Sprintf("all others: %d", rest))
	}
	return strings.Join(list, ", ")
}

// oscal compares the assessment results: an observation for each check, a
// finding for each criterion with exceptions, and nothing that is satisfied.
func (o *opened) oscal() {
	o.t.Helper()
	var doc struct {
		Results struct {
			Results []struct {
				Observations []struct {
					Props []struct{ Name, Value string }
				}
				Findings []struct {
					Target struct {
						ID     string `json:"target-id"`
						Status struct{ State string }
					}
				}
			}
		} `json:"assessment-results"`
	}
	o.json("oscal/assessment-results.json", &doc)
	if len(doc.Results.Results) != 1 {
		o.t.Fatalf("%d results", len(doc.Results.Results))
	}
	seen := map[string]bool{}
	for _, ob := range doc.Results.Results[0].Observations {
		p := map[string]string{}
		for _, prop := range ob.Props {
			p[prop.Name] = prop.Value
		}
		l := o.w.checks[p["check-id"]]
		if l == nil || seen[p["check-id"]] || p["result"] != l.last || p["failing-minutes"] != minutes(l.ns["fail"]) || p["severity"] != l.meta.Severity || p["definition-sha256"] != l.meta.Definition {
			o.t.Errorf("an observation says %v", p)
		}
		seen[p["check-id"]] = true
	}
	want := []string{}
	for _, c := range o.w.judge(o.criteria, o.definitions) {
		if m := c.(map[string]any); m["state"] == "exceptions" {
			want = append(want, m["id"].(string))
		}
	}
	got := []string{}
	for _, f := range doc.Results.Results[0].Findings {
		got = append(got, f.Target.ID)
		if f.Target.Status.State != "not-satisfied" {
			o.t.Errorf("%s is %s", f.Target.ID, f.Target.Status.State)
		}
	}
	if len(seen) != len(o.w.checks) || !slices.Equal(got, want) {
		o.t.Errorf("%d observations of %d checks; findings for %v, and in truth for %v", len(seen), len(o.w.checks), got, want)
	}
}

// decisionRows are the rows of findings, accepted risks and samples.
func (o *opened) decisionRows(row func(format string, args ...any)) {
	says := func(by, claim string) string {
		if claim != "" {
			by += " says: " + claim
		}
		return by
	}
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	findings, risks := o.w.listed()
	for _, f := range findings {
		t := f.triage
		if t == nil {
			t = new(triage)
		}
		row(`<tr class="%s"><td class="n">%d</td><td>%s%s %s</td><td>%s</td><td>%s</td><td>%s</td><td>%s %s</td><td>%s</td><td>%s %s</td></tr>`,
			f.result, f.seq, f.check, f.subject, f.severity, f.result, f.opened, or(f.closed, "open"), or(t.verdict, "not triaged"), t.at, says(t.by, t.claim), t.ticket, t.why)
	}
	for _, r := range risks {
		row(`<td class="n">%d</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s %s</td><td>%s</td></tr>`,
			r.seq, r.source, r.check, r.at, r.verdict, r.owner, says(r.by, r.claim), r.ticket, r.why, or(r.ended, r.expires))
	}
	for _, s := range o.w.samples {
		row(`<td>%s</td><td><code>%s</code></td><td class="n">%d</td><td class="n">%d</td><td class="n">%d</td>`, strings.ReplaceAll(s.Population, "_", " "), s.Seed, s.N, len(s.Seqs), s.Of)
	}
}
