package schedule

import (
	"strings"
	"testing"
	"time"
)

func when(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestCronComesWhenCrontabSays(t *testing.T) {
	for expression, c := range map[string][3]string{
		"0 6 1 * *":         {"2026-01-15 12:00", "2026-01-01 06:00", "2026-02-01 06:00"},
		"*/15 * * * *":      {"2026-01-15 12:07", "2026-01-15 12:00", "2026-01-15 12:15"},
		"30 8 * * mon-FRI":  {"2026-01-17 00:00", "2026-01-16 08:30", "2026-01-19 08:30"},
		"0 0 * * 7":         {"2026-01-14 00:00", "2026-01-11 00:00", "2026-01-18 00:00"},
		"0 0 * * 0":         {"2026-01-14 00:00", "2026-01-11 00:00", "2026-01-18 00:00"},
		"0 0 13 * 5":        {"2026-02-10 00:00", "2026-02-06 00:00", "2026-02-13 00:00"}, // the 13th, and each Friday
		"0 0 13 * *":        {"2026-02-10 00:00", "2026-01-13 00:00", "2026-02-13 00:00"},
		"0 0 29 2 *":        {"2097-01-01 00:00", "2096-02-29 00:00", "2104-02-29 00:00"}, // 2100 has none
		"0 12 31 * *":       {"2026-02-15 00:00", "2026-01-31 12:00", "2026-03-31 12:00"},
		"0 0 1 jan,jul *":   {"2026-03-01 00:00", "2026-01-01 00:00", "2026-07-01 00:00"},
		"5,50 1-3/2 * * *":  {"2026-01-01 02:00", "2026-01-01 01:50", "2026-01-01 03:05"},
		"59 23 31 12 *":     {"2026-12-31 23:59", "2026-12-31 23:59", "2027-12-31 23:59"},
		"10-30/10 0 * * *":  {"2026-01-01 00:25", "2026-01-01 00:20", "2026-01-01 00:30"},
		"7/20 0 * * *":      {"2026-01-01 00:30", "2026-01-01 00:27", "2026-01-01 00:47"},
		"0 0 */10 * *":      {"2026-01-15 00:00", "2026-01-11 00:00", "2026-01-21 00:00"},
		"0 0 1-7 * */2":     {"2026-03-10 00:00", "2026-03-07 00:00", "2026-04-02 00:00"}, // begins with *: both
		"0   0\t1 * *":      {"2026-01-15 12:00", "2026-01-01 00:00", "2026-02-01 00:00"},
		"0 0 * Dec Sat,Sun": {"2026-12-07 00:00", "2026-12-06 00:00", "2026-12-12 00:00"},
		"00 05 01 01,04 * ": {"2026-01-01 04:59", "2025-04-01 05:00", "2026-01-01 05:00"},
		"0 0 1 1-12/3 *":    {"2026-05-05 00:00", "2026-04-01 00:00", "2026-07-01 00:00"},
	} {
		e, err := ParseCron(expression)
		if err != nil {
			t.Errorf("%q: %v", expression, err)
			continue
		}
		at := when(t, c[0])
		if got := e.Last(at); !got.Equal(when(t, c[1])) {
			t.Errorf("%q: last before %s is %s, want %s", expression, c[0], got, c[1])
		}
		if got := e.Next(at); !got.Equal(when(t, c[2])) {
			t.Errorf("%q: next after %s is %s, want %s", expression, c[0], got, c[2])
		}
	}
}

func TestCronThatIsNoneIsRefused(t *testing.T) {
	for _, expression := range []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 8",
		"-1 * * * *", "+1 * * * *", "1- * * * *", "-5 * * * *", "5-1 * * * *", "*/0 * * * *", "*/ * * * *", "1,,2 * * * *", ", * * * *", "a * * * *", "* * * foo *",
		"0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "1.5 * * * *", "@daily", "1e1 * * * *", "001 * * * *", "*5 * * * *", "**  * * * *", strings.Repeat("1,", 200) + "1 * * * *",
	} {
		if _, err := ParseCron(expression); err == nil {
			t.Errorf("%q is taken", expression)
		}
	}
}

func TestNamedPeriodsLieEndToEnd(t *testing.T) {
	for name, c := range map[string][3]string{
		Weekly:    {"2026-01-07 13:00", "2026-01-05 00:00", "2026-01-12 00:00"},
		Monthly:   {"2026-01-31 23:59", "2026-01-01 00:00", "2026-02-01 00:00"},
		Quarterly: {"2026-12-31 23:59", "2026-10-01 00:00", "2027-01-01 00:00"},
	} {
		p := &Plan{Every: name, To: "/x"}
		if err := Check([]*Plan{p}); err != nil {
			t.Fatal(err)
		}
		at := when(t, c[0])
		if got := p.calendar.Last(at); !got.Equal(when(t, c[1])) {
			t.Errorf("%s: last %s", name, got)
		}
		if got := p.calendar.Next(at); !got.Equal(when(t, c[2])) {
			t.Errorf("%s: next %s", name, got)
		}
		for range 300 { // a boundary is the last at itself, and the next comes after it
			next := p.calendar.Next(at)
			if !next.After(at) || !p.calendar.Last(next).Equal(next) || !p.calendar.Last(next.Add(-1)).Equal(p.calendar.Last(at)) {
				t.Fatalf("%s at %s: next %s", name, at, next)
			}
			at = next
		}
	}
}

func FuzzParseCron(f *testing.F) {
	for _, s := range []string{"0 6 1 * *", "*/15 1-5,7 1-31/2 jan-dec mon", "0 0 29 2 *", "@daily", "* * * * 7/2", "0 0 30 2 *"} {
		f.Add(s, int64(1_767_225_600))
	}
	f.Fuzz(func(t *testing.T, expression string, seconds int64) {
		c, err := ParseCron(expression)
		if err != nil {
			return
		}
		at := time.Unix(seconds%4_000_000_000, 0).UTC()
		next, last := c.Next(at), c.Last(at)
		if next.IsZero() || last.IsZero() {
			t.Fatalf("%q never comes after %s", expression, at)
		}
		if !next.After(at) || last.After(at) || !c.Last(next).Equal(next) || !c.Next(last.Add(-time.Minute)).Equal(last) || !c.Last(next.Add(-1)).Equal(last) {
			t.Errorf("%q at %s: last %s, next %s", expression, at, last, next)
		}
	})
}
