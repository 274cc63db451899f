package pack

import (
	"fmt"
	"testing"
	"time"
)

// TestALongRequestClosesAGapWhenItWasAppended: it began before the records that
// are missing, which were appended before it.
func TestALongRequestClosesAGapWhenItWasAppended(t *testing.T) {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	record := func(seq int, at time.Time, took time.Duration) []byte {
		return fmt.Appendf(nil, `{"v":1,"seq":%d,"pos":0,"time":%q,"kind":"request","duration_ns":%d,"crc":"00000000"}`, seq, at.Format(TimeForm), took)
	}
	l := &Log{Heads: Heads{Size: 1000}, First: 100, Next: 1000}
	a := NewAccount(l, Period{From: day, To: day.AddDate(0, 0, 4)}, nil)
	if err := a.Add(100, record(100, day.Add(-time.Hour), 25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := a.Missing(101, "damage"); err != nil {
		t.Fatal(err)
	}
	if err := a.Add(200, record(200, day, 48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	f, err := a.End()
	if err != nil {
		t.Fatal(err)
	}
	at := func(days int) string { return day.AddDate(0, 0, days).Format(TimeForm) }
	want := []Gap{
		{at(0), at(1), "records before 100 are not there"},
		{at(1), at(2), "records from 101 on cannot be read: damage"},
		{at(2), at(4), "the log had 1000 records when the pack was made"},
	}
	if fmt.Sprint(f.Gaps) != fmt.Sprint(want) {
		t.Errorf("gaps %v, want %v", f.Gaps, want)
	}
}

func TestATimeThatIsNotInTheCalendarIsNone(t *testing.T) {
	for s, want := range map[string]bool{
		"2024-02-29T23:59:59.999999999Z": true, "2026-02-29T00:00:00.000000000Z": false, "2026-02-31T00:00:00.000000000Z": false,
		"2026-04-31T00:00:00.000000000Z": false, "2026-12-31T00:00:00.000000000Z": true, "2026-13-01T00:00:00.000000000Z": false,
		"2026-01-00T00:00:00.000000000Z": false, "2026-01-01T24:00:00.000000000Z": false, "2026-01-01T00:00:60.000000000Z": false,
	} {
		if isTime(s) != want {
			t.Errorf("%s: %t", s, !want)
		}
	}
}
