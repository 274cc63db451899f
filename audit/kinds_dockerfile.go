package audit

import "time"

// DockerfileCheck is the verdict on a Dockerfile, as the one who reports it
// says. The hashes of its inputs let anybody check them again.
type DockerfileCheck struct {
	Time      time.Time
	File      string // as it was named
	Target    string // stage that becomes the image
	Profile   string // recommended, strict
	Rules     int    // version of the rules
	Outcome   string // pass, fail
	Blocking  int64  // findings that make the outcome
	Warnings  int64
	Waived    int64
	Baseline  int64    // findings that were there before
	Inputs    []string // SHA-256 in hex, a space, and the name of a file
	Statement string   // SHA-256 of the whole verdict, hex
	Findings  JSON
	By        string // who reports it
	Reason    string
	Shortened
}

// AppendBody implements Body.
func (r *DockerfileCheck) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *DockerfileCheck) members(c *coder) {
	c.begin(KindDockerfile, &r.Time)
	c.text("file", &r.File, maxPath)
	c.text("target", &r.Target, maxText)
	c.text("profile", &r.Profile, maxText)
	number(c, "rules", &r.Rules)
	c.text("outcome", &r.Outcome, maxText)
	number(c, "blocking", &r.Blocking)
	number(c, "warnings", &r.Warnings)
	count(c, "waived", &r.Waived)
	count(c, "baseline", &r.Baseline)
	c.list("inputs", &r.Inputs, maxItems)
	c.text("statement", &r.Statement, maxText)
	c.json("findings", &r.Findings)
	c.text("by", &r.By, maxText)
	c.text("reason", &r.Reason, maxValue)
	c.end(&r.Shortened)
}
