package quarter_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sheets compares the tables that repeat the report.
func (o *opened) sheets() {
	o.t.Helper()
	w := o.w
	var rows [][]any
	add := func(cells ...any) { rows = append(rows, cells) }
	findings, risks := w.listed()
	for _, f := range findings {
		t, seq := f.triage, any("")
		if t == nil {
			t = new(triage)
		} else {
			seq = t.seq
		}
		add(f.seq, f.check, f.subject, f.severity, f.result, f.opened, f.closed, t.verdict, t.at, seq, t.by, t.known, t.claim, t.owner, t.ticket, t.why)
	}
	o.sheet("incidents/findings.csv", "finding check subject severity result opened closed verdict triaged triage_seq by by_known claim owner ticket reason", rows)
	rows = nil
	for _, r := range risks {
		add(r.seq, r.source, r.check, r.at, r.verdict, r.owner, r.approver, r.by, r.known, r.claim, r.ticket, r.why, r.expires, r.ended)
	}
	o.sheet("exceptions/accepted-risks.csv", "seq source check time verdict owner approver by by_known claim ticket reason expires ended", rows)
	rows = nil
	for _, date := range slices.Sorted(maps.Keys(w.days)) {
		d := w.days[date]
		c, other := d.class, 0
		for class, n := range c {
			if class < "1xx" || class > "5xx" {
				other += n
			}
		}
		add(date, d.requests, d.bytes, c["1xx"], c["2xx"], c["3xx"], c["4xx"], c["5xx"], other, d.denied, d.limited, d.plain)
	}
	o.sheet("traffic/daily.csv", "date requests bytes 1xx 2xx 3xx 4xx 5xx other denied limited without_tls", rows)
	rows = nil
	for _, table := range slices.Sorted(maps.Keys(w.by)) {
		for _, name := range slices.Sorted(maps.Keys(w.by[table])) {
			add(table, name, w.by[table][name])
		}
	}
	o.sheet("traffic/tables.csv", "table name requests", rows)
	rows = nil
	for _, id := range slices.Sorted(maps.Keys(w.upstreams)) {
		l := w.upstreams[id]
		for _, state := range slices.Sorted(maps.Keys(l.ns)) {
			add(id, state, l.ns[state], l.last, l.since, l.moves)
		}
	}
	o.sheet("availability/upstreams.csv", "upstream state nanoseconds at_end since transitions", rows)
}

// sheet compares a table cell by cell.
func (o *opened) sheet(name, columns string, rows [][]any) {
	o.t.Helper()
	got, err := csv.NewReader(bytes.NewReader(o.read(name))).ReadAll()
	if err != nil {
		o.t.Fatalf("%s: %v", name, err)
	}
	want := [][]string{append([]string{"log"}, strings.Fields(columns)...)}
	for _, row := range rows {
		line := []string{guard(origin)}
		for _, cell := range row {
			line = append(line, guard(fmt.Sprint(cell)))
		}
		want = append(want, line)
	}
	if list := differences(name, plain(got), plain(want), nil); len(list) > 0 {
		o.t.Error(strings.Join(list[:min(len(list), 40)], "\n"))
	}
}
