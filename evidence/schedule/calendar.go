package schedule

import (
	"fmt"
	"time"
)

// The periods that have a name.
const (
	Weekly    = "weekly" // from Monday
	Monthly   = "monthly"
	Quarterly = "quarterly" // from January, April, July, October
)

// calendar says where periods end and the next begin.
type calendar interface {
	// Last is the last boundary at or before a time.
	Last(t time.Time) time.Time
	// Next is the first boundary after a time.
	Next(t time.Time) time.Time
}

// months are periods of some months of a year.
type months int

func (n months) Last(t time.Time) time.Time {
	t = t.UTC()
	first := (int(t.Month())-1)/int(n)*int(n) + 1
	return time.Date(t.Year(), time.Month(first), 1, 0, 0, 0, 0, time.UTC)
}

func (n months) Next(t time.Time) time.Time { return n.Last(t).AddDate(0, int(n), 0) }

// weeks begin on Monday.
type weeks struct{}

func (weeks) Last(t time.Time) time.Time {
	t = t.UTC()
	since := (int(t.Weekday()) + 6) % 7
	return time.Date(t.Year(), t.Month(), t.Day()-since, 0, 0, 0, 0, time.UTC)
}

func (w weeks) Next(t time.Time) time.Time { return w.Last(t).AddDate(0, 0, 7) }

// calendarOf returns that of a plan.
func (p *Plan) calendarOf() (calendar, error) {
	switch {
	case p.Cron != "" && p.Every != "":
		return nil, fmt.Errorf("it is %s and has a cron expression: choose one", p.Every)
	case p.Cron != "":
		return ParseCron(p.Cron)
	case p.Every == Weekly:
		return weeks{}, nil
	case p.Every == Monthly:
		return months(1), nil
	case p.Every == Quarterly:
		return months(3), nil
	}
	return nil, fmt.Errorf("%q: choose weekly, monthly, quarterly or a cron expression", p.Every)
}
