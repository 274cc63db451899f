package review_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// days are records of a request a day of October.
func days(t testing.TB, removed int64) *bench {
	t.Helper()
	b := newBench(t)
	b.first = removed
	for i := range 31 {
		b.add(&audit.Event{Start: from.AddDate(0, 0, i), User: "user-0", AuthMethod: "api_key", AccessPolicy: hashA, Access: audit.Decision{Outcome: "allow", Rule: "r0"}})
	}
	return b
}

func TestPeriodsThatCannotBeReviewedSayWhy(t *testing.T) {
	day := func(month, day int) time.Time { return time.Date(2026, time.Month(month), day, 0, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		removed  int64
		from, to time.Time
		partial  bool
		is       error
		want     string
	}{
		"backwards":        {0, day(10, 2), day(10, 1), false, review.ErrPeriod, "not before its end"},
		"no time":          {0, day(10, 1), day(10, 1), false, review.ErrPeriod, "not before its end"},
		"future":           {0, day(10, 1), now.Add(time.Second), false, review.ErrPeriod, "in the future: it can end at 2026-11-05T00:00:00Z at the latest"},
		"until now":        {0, day(10, 1), now, false, nil, "after 2026-10-31T00:00:00Z, which is the newest record of the tree"},
		"before the log":   {0, day(9, 1), day(10, 1), false, review.ErrNoData, "it begins at 2026-10-01T00:00:00Z"},
		"after the log":    {0, day(11, 1), day(11, 2), false, review.ErrNoData, "is of 2026-10-31T00:00:00Z"},
		"log begins later": {0, day(9, 1), day(10, 2), false, nil, "before 2026-10-01T00:00:00Z: the log begins then"},
		"removed":          {10, day(10, 1), day(10, 5), false, review.ErrNoData, "retention removed the rest"},
		"partly removed":   {10, day(10, 1), day(10, 20), false, review.ErrPeriod, "retention removed the records before 2026-10-11T00:00:00Z (10 is the oldest)"},
		"what is left":     {10, day(10, 1), day(10, 20), true, nil, "retention removed the records before 10."},
		"nothing happened": {0, day(10, 1).Add(time.Hour), day(10, 1).Add(2 * time.Hour), false, nil, ""},
	} {
		d, err := days(t, c.removed).make(grants(), func(o *review.Options) { o.Period, o.Partial = review.Period{From: c.from, To: c.to}, c.partial })
		switch {
		case c.is != nil && (!errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case c.is == nil && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.is == nil && !strings.Contains(strings.Join(d.Unknown, "\n"), c.want):
			t.Errorf("%s: %q, want %q", name, d.Unknown, c.want)
		}
	}
}

// TestPeriodIsHalfOpenInAnyZone has records on both ends.
func TestPeriodIsHalfOpenInAnyZone(t *testing.T) {
	zone := time.FixedZone("", -7*3600)
	d := days(t, 0).must(grants(), func(o *review.Options) {
		o.Period = review.Period{From: from.AddDate(0, 0, 3).In(zone), To: from.AddDate(0, 0, 7).In(zone)}
	})
	if *d.Log.First != 3 || *d.Log.Last != 6 || d.Log.Requests != 4 || d.Period.From.Location() != time.UTC {
		t.Errorf("%+v of %+v", d.Log, d.Period)
	}
}

func TestTreesThatAreNotSignedAreNotStoodOn(t *testing.T) {
	for size, want := range map[int64]string{32: "the checkpoint signs 31", -1: "cannot be stood on"} {
		if _, err := days(t, 0).make(grants(), func(o *review.Options) { o.Size = size }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", size, err)
		}
	}
	for _, size := range []int64{1, 2, 7, 30} {
		b := days(t, 0)
		d := b.must(grants(), func(o *review.Options) { o.Size = size })
		if d.Log.Root != b.root(int(size)).String() || d.Log.Requests != size {
			t.Errorf("%d: %+v", size, d.Log)
		}
	}
}

// TestGapsAndErasuresAreTold has a log that says what is not in it.
func TestGapsAndErasuresAreTold(t *testing.T) {
	b := days(t, 0)
	b.add(
		&audit.LogGap{Time: from, Served: 7, Refused: 3, Lost: 2, Rules: []audit.Count{{Name: "health", N: 40}}},
		&audit.LogErase{Time: from, What: "period", Period: "2026-09"},
		&audit.ConfigChange{Time: from, Outcome: "applied"}, &audit.ConfigChange{Time: from, Outcome: "rejected"},
	)
	told := strings.Join(b.must(grants(), nil).Unknown, "\n")
	for _, want := range []string{"7 requests were served without a record, 3 refused because of it, 2 records lost, and 40 left out", "the keys of the period 2026-09 were destroyed", "1 changes were applied"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not told:\n%s", want, told)
		}
	}
}
