package audit

import "time"

// ConfigChange is a change of the server's configuration, or the attempt.
type ConfigChange struct {
	Time    time.Time
	Outcome string // applied, rejected, unchanged, error
	Source  string // admin, reload, file (watcher), signal, start, loader, plugin, unknown
	Mode    string // how changes are guarded: observe, load_only
	Actor   Actor
	Method  string // admin API: method and path of the call
	Path    string
	File    string // configuration file, as the caller names it
	Adapter string // its format, as the caller names it
	Ticket  string // of the change; nothing proves it
	Reason  string // of the change; nothing proves it
	Error   string // why it was rejected

	Before string   // SHA-256 of the canonical, redacted configuration before, hex
	After  string   // of the one after; if rejected, of the one that was sent
	Diff   JSON     // from before to after: JSON Patch (RFC 6902), secrets replaced by keyed tokens
	Risks  []string // what the change weakens
	Shortened
}

// AppendBody implements Body.
func (r *ConfigChange) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *ConfigChange) members(c *coder) {
	c.begin(KindConfigChange, &r.Time)
	c.text("outcome", &r.Outcome, maxText)
	c.text("source", &r.Source, maxText)
	c.text("mode", &r.Mode, maxText)
	r.Actor.members(c)
	c.text("method", &r.Method, maxText)
	c.text("path", &r.Path, maxPath)
	c.text("file", &r.File, maxText)
	c.text("adapter", &r.Adapter, maxText)
	c.text("ticket", &r.Ticket, maxText)
	c.text("reason", &r.Reason, maxValue)
	c.text("error", &r.Error, maxValue)
	c.text("before", &r.Before, maxText)
	c.text("after", &r.After, maxText)
	c.json("diff", &r.Diff)
	c.list("risks", &r.Risks, maxItems)
	c.end(&r.Shortened)
}

// AdminCall is a call of the admin API.
type AdminCall struct {
	Time       time.Time
	Actor      Actor
	Listener   string // address that accepted the call
	Method     string
	Host       string
	Path       string
	Query      string // raw; only its keys are written
	BodyBytes  int64  // of the request
	BodySHA256 string // hex
	Ticket     string // header; nothing proves it
	Reason     string // header; nothing proves it
	Outcome    string // allowed, denied, error
	Status     int    // of the answer
	Error      string
	Duration   time.Duration
	Shortened
}

// AppendBody implements Body.
func (r *AdminCall) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *AdminCall) members(c *coder) {
	c.begin(KindAdminCall, &r.Time)
	r.Actor.members(c)
	c.text("listener", &r.Listener, maxText)
	c.text("method", &r.Method, maxText)
	c.text("host", &r.Host, maxText)
	c.text("path", &r.Path, maxPath)
	c.query("query", &r.Query)
	count(c, "body_bytes", &r.BodyBytes)
	c.text("body_sha256", &r.BodySHA256, maxText)
	c.text("ticket", &r.Ticket, maxText)
	c.text("reason", &r.Reason, maxValue)
	c.text("outcome", &r.Outcome, maxText)
	number(c, "status", &r.Status)
	c.text("error", &r.Error, maxValue)
	number(c, "duration_ns", &r.Duration)
	c.end(&r.Shortened)
}

// EvidenceRead is a look at the evidence.
type EvidenceRead struct {
	Time     time.Time
	Actor    Actor
	Role     string // viewer, auditor
	Resource string // population, sample, record, report, pack, …
	Name     string // which one
	Path     string // of the call
	Query    string // raw; only its keys are written
	Format   string // csv, ndjson, ocsf, …
	From, To time.Time
	Filter   string // what was selected
	Seed     string // of a sample
	Outcome  string // allowed, denied, error
	Status   int    // of the answer
	Rows     int64  // that were given
	Bytes    int64  // that were given
	First    int64  // index of the first record that was given
	Last     int64  // and of the last
	TreeSize int64  // of the tree that the answer stands on
	TreeRoot string // base64
	Shortened
}

