package population

import (
	"fmt"
	"time"
)

// Period is half-open: From is in it, To is not. A zero time is no bound.
type Period struct {
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// ParsePeriod reads a period from two texts, each a time as RFC 3339, a date,
// which is its beginning in UTC, or empty, which is no bound. The period must
// have begun: now is compared with its beginning. Errors wrap ErrPeriod and say
// what to write instead.
func ParsePeriod(from, to string, now time.Time) (p Period, err error) {
	if p.From, err = parseTime("from", from); err != nil {
		return p, err
	}
	if p.To, err = parseTime("to", to); err != nil {
		return p, err
	}
	return p, p.Check(now)
}

func parseTime(name, s string) (t time.Time, err error) {
	if s == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339Nano, s); err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err != nil || t.Year() < 1970 || t.UTC().Year() > 9999 {
		return time.Time{}, fmt.Errorf("%w: %s %q is neither a time like 2026-01-31T00:00:00Z nor a date like 2026-01-31", ErrPeriod, name, s)
	}
	return t.UTC(), nil
}

// Check says what is wrong with a period.
func (p Period) Check(now time.Time) error {
	switch {
	case !p.From.IsZero() && !p.To.IsZero() && !p.From.Before(p.To):
		return fmt.Errorf("%w: it ends at %s, which is not after its beginning at %s; the end itself is not in it, so that January is from 2026-01-01 to 2026-02-01",
			ErrPeriod, rfc3339(p.To), rfc3339(p.From))
	case !p.From.IsZero() && p.From.After(now):
		return fmt.Errorf("%w: it begins at %s, which is in the future: it is %s", ErrPeriod, rfc3339(p.From), rfc3339(now))
	}
	return nil
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// timeForm is how records hold a time; such texts sort as the times do.
const timeForm = "2006-01-02T15:04:05.000000000Z"

func stored(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	return t.UTC().AppendFormat(nil, timeForm)
}

func (p Period) from() []byte { return stored(p.From) }
func (p Period) to() []byte   { return stored(p.To) }
