package population_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// TestASummaryIsWhatAllRecordsGive sums periods up from rollups, and again when
// there are none.
func TestASummaryIsWhatAllRecordsGive(t *testing.T) {
	b := newBench(t)
	for range 6 { // days apart
		b.grow(600)
		b.pass(30 * time.Hour)
	}
	b.close()
	log := b.head()
	sums := func() (list []*population.Summary) {
		for _, period := range periods(b) {
			s, err := population.Summarize(t.Context(), log, population.Options{Period: period, Now: func() time.Time { return b.now }})
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, s)
		}
		return list
	}
	fast := sums()
	if err := os.WriteFile(b.dir+"/rollups", []byte("\x00\x05abcde"), 0o600); err != nil {
		t.Fatal(err)
	}
	rolled, told := int64(0), 0
	for i, slow := range sums() {
		f, period := fast[i], periods(b)[i]
		rolled += f.Rollups
		if slow.Rollups != 0 || f.Rollups+f.Read != slow.Read || f.Total.Records != slow.Read {
			t.Errorf("%v: %d from rollups and %d read, of %d", period, f.Rollups, f.Read, slow.Read)
		}
		if f.Total.Requests != slow.Total.Requests || f.Total.ResponseBytes != slow.Total.ResponseBytes || f.Total.Authenticated != slow.Total.Authenticated ||
			!reflect.DeepEqual(f.Total.Kinds(), slow.Total.Kinds()) {
			t.Errorf("%v: %+v, want %+v", period, f.Total, slow.Total)
		}
		for _, table := range []string{"status", "method", "proto", "tls", "access", "limit", "cache", "end", "upstream"} {
			got, gotOther := f.Total.By(table)
			want, wantOther := slow.Total.By(table)
			if gotOther != wantOther || !slices.Equal(sorted(got), sorted(want)) {
				t.Errorf("%v: table %s is %v, want %v", period, table, got, want)
			}
		}
		for _, c := range f.Populations {
			if want := int64(len(b.truth(c.Population, period))); c.Count != want && (c.Population == "requests" || c.Population == "limited" || c.Population == "config_changes") {
				t.Errorf("%v: %d of %s, want %d", period, c.Count, c.Population, want)
			}
			for _, x := range slow.Populations {
				if x.Population == c.Population && x.Count != c.Count {
					t.Errorf("%v: %d of %s, want %d", period, c.Count, c.Population, x.Count)
				}
			}
			told++
		}
		if f.Told("principals") || !f.Told("requests") || f.Rollups > 0 && f.Told("denials") {
			t.Errorf("%v: not told: %v", period, f.Untold)
		}
	}
	if rolled == 0 || told < 50 {
		t.Errorf("%d records from rollups, %d populations told", rolled, told)
	}
}

func sorted(list []rollup.Count) []rollup.Count {
	return slices.SortedFunc(slices.Values(list), func(a, b rollup.Count) int { return strings.Compare(a.Name, b.Name) })
}