// AppendBody implements Body.
func (r *EvidenceRead) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *EvidenceRead) members(c *coder) {
	c.begin(KindEvidenceRead, &r.Time)
	r.Actor.members(c)
	c.text("role", &r.Role, maxText)
	c.text("resource", &r.Resource, maxText)
	c.text("name", &r.Name, maxText)
	c.text("path", &r.Path, maxPath)
	c.query("query", &r.Query)
	c.text("format", &r.Format, maxText)
	c.span(&r.From, &r.To)
	c.text("filter", &r.Filter, maxValue)
	c.text("seed", &r.Seed, maxText)
	c.text("outcome", &r.Outcome, maxText)
	number(c, "status", &r.Status)
	count(c, "rows", &r.Rows)
	count(c, "bytes", &r.Bytes)
	count(c, "first", &r.First)
	count(c, "last", &r.Last)
	count(c, "tree_size", &r.TreeSize)
	c.text("tree_root", &r.TreeRoot, maxText)
	c.end(&r.Shortened)
}

// CheckTransition says that the result of a control check changed.
type CheckTransition struct {
	Time       time.Time
	Check      string // id
	Version    int    // of its definition
	Definition string // SHA-256 of its definition, hex
	Severity   string // critical, high, medium, low
	Class      string // design, operating, environment, probe
	Criteria   []string
	Before     string // pass, fail, warn, not_applicable, unknown; empty at its first run
	After      string
	Since      time.Time // when the result before began
	Trigger    string    // what made the check run: start, change, interval, demand
	Summary    string    // one sentence
	Config     string    // SHA-256 of the configuration that it saw, hex
	Threshold  string
	Exception  string // name of the accepted exception that applies
	Evidence   JSON   // what it looked at
	Shortened
}

// AppendBody implements Body.
func (r *CheckTransition) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *CheckTransition) members(c *coder) {
	c.begin(KindCheck, &r.Time)
	c.text("check", &r.Check, maxText)
	count(c, "version", &r.Version)
	c.text("definition", &r.Definition, maxText)
	c.text("severity", &r.Severity, maxText)
	c.text("class", &r.Class, maxText)
	c.list("criteria", &r.Criteria, maxItems)
	c.text("before", &r.Before, maxText)
	c.text("after", &r.After, maxText)
	c.time("since", &r.Since)
	c.text("trigger", &r.Trigger, maxText)
	c.text("summary", &r.Summary, maxValue)
	c.text("config", &r.Config, maxText)
	c.text("threshold", &r.Threshold, maxText)
	c.text("exception", &r.Exception, maxText)
	c.json("evidence", &r.Evidence)
	c.end(&r.Shortened)
}

// Review is what a person decided: the triage of a finding, an accepted risk,
// the sign-off of a review, a drill.
type Review struct {
	Time    time.Time
	Kind    Kind // review.*
	Actor   Actor
	Subject string    // finding, check, review or drill that it is about
	Verdict string    // incident, benign, accepted, rejected, passed, failed, …
	Owner   string    // who is to act, or bears the risk
	From    time.Time // first moment of the period that was reviewed; of a triage, since when the finding was there
	To      time.Time // and the end of it
	Until   time.Time // when it expires
	Ticket  string
	Reason  string
	Seq     int64    // index of the record that it answers
	Files   []string // SHA-256 and name of what was looked at

	Approver string // who accepted the risk, as stated
	Figures  JSON   // what a drill measured
	Shortened
}

// AppendBody implements Body.
func (r *Review) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *Review) members(c *coder) {
	c.begin(family("review.", r.Kind), &r.Time)
	r.Actor.members(c)
	c.text("subject", &r.Subject, maxText)
	c.text("verdict", &r.Verdict, maxText)
	c.text("owner", &r.Owner, maxText)
	c.span(&r.From, &r.To)
	c.time("until", &r.Until)
	c.text("ticket", &r.Ticket, maxText)
	c.text("reason", &r.Reason, maxValue)
	count(c, "answers", &r.Seq)
	c.list("files", &r.Files, maxItems)
	c.text("approver", &r.Approver, maxText)
	c.json("figures", &r.Figures)
	c.end(&r.Shortened)
}
