package controls

import (
	"fmt"
	"strconv"
	"time"
)

// eval is a check at work.
type eval struct {
	def      *Definition
	s        *Snapshot
	settings *Settings
	view     *view

	result   Result // set by those that end early
	summary  string
	examined int
	found    []Evidence // what is wrong
	noticed  []Evidence // what is worth a warning
	total    int        // things found, also those that are not in found
	next     time.Time
	steps    int // handlers that were followed
}

// maxEvidence is how much a result shows of what was found.
const maxEvidence = 16

// stop ends a check early.
type stop struct{}

func (e *eval) run() {
	defer func() {
		if p := recover(); p != nil {
			if _, ended := p.(stop); !ended { // a server goes on without one of its checks
				e.result, e.summary = Unknown, fmt.Sprintf("%s: %T", mistake, p)
			}
		}
	}()
	e.def.run(e)
}

// mistake is the beginning of the summary of a check that could not be made
// because of a mistake in it.
const mistake = "the check has a mistake; please report it"

// end ends the check with a result.
func (e *eval) end(r Result, format string, args ...any) {
	e.result, e.summary = r, fmt.Sprintf(format, args...)
	panic(stop{})
}

// maxSteps bounds how many handlers a check follows: named routes may invoke one
// another in more ways than there is time for.
const maxSteps = 200_000

// step counts a handler that is followed, and ends the check after too many.
func (e *eval) step() {
	if e.steps++; e.steps <= maxSteps {
		return
	}
	if e.total > 0 {
		e.end(Fail, "%d found in %d handlers, and the routes go on: %s", e.total, maxSteps, e.found[0].text())
	}
	e.end(Unknown, "the routes invoke one another in too many ways to be followed")
}

// bad notes that something that was examined is not as it has to be.
func (e *eval) bad(where, format string, args ...any) {
	e.add(Evidence{Where: where, What: fmt.Sprintf(format, args...)})
}

func (e *eval) add(v Evidence) {
	e.total++
	if len(e.found) < maxEvidence {
		e.found = append(e.found, v)
	}
}

// warn notes something that does not make the check fail.
func (e *eval) warn(where, format string, args ...any) {
	if len(e.noticed) < maxEvidence {
		e.noticed = append(e.noticed, Evidence{Where: where, What: fmt.Sprintf(format, args...)})
	}
}

// conclude ends a check that examined things one by one. things is their name,
// in the plural.
func (e *eval) conclude(things string) {
	switch {
	case e.total > 0:
		e.result, e.summary = Fail, fmt.Sprintf("%d found in %d %s: %s", e.total, e.examined, things, e.found[0].text())
	case len(e.noticed) > 0:
		e.result, e.summary = Warn, fmt.Sprintf("%d %s examined: %s", e.examined, things, e.noticed[0].text())
	case e.examined == 0:
		e.result, e.summary = NotApplicable, "there are no "+things
	default:
		e.result, e.summary = Pass, fmt.Sprintf("%d %s examined, nothing found", e.examined, things)
	}
}

func (v *Evidence) text() string {
	if v.Where == "" {
		return v.What
	}
	return v.Where + " " + v.What
}

func (e *eval) into(f *Finding) {
	if e.result == "" {
		panic("controls: " + e.def.ID + " has no result")
	}
	f.Result, f.Summary, f.Examined, f.next = e.result, e.summary, e.examined, e.next
	f.Evidence = append(e.found, e.noticed...)
	f.Omitted = e.total - len(e.found)
}

// Settings.

func (e *eval) texts(name string) []string { return e.settings.value(e.def.ID, name) }
func (e *eval) text(name string) string    { return e.texts(name)[0] }

func (e *eval) duration(name string) time.Duration {
	d, err := ParseDuration(e.text(name))
	if err != nil {
		panic("controls: settings that were not validated: " + err.Error())
	}
	return d
}

func (e *eval) number(name string) float64 {
	n, err := strconv.ParseFloat(e.text(name), 64)
	if err != nil {
		panic("controls: settings that were not validated: " + err.Error())
	}
	return n
}

// What the snapshot has.

// config ends the check if the configuration is not known.
func (e *eval) config() *view {
	if e.view == nil {
		e.end(Unknown, "the configuration that runs is not known")
	}
	if len(e.view.twice) > 0 {
		e.end(Unknown, "the configuration has %s in several spellings, which are one member to Caddy: write it once", e.view.twice[0])
	}
	return e.view
}

const onlyServer = "only a running server can tell; this is its configuration alone"

// server ends the check if there is no running server to look at.
func (e *eval) server() *Server {
	if e.s.Server == nil {
		e.end(Unknown, onlyServer)
	}
	return e.s.Server
}

// begin is the first moment of the window of the check.
func (e *eval) begin() time.Time { return e.s.Time.Add(-e.duration("window")) }

// within reports whether a moment is in the window. If so the check is to be
// made again when it leaves it.
func (e *eval) within(t time.Time) bool { return e.within2(t, e.duration("window")) }

func (e *eval) within2(t time.Time, window time.Duration) bool {
	leaves := t.Add(window)
	if !leaves.After(e.s.Time) {
		return false
	}
	e.wake(leaves)
	return true
}

// wake says when the result may change.
func (e *eval) wake(t time.Time) {
	if t.After(e.s.Time) {
		e.next = sooner(e.next, t)
	}
}

// sighted ends a check that counts what was seen in the window.
func (e *eval) sighted(name SightingName, population int64, things string) {
	n := int64(0)
	for _, s := range e.server().Traffic.Sightings[name] {
		if !e.within(s.Time) {
			continue
		}
		n += s.Count
		e.add(Evidence{What: fmt.Sprintf("%d × %s", s.Count, s.What), Time: s.Time})
	}
	e.examined = int(max(population, n))
	since := "since " + e.server().Traffic.Since.UTC().Format(time.RFC3339)
	switch {
	case n > 0:
		e.end(Fail, "%d of the %s of the last %s: %s", n, things, e.text("window"), e.found[0].What)
	case population == 0:
		e.end(NotApplicable, "there were no %s %s", things, since)
	}
	e.end(Pass, "none of %d %s %s", population, things, since)
}
