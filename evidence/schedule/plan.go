// Package schedule makes reports and evidence packs when periods end, into
// directories.
//
// Periods are in UTC and lie end to end. One is made an hour after its end
// (pack.Tail), when the requests that began in it have ended, and stands on a
// record that the schedule appends itself, so that the log covers all of it.
//
// What was made is known from the log alone: each attempt, made or failed, is an
// evidence.read record. So nothing is made twice, and what was missed while no
// process ran is made at the next start, up to twelve periods.
package schedule

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// Plan says what is made when, and where it goes.
type Plan struct {
	// Every is weekly, monthly or quarterly.
	Every string `json:"every,omitempty"`

	// Cron is an expression of five fields in UTC, in place of Every. A period
	// goes from one of its times to the next.
	Cron string `json:"cron,omitempty"`

	// To is the directory that files are written to. It is made if it is not
	// there. It must not be one in which the log is.
	To string `json:"to"`

	// Make lists what is made: pack, report (the page of the pack, not signed).
	// Default: pack.
	Make []string `json:"make,omitempty"`

	// Full puts all raw records into packs. Default: false.
	Full bool `json:"full,omitempty"`

	// Keep is how many files of each kind are kept; older ones are removed.
	// Default: all.
	Keep int `json:"keep,omitempty"`

	calendar calendar
}

// What is made.
const (
	Pack   = "pack"
	Report = "report"
)

// Check fills in the defaults of plans and finds what is wrong with them.
func Check(plans []*Plan) error {
	seen := map[string]bool{}
	for _, p := range plans {
		if err := p.check(); err != nil {
			return fmt.Errorf("%s: %w", p.name(), err)
		}
		for _, what := range p.Make {
			key := p.name() + what + filepath.Clean(p.To)
			if seen[key] {
				return fmt.Errorf("%s: a %s of the same periods goes to %s twice", p.name(), what, p.To)
			}
			seen[key] = true
		}
	}
	return nil
}

func (p *Plan) check() error {
	if len(p.Make) == 0 {
		p.Make = []string{Pack}
	}
	for _, what := range p.Make {
		if what != Pack && what != Report {
			return fmt.Errorf("make %q: choose pack or report", what)
		}
	}
	switch {
	case p.To == "":
		return errors.New(`"to" is needed: the directory that files are written to`)
	case !filepath.IsAbs(p.To):
		return fmt.Errorf("to %s: write the whole path, from the root", p.To)
	case p.Keep < 0:
		return fmt.Errorf("keep %d: it is a number of files", p.Keep)
	}
	var err error
	p.calendar, err = p.calendarOf()
	return err
}

// name is the plan's name in names of files.
func (p *Plan) name() string {
	if p.Cron == "" {
		return p.Every
	}
	sum := sha256.Sum256([]byte(p.Cron))
	return "cron-" + hex.EncodeToString(sum[:4])
}

// The ends of names of files.
var ends = map[string]string{Pack: ".zip", Report: ".html"}

// prefix is how names of a plan's files begin.
func (p *Plan) prefix(what string) string {
	return map[string]string{Pack: "soc2-evidence_", Report: "soc2-report_"}[what] + p.name() + "_"
}

// file is the file of a period. It names what was made in records.
func (p *Plan) file(what string, period pack.Period) string {
	const form = "20060102T150405Z"
	return filepath.Join(p.To, p.prefix(what)+period.From.Format(form)+"_"+period.To.Format(form)+ends[what])
}

// periods returns the last periods that were over at a time, the newest first.
func (p *Plan) periods(now time.Time, n int) (list []pack.Period) {
	to := p.calendar.Last(now.Add(-Delay))
	for range n {
		from := p.calendar.Last(to.Add(-1))
		if to.IsZero() || from.IsZero() {
			break
		}
		list = append(list, pack.Period{From: from, To: to})
		to = from
	}
	return list
}

// due is when the next period is made.
func (p *Plan) due(now time.Time) time.Time {
	next := p.calendar.Next(now.Add(-Delay))
	if next.IsZero() {
		return now.AddDate(1, 0, 0)
	}
	return next.Add(Delay)
}
