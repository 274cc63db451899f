package audit

import "time"

// LogOpen says that the log was opened for writing, and what was found.
type LogOpen struct {
	Time     time.Time
	Origin   string   // name of the log
	Key      string   // verifier key of the log (C2SP signed-note)
	Also     []string // verifier keys that sign beside it
	Clean    bool     // the log is new or was closed in order
	Unsigned int64    // if not clean: records after the last checkpoint
	Torn     int64    // if not clean: bytes cut off after the last whole record
	Shortened
}

// AppendBody implements Body.
func (r *LogOpen) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogOpen) members(c *coder) {
	c.begin(KindOpen, &r.Time)
	c.text("origin", &r.Origin, maxText)
	c.text("key", &r.Key, maxText)
	c.list("also", &r.Also, maxItems)
	c.truth("clean", &r.Clean)
	if c.when(!r.Clean, "unsigned_records") {
		number(c, "unsigned_records", &r.Unsigned)
		number(c, "torn_bytes", &r.Torn)
	}
	c.end(&r.Shortened)
}

// LogClose says that the log was closed in order.
type LogClose struct {
	Time time.Time
	Shortened
}

// AppendBody implements Body.
func (r *LogClose) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogClose) members(c *coder) {
	c.begin(KindClose, &r.Time)
	c.end(&r.Shortened)
}

// LogGap says that, and how many, records are missing, and why.
type LogGap struct {
	Time   time.Time
	Cause  string    // failure, stall, exit, policy
	Rule   string    // policy rule that left the records out, if there is only one
	Reason string    // the error, or the reason that the rule gives
	From   time.Time // when the first record was missing
	To     time.Time // when the last was; zero if the gap has only begun

	Refused int64   // requests that were refused because of it
	Served  int64   // requests that were served without a record
	Late    int64   // requests that were refused after their record was taken: it may be in the log
	Lost    int64   // records that were taken and did not become durable
	Other   int64   // records that are not of requests and were not taken
	Rules   []Count // if the policy left records out: how many by rule
	Shortened
}

// AppendBody implements Body.
func (r *LogGap) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogGap) members(c *coder) {
	c.begin(KindGap, &r.Time)
	c.text("cause", &r.Cause, maxText)
	c.text("rule", &r.Rule, maxText)
	c.text("reason", &r.Reason, maxText)
	c.span(&r.From, &r.To)
	number(c, "refused", &r.Refused)
	number(c, "served", &r.Served)
	number(c, "late", &r.Late)
	number(c, "lost", &r.Lost)
	count(c, "other", &r.Other)
	c.counts("rules", &r.Rules, maxItems)
	c.end(&r.Shortened)
}

// LogClock says that the clock was set back. The order of records is their
// index, never their time.
type LogClock struct {
	Time time.Time
	From time.Time // of the commit before
	To   time.Time // of this one
	Shortened
}

// AppendBody implements Body.
func (r *LogClock) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogClock) members(c *coder) {
	c.begin(KindClock, &r.Time)
	c.span(&r.From, &r.To)
	c.end(&r.Shortened)
}

// LogErase says what was destroyed: records whose time of retention is over, or
// the keys without which personal data cannot be read.
type LogErase struct {
	Time          time.Time
	What          string // retention, subject, period
	UpTo          int64  // retention: index before which records are gone
	Segments      int64  // retention: segments removed
	Subject       string // subject: keyed pseudonym of who was forgotten
	Period        string // period: whose keys were destroyed
	KeysDestroyed int64
	By            string // who asked for it
	Reason        string
	Shortened
}

// AppendBody implements Body.
func (r *LogErase) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogErase) members(c *coder) {
	c.begin(KindErase, &r.Time)
	c.text("what", &r.What, maxText)
	count(c, "upto", &r.UpTo)
	count(c, "segments", &r.Segments)
	c.text("subject", &r.Subject, maxText)
	c.text("period", &r.Period, maxText)
	count(c, "keys_destroyed", &r.KeysDestroyed)
	c.text("by", &r.By, maxText)
	c.text("reason", &r.Reason, maxText)
	c.end(&r.Shortened)
}

// LogHold says that a legal hold, which stops all erasing, began or ended.
type LogHold struct {
	Time   time.Time
	Action string // set, release
	Name   string // of the hold
	Reason string
	By     string // who asked for it
	Shortened
}

