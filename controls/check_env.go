package controls

import (
	"fmt"
	"slices"
)

// process ends the check if nothing is known of the process.
func (e *eval) process() *Process {
	p := e.server().Process
	if p == nil {
		e.end(Unknown, "the process was not looked at yet")
	}
	return p
}

func privileges(e *eval) {
	p := e.process()
	if p.UID < 0 {
		e.end(Unknown, "this operating system has no such privileges")
	}
	e.examined++
	if p.UID == 0 {
		e.bad("the process", "runs as root")
	}
	needed := e.texts("capabilities")
	for _, c := range p.Capabilities {
		if !slices.Contains(needed, c) {
			e.bad("the process", "has the capability %s", c)
		}
	}
	switch {
	case p.NoNewPrivs == nil:
		if e.total == 0 {
			e.end(Unknown, "the operating system does not tell of no_new_privs")
		}
	case !*p.NoNewPrivs:
		e.bad("the process", "may get more privileges: no_new_privs is not set")
	}
	e.conclude("processes")
}

func fileModes(e *eval) {
	p := e.process()
	if p.UID < 0 {
		e.end(Unknown, "this operating system has no such modes")
	}
	for _, f := range p.Files {
		e.examined++
		allowed := uint32(0o600)
		switch {
		case f.Dir && f.What == "log":
			allowed = 0o750
		case f.Dir:
			allowed = 0o700
		case f.What == "log":
			allowed = 0o640
		case f.What == "socket":
			allowed = 0o620
		}
		if f.Mode&0o777&^allowed != 0 {
			e.bad(f.Path, "(%s) has the mode %#o, which is more than %#o", f.What, f.Mode, allowed)
		}
	}
	e.conclude("files and directories")
}

func clock(e *eval) {
	p := e.process()
	for _, s := range e.server().Traffic.Sightings[SeenClock] {
		if e.within(s.Time) {
			e.add(Evidence{Where: "the clock", What: s.What, Time: s.Time})
		}
	}
	if !p.ClockKnown && e.total == 0 {
		e.end(Unknown, "the operating system does not tell whether its clock is kept right")
	}
	e.examined++
	if p.ClockKnown && !p.ClockSynced {
		e.bad("the clock", "is kept right by nothing")
	}
	e.conclude("clocks")
}

func leftovers(e *eval) {
	v := e.config()
	p := e.process()
	e.examined = 3
	if p.CoreLimit != nil && *p.CoreLimit > 0 {
		e.bad("core dumps", "are on: their limit is %s", size(*p.CoreLimit))
	}
	if p.RootReadOnly != nil && !*p.RootReadOnly {
		e.bad("the root file system", "can be written to")
	}
	listen := e.adminListen()
	if _, unix := isUnix(listen); !flag(v.admin, "disabled") && !unix && !onLoopback(listen) {
		e.bad("/debug/pprof/", "is open to the network at %s", listen)
	}
	if p.CoreLimit == nil && p.RootReadOnly == nil && e.total == 0 {
		e.end(Unknown, "the operating system does not tell")
	}
	e.conclude("settings of the process")
}

func size(n uint64) string {
	if n == ^uint64(0) {
		return "unlimited"
	}
	return fmt.Sprint(n, " bytes")
}
