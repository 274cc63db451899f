package controls

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Of a change of the configuration.
const (
	outcomeApplied  = "applied"
	outcomeRejected = "rejected"
	sourceStart     = "start"
	sourceUnknown   = "unknown"
	knownVerified   = "verified"
)

// eachChange calls fn for the changes of the window with an outcome. What a
// process starts with is none, and neither is a record that the admin endpoint
// is not where it was.
func (e *eval) eachChange(outcome string, fn func(c Change)) {
	e.history()
	for _, c := range e.server().Changes {
		if c.Outcome == outcome && c.Source != sourceStart && !c.same() && e.within(c.Time) {
			e.examined++
			fn(c)
		}
	}
}

// whole ends a check that has found nothing as unknown, if there were changes in
// the window that it has not seen.
func (e *eval) whole() {
	s := e.server()
	switch window := e.duration("window"); {
	case e.total > 0:
	case s.ChangesFrom.After(e.begin()):
		e.wake(s.ChangesFrom.Add(window))
		e.end(Unknown, "there were more changes in the last %s than are kept in memory: those before %s are in the log only", e.text("window"), s.ChangesFrom.UTC().Format(time.RFC3339))
	case !e.reaches(window):
		e.wake(s.History.Add(window))
		e.end(Unknown, "the records since %s were read, and those before it were too many", s.History.UTC().Format(time.RFC3339))
	}
}

func (c *Change) same() bool { return c.After != "" && c.Before == c.After }

// history ends the check if the log's records of the time before the process
// have not been read.
func (e *eval) history() {
	if e.server().History.IsZero() {
		e.end(Unknown, "the records of the time before this process are being read")
	}
}

func (e *eval) badChange(c Change, format string, args ...any) {
	where := c.After
	if len(where) > 12 {
		where = where[:12]
	}
	e.add(Evidence{Where: strings.TrimSpace(c.Source + " " + where), What: fmt.Sprintf(format, args...), Time: c.Time})
}

func changeActors(e *eval) {
	e.eachChange(outcomeApplied, func(c Change) {
		if c.Known != knownVerified {
			e.badChange(c, "was made by an actor that is %s", none(c.Known))
		}
	})
	e.whole()
	e.conclude("changes that were applied")
}

func none(known string) string {
	if known == "" || known == "none" {
		return "not known"
	}
	return known + " only"
}

func changeSources(e *eval) {
	e.eachChange(outcomeApplied, func(c Change) {
		if c.Source == sourceUnknown {
			e.badChange(c, "came from nowhere")
		}
	})
	s := e.server()
	if e.s.ConfigSHA256 == "" {
		if e.total == 0 {
			e.end(Unknown, "the configuration that runs is not known")
		}
	} else {
		e.examined++
		if s.Recorded != "" && s.Recorded != e.s.ConfigSHA256 {
			e.bad("the configuration that runs", "has the hash %s, and the last record of a change names %s", e.s.ConfigSHA256, s.Recorded)
		}
	}
	e.whole()
	e.conclude("changes and configurations")
}

func changeTickets(e *eval) {
	pattern, err := regexp.Compile(e.text("pattern"))
	if err != nil {
		e.end(Unknown, "the threshold pattern is no regular expression: %s", err)
	}
	e.eachChange(outcomeApplied, func(c Change) {
		switch {
		case c.Ticket == "":
			e.badChange(c, "has no ticket")
		case !pattern.MatchString(c.Ticket):
			e.badChange(c, "has a ticket that does not match %s", pattern)
		}
	})
	e.whole()
	e.conclude("changes that were applied")
}

// changeRisks follows the configurations by their hashes. One that was reached
// without weakening anything is clean, and so is going back to one that is. A
// change that weakens something, to a configuration that is not clean, is a
// finding until a clean one is loaded again.
func changeRisks(e *eval) {
	accept := e.texts("accept")
	clean := map[string]bool{}
	var open []Change
	examined := 0
	e.history()
	for _, c := range e.server().Changes {
		if c.Outcome != outcomeApplied {
			continue
		}
		if len(clean) == 0 {
			clean[c.Before] = c.Before != ""
		}
		inWindow := c.Source != sourceStart && e.within(c.Time)
		if inWindow {
			examined++
		}
		risks := slices.DeleteFunc(slices.Clone(c.Risks), func(r string) bool { return slices.Contains(accept, r) })
		switch {
		case clean[c.After]:
			open = nil // rolled back
		case len(risks) > 0 && !e.triagedSince(c.After, c):
			if inWindow {
				open = append(open, Change{Time: c.Time, Source: c.Source, After: c.After, Risks: risks})
			}
		case len(open) == 0:
			clean[c.After] = c.After != ""
		}
	}
	e.examined = examined
	for _, c := range open {
		e.badChange(c, "weakened: %s", strings.Join(c.Risks, ", "))
	}
	e.whole()
	e.conclude("changes that were applied")
}

// triagedSince reports whether a review of a change is on record.
func (e *eval) triagedSince(subject string, c Change) bool {
	return subject != "" && slices.ContainsFunc(e.server().Reviews, func(r Review) bool {
		return r.Kind == "triage" && r.Subject == subject && r.Time.After(c.Time)
	})
}

func changeGuard(e *eval) {
	v := e.config()
	e.examined++
	switch {
	case flag(v.admin, "disabled"), v.admin["config"] != nil && member(v.admin, "config")["load"] != nil:
	case v.soc2 == nil:
		e.bad("/apps/soc2", "is not configured: nothing guards changes")
	case text(v.soc2, "changes") != "load_only":
		e.bad("/apps/soc2/changes", "is not load_only: parts of the configuration can be changed directly")
	}
	e.conclude("configurations")
}

func changeRejects(e *eval) {
	n := 0
	e.eachChange(outcomeRejected, func(c Change) {
		n++
		e.badChange(c, "was rejected")
	})
	if most := int(e.number("most")); n <= most {
		e.found, e.total = nil, 0
		e.whole()
		e.end(Pass, "%d attempts were rejected in the last %s, and %d may be", n, e.text("window"), most)
	}
	e.conclude("attempts that were rejected")
}

func build(e *eval) {
	p := e.process()
	list := e.texts("sha256")
	e.examined++
	switch {
	case p.SHA256 == "":
		e.end(Unknown, "the program file could not be read")
	case len(list) == 0:
		e.warn("the program", "has the SHA-256 %s, and there is no list of builds to compare it with", p.SHA256)
	case !slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, p.SHA256) }):
		e.bad("the program", "has the SHA-256 %s, which is not on the list of builds", p.SHA256)
	}
	e.conclude("programs")
}