// AppendBody implements Body.
func (r *LogHold) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogHold) members(c *coder) {
	c.begin(KindHold, &r.Time)
	c.text("action", &r.Action, maxText)
	c.text("name", &r.Name, maxText)
	c.text("reason", &r.Reason, maxText)
	c.text("by", &r.By, maxText)
	c.end(&r.Shortened)
}

// LogKey says that a key of the log was made, replaced or retired.
type LogKey struct {
	Time   time.Time
	Use    string // checkpoint, pseudonym, personal, pack
	Action string // new, rotate, retire
	Key    string // public part or name of the key
	Old    string // rotate: of the key before
	Period string // for which the key is used
	By     string // who asked for it; empty if the log did it in time
	Reason string
	Shortened
}

// AppendBody implements Body.
func (r *LogKey) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogKey) members(c *coder) {
	c.begin(KindKey, &r.Time)
	c.text("use", &r.Use, maxText)
	c.text("action", &r.Action, maxText)
	c.text("key", &r.Key, maxText)
	c.text("old", &r.Old, maxText)
	c.text("period", &r.Period, maxText)
	c.text("by", &r.By, maxText)
	c.text("reason", &r.Reason, maxText)
	c.end(&r.Shortened)
}

// LogVerify is the result of the log verifying its own files.
type LogVerify struct {
	Time     time.Time
	Outcome  string // verified, problems, unfinished
	First    int64  // first record that was read
	Records  int64  // how many were read
	Bytes    int64  // of the files that were read
	Problems []string
	Duration time.Duration
	Shortened
}

// AppendBody implements Body.
func (r *LogVerify) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogVerify) members(c *coder) {
	c.begin(KindVerify, &r.Time)
	c.text("outcome", &r.Outcome, maxText)
	number(c, "first", &r.First)
	number(c, "records", &r.Records)
	number(c, "bytes", &r.Bytes)
	c.list("problems", &r.Problems, maxItems)
	number(c, "duration_ns", &r.Duration)
	c.end(&r.Shortened)
}

// LogAnchor says that an outsider saw the log's head, or did not when asked.
type LogAnchor struct {
	Time    time.Time
	What    string // witness (C2SP tlog-witness), timestamp (RFC 3161), replica
	Name    string // of the witness, the authority or the replica
	Outcome string // ok, failed, conflict
	Size    int64  // of the tree that it saw
	Root    string // of that tree, base64
	Error   string
	Shortened
}

// AppendBody implements Body.
func (r *LogAnchor) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LogAnchor) members(c *coder) {
	c.begin(KindAnchor, &r.Time)
	c.text("what", &r.What, maxText)
	c.text("name", &r.Name, maxText)
	c.text("outcome", &r.Outcome, maxText)
	number(c, "size", &r.Size)
	c.text("root", &r.Root, maxText)
	c.text("error", &r.Error, maxText)
	c.end(&r.Shortened)
}

// Rollup sums up a segment that was sealed.
type Rollup struct {
	Time        time.Time
	First       int64   // index of the segment's first record
	Records     int64   // how many it has
	From, To    string  // times of its first and last record, as they are there
	Bytes       int64   // of the segment when it was open
	SealedBytes int64   // of its file
	SHA256      string  // of its file, hex
	Kinds       []Count // records by kind, sorted
	Requests    JSON    // what was counted of requests: package rollup
	Prev        int64   // index of the rollup record before, or -1
	Shortened
}

// AppendBody implements Body.
func (r *Rollup) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *Rollup) members(c *coder) {
	c.begin(KindRollup, &r.Time)
	c.open("segment")
	number(c, "segment.first", &r.First)
	number(c, "segment.records", &r.Records)
	c.text("segment.from", &r.From, maxText)
	c.text("segment.to", &r.To, maxText)
	number(c, "segment.bytes", &r.Bytes)
	number(c, "segment.sealed_bytes", &r.SealedBytes)
	c.text("segment.sha256", &r.SHA256, maxText)
	c.close()
	c.counts("kinds", &r.Kinds, maxItems)
	c.json("requests", &r.Requests)
	number(c, "prev", &r.Prev)
	c.end(&r.Shortened)
}
