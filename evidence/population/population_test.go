package population_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// periods are some of a log of n hours.
func periods(b *bench) []population.Period {
	whole := b.now.Sub(began)
	at := func(part float64) time.Time { return began.Add(time.Duration(part * float64(whole))) }
	return []population.Period{
		{},
		{From: began.Add(-time.Hour)},
		{From: at(0.3), To: at(0.6)},
		{To: at(0.5)},
		{From: at(0.9)},
		{From: at(0.5), To: at(0.5).Add(1)},
		{From: at(0.4), To: at(0.4).Add(90 * time.Second)},
		{To: b.now.Add(time.Hour)},
	}
}

func TestEachPopulationIsWhatWasDone(t *testing.T) {
	b := newBench(t)
	b.grow(2500)
	b.close()
	log := b.head()
	for _, p := range population.All() {
		if p.Derived {
			continue
		}
		for _, period := range periods(b) {
			list, r := rows(t, log, population.Options{Population: p, Period: period, Now: func() time.Time { return b.now }})
			var got []int64
			for _, row := range list {
				if h, err := audit.ParseHeader(row.Record); err == nil && !strings.HasPrefix(string(h.Kind), "log.") { // the log's own
					got = append(got, row.Seq)
				}
			}
			want := b.truth(p.Name, period)
			if !slices.Equal(got, want) {
				t.Errorf("%s in %v: %d rows, want %d", p.Name, period, len(got), len(want))
			}
			if n := int64(len(list)); r.Count != n || n > 0 && (r.First != list[0].Seq || r.Last != list[n-1].Seq) {
				t.Errorf("%s: %+v for %d rows", p.Name, r, n)
			}
		}
	}
}

func TestPrincipalsAreCountedOverAsManyReadingsAsItTakes(t *testing.T) {
	b := newBench(t)
	b.grow(1200)
	b.close()
	type sum struct {
		first, last                        int64
		requests, denied, limited, actions int64
	}
	for _, held := range []int{1 << 16, 3} {
		defer population.Hold(held)()
		for _, period := range periods(b) {
			want := map[string]*sum{}
			for _, f := range b.facts {
				if !period.From.IsZero() && f.at.Before(period.From) || !period.To.IsZero() && !f.at.Before(period.To) {
					continue
				}
				key := ""
				switch {
				case f.user != "":
					key = "request " + inRecord(f.user)
				case f.actor != "" && f.kind != "request":
					key = "actor " + inRecord(f.actor)
				default:
					continue
				}
				s := want[key]
				if s == nil {
					s = &sum{first: f.seq}
					want[key] = s
				}
				s.last = f.seq
				if f.kind != "request" {
					s.actions++
					continue
				}
				s.requests++
				if f.denied {
					s.denied++
				}
				if f.limited {
					s.limited++
				}
			}
			opt := population.Options{Population: find(t, "principals"), Period: period, Now: func() time.Time { return b.now }}
			list, r := rows(t, b.head(), opt)
			if int(r.Count) != len(want) || len(list) != len(want) {
				t.Fatalf("held %d, %v: %d rows, want %d", held, period, len(list), len(want))
			}
			keys := make([]string, len(list))
			for i, row := range list {
				keys[i] = row.Key()
				s := want[row.Cells[0]+" "+row.Cells[1]]
				if s == nil {
					t.Fatalf("nobody is %q", row.Cells)
				}
				got := fmt.Sprint(row.Seq, row.Cells[3], row.Cells[5], row.Cells[7:])
				if w := fmt.Sprint(s.first, fmt.Sprint(s.first), fmt.Sprint(s.last), []int64{s.requests, s.denied, s.limited, s.actions}); got != w {
					t.Errorf("%q: %s, want %s", row.Cells[:2], got, w)
				}
			}
			if !sort.StringsAreSorted(keys) {
				t.Errorf("not in order: %q", keys)
			}
			counted, _, err := population.Count(t.Context(), b.head(), []*population.Population{opt.Population}, opt, false)
			if err != nil || counted[0].Count != r.Count {
				t.Errorf("counted %+v %v, want %d", counted, err, r.Count)
			}
		}
	}
}

