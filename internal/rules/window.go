package rules

import (
	"fmt"
	"strings"
	"time"
)

// window is a part of the week in a time zone.
type window struct {
	days       [7]bool // on which it begins, by time.Weekday
	begin, end int     // minutes of the day; end is beyond 1440 if on the next day
	zone       *time.Location
}

const dayMinutes = 24 * 60

func parseWindow(w Window) (window, error) {
	c := window{end: dayMinutes, zone: time.UTC}
	var err error
	if w.Zone != "" {
		if c.zone, err = time.LoadLocation(w.Zone); err != nil || w.Zone == "Local" {
			return c, fmt.Errorf("time zone %q: it is not the name of a time zone like Europe/Berlin", w.Zone)
		}
	}
	if w.Begin != "" || w.End != "" {
		if c.begin, err = parseClock(w.Begin); err != nil {
			return c, err
		}
		if c.end, err = parseClock(w.End); err != nil {
			return c, err
		}
		if c.begin == c.end {
			return c, fmt.Errorf("time %s-%s: it can never match, because it ends when it begins", w.Begin, w.End)
		}
		if c.end < c.begin {
			c.end += dayMinutes
		}
	}
	if len(w.Days) == 0 {
		c.days = [7]bool{true, true, true, true, true, true, true}
	}
	for _, s := range w.Days {
		if err := c.addDays(s); err != nil {
			return c, err
		}
	}
	return c, nil
}

// parseClock reads a time of day. 24:00 is the end of the day.
func parseClock(s string) (int, error) {
	if s == "24:00" {
		return dayMinutes, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("time %q: it is not a time of day like 08:30", s)
	}
	return t.Hour()*60 + t.Minute(), nil
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (c *window) addDays(s string) error {
	first, last, isRange := strings.Cut(strings.ToLower(s), "-")
	if !isRange {
		last = first
	}
	from, to := dayOf(first), dayOf(last)
	if from < 0 || to < 0 {
		return fmt.Errorf("day %q: it is not a day or a range of days like mon-fri", s)
	}
	for d := from; ; d = (d + 1) % 7 {
		c.days[d] = true
		if d == to {
			return nil
		}
	}
}

func dayOf(s string) int {
	for i, name := range dayNames {
		if name == s {
			return i
		}
	}
	return -1
}

func (c *window) holds(now time.Time) bool {
	now = now.In(c.zone)
	hour, minute, _ := now.Clock()
	at, day := hour*60+minute, now.Weekday()
	if c.days[day] && at >= c.begin && at < c.end {
		return true
	}
	return c.end > dayMinutes && at+dayMinutes < c.end && c.days[(day+6)%7]
}
