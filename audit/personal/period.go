package personal

import (
	"fmt"
	"time"
)

// Unit is how long a key of pseudonyms is used. All are in UTC.
type Unit string

// The units.
const (
	Day     Unit = "day"     // 2026-11-21
	Week    Unit = "week"    // 2026-W47 (ISO 8601: from Monday)
	Month   Unit = "month"   // 2026-11
	Quarter Unit = "quarter" // 2026-Q4
)

// Period is a time span with a key of its own.
type Period struct {
	Name     string
	From, To time.Time // To is the first moment after it
}

// At returns the period that a time is in.
func (u Unit) At(t time.Time) (p Period, err error) {
	t = t.UTC()
	year, month, day := t.Date()
	date := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	}
	if year < 1000 || year > 9999 {
		return p, fmt.Errorf("year %d has no period", year)
	}
	switch u {
	case Day:
		p.From = date(year, month, day)
		p.To = p.From.AddDate(0, 0, 1)
		p.Name = p.From.Format(time.DateOnly)
	case Week:
		isoYear, week := t.ISOWeek()
		p.From = date(year, month, day-(int(t.Weekday())+6)%7)
		p.To = p.From.AddDate(0, 0, 7)
		p.Name = fmt.Sprintf("%04d-W%02d", isoYear, week)
	case Month:
		p.From = date(year, month, 1)
		p.To = p.From.AddDate(0, 1, 0)
		p.Name = p.From.Format("2006-01")
	case Quarter:
		first := (month-1)/3*3 + 1
		p.From = date(year, first, 1)
		p.To = p.From.AddDate(0, 3, 0)
		p.Name = fmt.Sprintf("%04d-Q%d", year, (first+2)/3)
	default:
		return p, fmt.Errorf("period %q: it must be day, week, month or quarter", string(u))
	}
	return p, nil
}

// ParsePeriod reads the name of a period, whatever its unit.
func ParsePeriod(name string) (Period, error) {
	for _, u := range [...]Unit{Day, Week, Month, Quarter} {
		if t, ok := u.within(name); ok {
			if p, err := u.At(t); err == nil && p.Name == name {
				return p, nil
			}
		}
	}
	return Period{}, fmt.Errorf("%q is no period: write it as 2026-11-21, 2026-W47, 2026-11 or 2026-Q4", name)
}

// within returns a time in the period of a name, if the name has the form that
// the unit's names have.
func (u Unit) within(name string) (time.Time, bool) {
	var year, n int
	switch u {
	case Day:
		t, err := time.Parse(time.DateOnly, name)
		return t, err == nil
	case Month:
		t, err := time.Parse("2006-01", name)
		return t, err == nil
	case Week:
		if c, err := fmt.Sscanf(name, "%4d-W%2d", &year, &n); err != nil || c != 2 {
			return time.Time{}, false
		}
		// January 4 is in week 1.
		return time.Date(year, 1, 4+7*(n-1), 0, 0, 0, 0, time.UTC), true
	default:
		if c, err := fmt.Sscanf(name, "%4d-Q%1d", &year, &n); err != nil || c != 2 {
			return time.Time{}, false
		}
		return time.Date(year, time.Month(3*n-2), 1, 0, 0, 0, 0, time.UTC), true
	}
}
