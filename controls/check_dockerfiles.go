package controls

import (
	"fmt"
	"strings"
)

// profileStrict is the stricter of the profiles of package dockerfile, which
// contains the other.
const profileStrict = "strict"

// dockerfiles looks at the newest verdict on each Dockerfile and stage.
func dockerfiles(e *eval) {
	e.history()
	profile := e.text("profile")
	if profile != profileStrict && profile != "recommended" {
		e.end(Unknown, "the threshold profile is %q: there are recommended and strict", profile)
	}
	judged := map[string]bool{}
	for _, d := range e.server().Dockerfiles {
		if profile == profileStrict && d.Profile != profileStrict || !e.within(d.Time) {
			continue
		}
		e.examined++
		judged[d.File], judged[d.name()] = true, true
		switch {
		case d.Outcome != "pass":
			e.add(Evidence{Where: d.name(), What: fmt.Sprintf("did not pass the profile %s: %d findings block", d.Profile, d.Blocking), Time: d.Time})
		case d.Baseline > 0:
			e.warn(d.name(), "has %d findings that were there before", d.Baseline)
		}
	}
	for _, name := range e.texts("files") {
		if !judged[name] {
			e.examined++
			e.bad(name, "has no verdict by the profile %s of the last %s", profile, e.text("window"))
		}
	}
	e.conclude("verdicts on Dockerfiles")
}

// name is the file, with the stage where one was named.
func (d *Dockerfile) name() string { return strings.TrimSuffix(d.File+":"+d.Target, ":") }
