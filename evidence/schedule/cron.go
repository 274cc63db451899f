package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Cron is an expression of five fields, as crontab has them: minute, hour, day of
// the month, month, day of the week, in UTC. A field is a list, with commas, of
// *, numbers, ranges (1-5) and steps (*/15, 0-30/10); months and days have names
// of three letters, too, and 0 and 7 are Sunday. If both the day of the month and
// that of the week are not *, either suffices.
type Cron struct {
	minute, hour, day, month, week uint64 // bits
	anyDay, anyWeek                bool
}

// cronFields are the bounds and names of the fields.
var cronFields = []struct {
	name  string
	low   int
	high  int
	names []string // of low and what comes after
}{
	{name: "minute", high: 59},
	{name: "hour", high: 23},
	{name: "day of the month", low: 1, high: 31},
	{name: "month", low: 1, high: 12, names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{name: "day of the week", high: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// far is more days than there can be between two times of an expression that has
// any: the 29th of February is missing for eight years around 2100.
const far = 9 * 366

// ParseCron reads an expression. One that never comes is refused.
func ParseCron(text string) (*Cron, error) {
	fields := strings.Fields(text)
	if len(fields) != len(cronFields) || len(text) > 200 {
		return nil, fmt.Errorf("the cron expression %.60q needs five fields: minute, hour, day of the month, month and day of the week", text)
	}
	c := &Cron{anyDay: fields[2][0] == '*', anyWeek: fields[4][0] == '*'}
	for i, to := range []*uint64{&c.minute, &c.hour, &c.day, &c.month, &c.week} {
		bits, err := parseField(fields[i], i)
		if err != nil {
			return nil, fmt.Errorf("the %s %q of the cron expression %q: %w", cronFields[i].name, fields[i], text, err)
		}
		*to = bits
	}
	if c.week&(1<<7) != 0 {
		c.week |= 1 // Sunday
	}
	if c.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("the cron expression %q never comes: there is no such day", text)
	}
	return c, nil
}

// parseField returns the bits of a field.
func parseField(text string, field int) (bits uint64, err error) {
	f := cronFields[field]
	for part := range strings.SplitSeq(text, ",") {
		span, step, stepped := strings.Cut(part, "/")
		n := 1
		if stepped {
			if n, err = cronNumber(step, 1, f.high, nil); err != nil {
				return 0, fmt.Errorf("its step: %w", err)
			}
		}
		from, to := f.low, f.high
		if span != "*" {
			low, high, ranged := strings.Cut(span, "-")
			if from, err = cronNumber(low, f.low, f.high, f.names); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if to, err = cronNumber(high, f.low, f.high, f.names); err != nil {
					return 0, err
				}
			case !stepped:
				to = from
			}
		}
		if from > to {
			return 0, errors.New("a range goes backwards")
		}
		for v := from; v <= to; v += n {
			bits |= 1 << v
		}
	}
	return bits, nil
}

func cronNumber(text string, low, high int, names []string) (int, error) {
	for i, name := range names {
		if strings.EqualFold(text, name) {
			return low + i, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high || len(text) > 2 || text[0] == '+' {
		return 0, fmt.Errorf("%.20q is not a number from %d to %d", text, low, high)
	}
	return n, nil
}

func has(bits uint64, v int) bool { return bits>>v&1 != 0 }

// on reports whether the expression comes on a day.
func (c *Cron) on(day time.Time) bool {
	if !has(c.month, int(day.Month())) {
		return false
	}
	inMonth, inWeek := has(c.day, day.Day()), has(c.week, int(day.Weekday()))
	if c.anyDay || c.anyWeek {
		return inMonth && inWeek
	}
	return inMonth || inWeek
}

// Next returns the first time after t; zero if there is none.
func (c *Cron) Next(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Minute).Add(time.Minute)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	for range far {
		if c.on(day) {
			for m := 0; m < 24*60; m++ {
				if !has(c.hour, m/60) {
					m += 59
					continue
				}
				if at := day.Add(time.Duration(m) * time.Minute); has(c.minute, m%60) && !at.Before(t) {
					return at
				}
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}
}

// Last returns the last time at or before t; zero if there is none.
func (c *Cron) Last(t time.Time) time.Time {
	t = t.UTC()
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	for range far {
		if c.on(day) {
			for m := 24*60 - 1; m >= 0; m-- {
				if !has(c.hour, m/60) {
					m -= 59
					continue
				}
				if at := day.Add(time.Duration(m) * time.Minute); has(c.minute, m%60) && !at.After(t) {
					return at
				}
			}
		}
		day = day.AddDate(0, 0, -1)
	}
	return time.Time{}
}