func TestPagesAreTheWhole(t *testing.T) {
	b := newBench(t)
	b.grow(1500)
	b.close()
	log := b.head()
	for _, name := range []string{"requests", "principals", "reviews"} {
		opt := population.Options{Population: find(t, name)}
		all, _ := rows(t, log, opt)
		var paged []population.Row
		for {
			n := 0
			_, err := population.Rows(t.Context(), log, opt, func(row *population.Row) error {
				if n++; n > 7 {
					return population.ErrStop
				}
				c := *row
				c.Cells = slices.Clone(row.Cells)
				paged = append(paged, c)
				opt.After = row.Key()
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if n <= 7 {
				break
			}
		}
		if len(paged) != len(all) {
			t.Fatalf("%s: %d rows in pages, %d in all", name, len(paged), len(all))
		}
		for i := range all {
			if paged[i].Key() != all[i].Key() || !slices.Equal(paged[i].Cells, all[i].Cells) {
				t.Fatalf("%s: row %d differs", name, i)
			}
		}
	}
	for _, after := range []string{"x", "-1", "1.5"} {
		if _, err := population.Rows(t.Context(), log, population.Options{Population: find(t, "requests"), After: after}, nil); !errors.Is(err, population.ErrOption) {
			t.Errorf("after %q: %v", after, err)
		}
	}
}

// TestAPageReadsNothingOfThePagesBefore: or the pages of a long log would take
// longer and longer.
func TestAPageReadsNothingOfThePagesBefore(t *testing.T) {
	b := newBench(t)
	b.grow(1500)
	b.close()
	log := b.head()
	all, _ := rows(t, log, population.Options{Population: find(t, "requests")})
	for i, row := range []population.Row{all[len(all)-3], all[len(all)-1]} {
		looked := 0
		opt := population.Options{Population: find(t, "requests"), After: row.Key(), Progress: func(int64, int64) { looked++ }}
		r, err := population.Rows(t.Context(), log, opt, func(*population.Row) error { return nil })
		if err != nil || r.Count != int64(2-2*i) || looked != 0 || r.Coverage.Next != log.Head.Size {
			t.Errorf("%d rows, coverage to %d of %d, record 0 looked at %d times, %v", r.Count, r.Coverage.Next, log.Head.Size, looked, err)
		}
	}
}

// TestRollupsCountWhatRecordsCount counts in both ways, over periods whose ends
// lie inside of segments and outside.
func TestRollupsCountWhatRecordsCount(t *testing.T) {
	b := newBench(t)
	for range 6 { // days apart
		b.grow(600)
		b.pass(30 * time.Hour)
	}
	b.close()
	log := b.head()
	quick := map[string]bool{}
	for _, p := range population.All() {
		for _, period := range periods(b) {
			opt := population.Options{Period: period, Now: func() time.Time { return b.now }}
			fast, _, err := population.Count(t.Context(), log, []*population.Population{p}, opt, false)
			if err != nil {
				t.Fatal(err)
			}
			slow, c, err := population.Count(t.Context(), log, []*population.Population{p}, opt, true)
			if err != nil {
				t.Fatal(err)
			}
			opt.Population = p
			list, _ := rows(t, log, opt)
			if fast[0].Count != slow[0].Count || slow[0].Count != int64(len(list)) {
				t.Errorf("%s in %v: %d by %s, %d by records, %d rows", p.Name, period, fast[0].Count, fast[0].By, slow[0].Count, len(list))
			}
			if slow[0].By != population.ByRecords || c.Next != log.Head.Size {
				t.Errorf("%+v %+v", slow, c)
			}
			if fast[0].By == population.ByRollups {
				quick[p.Name] = true
			}
		}
	}
	for _, name := range []string{"requests", "limited", "config_changes", "protocol_errors"} {
		if !quick[name] {
			t.Errorf("%s was never counted from rollups", name)
		}
	}
	if err := os.WriteFile(b.dir+"/rollups", []byte("\x00\x05abcde"), 0o600); err != nil {
		t.Fatal(err)
	}
	counted, _, err := population.Count(t.Context(), log, population.All(), population.Options{}, false)
	if err != nil || counted[0].By != population.ByRecords || counted[0].Count != int64(len(b.truth("requests", population.Period{}))) {
		t.Errorf("with damaged rollups: %+v %v", counted[0], err)
	}
}

// TestColumnsAreMembersThatRecordsHave looks each column up in the schema.
func TestColumnsAreMembersThatRecordsHave(t *testing.T) {
	text, err := os.ReadFile("../../docs/record.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range population.All() {
		if p.Title == "" || p.Doc == "" || len(p.Criteria) == 0 || len(p.Kinds) == 0 || len(p.Columns) < 5 {
			t.Errorf("%s: something is missing", p.Name)
		}
		names := map[string]bool{}
		for _, c := range p.Columns {
			if names[c.Name] {
				t.Errorf("%s has %s twice", p.Name, c.Name)
			}
			names[c.Name] = true
			if p.Derived {
				continue
			}
			for name := range strings.SplitSeq(c.Member, ".") {
				if !bytes.Contains(text, []byte(`"`+name+`": {`)) {
					t.Errorf("%s: no record has %s", p.Name, c.Member)
				}
			}
		}
	}
	if !json.Valid(text) {
		t.Fatal("the schema is not JSON")
	}
}

func TestNamesAreListedForWhoMisspells(t *testing.T) {
	_, err := population.Find("request")
	if !errors.Is(err, population.ErrName) || !strings.Contains(err.Error(), "requests, denials, limited") {
		t.Error(err)
	}
}

func TestPeriodsAreSaidPrecisely(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ from, to, want string }{
		{"", "", ""},
		{"2026-01-01", "2026-02-01", ""},
		{"2026-01-01T00:00:00+02:00", "2026-02-01T00:00:00.123456789Z", ""},
		{"", "2027-01-01", ""}, // partial, but readable
		{"2026-02-01", "2026-02-01", "the end itself is not in it"},
		{"2026-02-01", "2026-01-01", "not after its beginning"},
		{"2026-03-02", "", "in the future: it is 2026-03-01T00:00:00Z"},
		{"yesterday", "", `from "yesterday" is neither`},
		{"", "2026-13-01", `to "2026-13-01" is neither`},
		{"2026-02-30", "", "neither"},
		{"1234-01-01", "", "neither"},
		{"2026-01-01 00:00:00", "", "neither"},
		{"2026-01-01T00:00:00", "", "neither"},
	} {
		p, err := population.ParsePeriod(c.from, c.to, now)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		case c.want != "" && (!errors.Is(err, population.ErrPeriod) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s to %s: %v, want %q", c.from, c.to, err, c.want)
		case err == nil && !p.From.IsZero() && p.From.Location() != time.UTC:
			t.Errorf("%s is not in UTC", c.from)
		}
	}
}

func TestCoverageSaysWhatIsMissing(t *testing.T) {
	b := newBench(t)
	b.grow(300)
	gap := b.add(&audit.LogGap{Time: b.now, Cause: "failure", From: b.now.Add(-time.Minute), To: b.now, Lost: 3}, fact{kind: "log.gap", at: b.now}, true)
	b.add(&audit.LogGap{Time: b.now, Cause: "failure", From: b.now.Add(-time.Minute), To: b.now, Refused: 3}, fact{kind: "log.gap", at: b.now}, true)
	b.add(&audit.LogClock{Time: b.now}, fact{kind: "log.clock", at: b.now}, true)
	middle := b.now
	b.grow(300)
	b.close()
	log := b.head()
	all := func() time.Time { return b.now.Add(time.Hour) }
	for _, c := range []struct {
		name     string
		from, to time.Time
		want     string
		rows     bool
	}{
		{"all", time.Time{}, time.Time{}, "partial[gap clock_set_back]", true},
		{"before the log", began.Add(-2 * time.Hour), began.Add(-time.Hour), "partial[log_begins_later no_rows]", false},
		{"the first half", began.Add(time.Second), middle.Add(-2 * time.Minute), "complete[]", true},
		{"the second half", middle.Add(time.Second), b.now, "complete[]", true},
		{"over the gap", middle.Add(-20 * time.Second), middle.Add(20 * time.Second), "partial[gap clock_set_back]", true},
		{"from before the log", began.Add(-time.Hour), middle.Add(-2 * time.Minute), "partial[log_begins_later]", true},
		{"up to after its end", middle.Add(time.Second), b.now.Add(time.Minute), "partial[log_ends_earlier]", true},
		{"up to the future", middle.Add(time.Second), b.now.Add(2 * time.Hour), "partial[period_not_over]", true},
		{"nothing in it", middle.Add(time.Hour * 8), time.Time{}, "complete[no_rows]", false},
	} {
		list, r := rows(t, log, population.Options{Population: find(t, "requests"), Period: population.Period{From: c.from, To: c.to}, Now: all})
		if got := codes(r.Coverage); got != c.want {
			t.Errorf("%s: %s, want %s: %+v", c.name, got, c.want, r.Coverage.Notes)
		}
		if c.rows && len(list) == 0 || !c.rows && (len(list) > 0 || r.First != -1) {
			t.Errorf("%s: %d rows", c.name, len(list))
		}
		for _, n := range r.Coverage.Notes {
			if n.Code == "gap" && (n.Seq == nil || *n.Seq != gap || !strings.Contains(n.Text, "3 records lost")) {
				t.Errorf("%s: %+v", c.name, n)
			}
		}
	}
}

func TestRemovedRecordsMakeAPeriodPartial(t *testing.T) {
	b := newBench(t)
	for range 5 {
		b.grow(800)
		b.pass(24 * time.Hour)
	}
	b.close()
	b.open() // which seals what is not
	b.log.SetRetention(audit.Retention{Keep: 72 * time.Hour})
	upto, _, err := b.log.Prune(t.Context())
	if err != nil || upto == 0 {
		t.Fatal(upto, err)
	}
	b.grow(10)
	b.close()
	log := b.head()
	opt := population.Options{Population: find(t, "requests"), Now: func() time.Time { return b.now }}
	list, r := rows(t, log, opt)
	if codes(r.Coverage) != "partial[removed]" || r.Coverage.First != upto || list[0].Seq < upto {
		t.Errorf("%s %+v", codes(r.Coverage), r.Coverage)
	}
	opt.Period.From = r.Coverage.Oldest.Add(25 * time.Hour)
	if _, r := rows(t, log, opt); codes(r.Coverage) != "complete[]" {
		t.Errorf("after what was removed: %+v", r.Coverage)
	}
	counted, c, err := population.Count(t.Context(), log, []*population.Population{opt.Population}, population.Options{Now: opt.Now}, false)
	if err != nil || counted[0].Count != int64(len(list)) || codes(c) != "partial[removed]" {
		t.Errorf("%+v %s %v, want %d", counted, codes(c), err, len(list))
	}
}

func TestDamageIsAnErrorOrUnknown(t *testing.T) {
	b := newBench(t)
	b.grow(3000)
	b.close()
	log := b.head()
	list, err := log.Dir.Segments()
	if err != nil || len(list) < 4 || !list[1].Sealed {
		t.Fatal(list, err)
	}
	name := b.dir + "/" + list[1].Path()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	opt := population.Options{Population: find(t, "requests")}
	if _, err := population.Rows(t.Context(), log, opt, func(*population.Row) error { return nil }); !errors.Is(err, population.ErrDamaged) {
		t.Fatalf("damage went unnoticed: %v", err)
	}
	opt.Tolerant = true
	got, r := rows(t, log, opt)
	if r.Coverage.State != population.Unknown || len(r.Coverage.Missing) != 1 || r.Coverage.Missing[0].Next != list[2].First || r.Coverage.Missing[0].First < list[1].First {
		t.Fatalf("%+v", r.Coverage)
	}
	var want []int64
	for _, seq := range b.truth("requests", population.Period{}) {
		if m := r.Coverage.Missing[0]; seq < m.First || seq >= m.Next {
			want = append(want, seq)
		}
	}
	if len(got) != len(want) || got[len(got)-1].Seq != want[len(want)-1] {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	if err := os.Remove(b.dir + "/" + list[len(list)-1].Path()); err != nil { // the end of the log
		t.Fatal(err)
	}
	if _, r := rows(t, log, opt); r.Coverage.State != population.Unknown || r.Coverage.Missing[len(r.Coverage.Missing)-1].Next != log.Head.Size {
		t.Errorf("%+v", r.Coverage)
	}
}
