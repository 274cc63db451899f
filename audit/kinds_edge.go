package audit

import "time"

// Certificate is something that happened to a certificate of the server.
type Certificate struct {
	Time      time.Time
	Kind      Kind     // cert.*
	Names     []string // that it is for
	Issuer    string   // who issued it, or was asked to
	Serial    string   // hex
	SHA256    string   // of the certificate, hex
	KeyType   string   // ecdsa-p256, rsa-2048, …
	NotBefore time.Time
	NotAfter  time.Time
	Remaining time.Duration // until NotAfter, or past it if negative
	Managed   bool          // the server obtains and renews it itself
	Forced    bool          // it was renewed before it was due
	Source    string        // event, cache, storage: where this was seen
	Attempt   int           // of obtaining it
	Reason    string        // of a revocation
	Error     string
	Shortened
}

// AppendBody implements Body.
func (r *Certificate) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *Certificate) members(c *coder) {
	c.begin(family("cert.", r.Kind), &r.Time)
	c.list("names", &r.Names, maxItems)
	c.text("issuer", &r.Issuer, maxText)
	c.text("serial", &r.Serial, maxText)
	c.text("sha256", &r.SHA256, maxText)
	c.text("key_type", &r.KeyType, maxText)
	c.time("not_before", &r.NotBefore)
	c.time("not_after", &r.NotAfter)
	count(c, "remaining_ns", &r.Remaining)
	c.flag("managed", &r.Managed)
	c.flag("forced", &r.Forced)
	c.text("source", &r.Source, maxText)
	count(c, "attempt", &r.Attempt)
	c.text("reason", &r.Reason, maxText)
	c.text("error", &r.Error, maxValue)
	c.end(&r.Shortened)
}

// UpstreamChange says that an upstream went from one state to another.
type UpstreamChange struct {
	Time     time.Time
	Kind     Kind // upstream.*: the state from now on
	Address  string
	Server   string        // of the configuration, that proxies to it
	Handler  int           // which of the server's ways to watch it, from 2 on; 0 for the first
	Check    string        // active health check that watches it: method and URI
	Before   string        // up, down, unknown; empty if it is new
	Lasted   time.Duration // of the state before
	Cause    string        // active, passive, traffic, sample, config, start, stop, interval
	Fails    int64         // passive failures that count against it
	Requests int64         // that it is serving
	Served   int64         // that it was given since the record before
	Failed   int64         // of those, how many failed
	Error    string
	Shortened
}

// AppendBody implements Body.
func (r *UpstreamChange) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *UpstreamChange) members(c *coder) {
	c.begin(family("upstream.", r.Kind), &r.Time)
	c.text("address", &r.Address, maxText)
	c.text("server", &r.Server, maxText)
	count(c, "handler", &r.Handler)
	c.text("check", &r.Check, maxText)
	c.text("before", &r.Before, maxText)
	count(c, "lasted_ns", &r.Lasted)
	c.text("cause", &r.Cause, maxText)
	count(c, "fails", &r.Fails)
	count(c, "requests", &r.Requests)
	count(c, "served", &r.Served)
	count(c, "failed", &r.Failed)
	c.text("error", &r.Error, maxValue)
	c.end(&r.Shortened)
}

// ProtocolError counts what never became a request: failed TLS handshakes,
// malformed HTTP, HTTP on the HTTPS port, ….
type ProtocolError struct {
	Time     time.Time
	Listener string
	Layer    string // tls, http1, http2, http3, tcp
	Reason   string // from a fixed list
	Prefix   string // network of the clients; empty if too many were seen to tell them apart
	Status   int    // that was answered; 0 if none
	Count    int64
	From, To time.Time // of the first and the last that were counted
	Example  string    // error text of one of them
	Shortened
}

// AppendBody implements Body.
func (r *ProtocolError) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *ProtocolError) members(c *coder) {
	c.begin(KindProtocolError, &r.Time)
	c.text("listener", &r.Listener, maxText)
	c.text("layer", &r.Layer, maxText)
	c.text("reason", &r.Reason, maxText)
	c.text("prefix", &r.Prefix, maxText)
	count(c, "status", &r.Status)
	number(c, "count", &r.Count)
	c.span(&r.From, &r.To)
	c.text("example", &r.Example, maxText)
	c.end(&r.Shortened)
}

// Lockout says that a principal or a network was locked out after failed logins,
// or let in again.
type Lockout struct {
	Time     time.Time
	Action   string // lock, extend, unlock, expire
	What     string // principal, network
	Subject  string // the principal or the network
	Provider string // of the authentication
	Rule     string
	Attempts int64         // failed ones that led to it
	Window   time.Duration // in which they were made
	Until    time.Time     // when it ends by itself
	Actor    Actor         // who unlocked
	Reason   string
	Pseudo   bool // Subject is a keyed pseudonym
	Shortened
}

// AppendBody implements Body.
func (r *Lockout) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *Lockout) members(c *coder) {
	c.begin(KindLockout, &r.Time)
	c.text("action", &r.Action, maxText)
	c.text("what", &r.What, maxText)
	c.text("subject", &r.Subject, maxText)
	c.flag("pseudonym", &r.Pseudo)
	c.text("provider", &r.Provider, maxText)
	c.text("rule", &r.Rule, maxText)
	count(c, "attempts", &r.Attempts)
	count(c, "window_ns", &r.Window)
	c.time("until", &r.Until)
	r.Actor.members(c)
	c.text("reason", &r.Reason, maxText)
	c.end(&r.Shortened)
}

// LimitChange says that a rate limit began or ceased to refuse a key, or that
// somebody changed that by hand.
type LimitChange struct {
	Time    time.Time
	Kind    Kind // limit.*
	Zone    string
	Key     string // that the zone counts by
	Pseudo  bool   // Key is a keyed pseudonym
	Limit   string // that applies, as configured
	Mode    string // gcra, strict, exact, concurrency, shadow
	Allowed int64  // limit.end: requests let through since the beginning
	Refused int64  // limit.end: requests refused since the beginning
	From    time.Time
	To      time.Time
	Until   time.Time // of a ban
	Actor   Actor     // who did it by hand
	Reason  string
	Shortened
}

// AppendBody implements Body.
func (r *LimitChange) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *LimitChange) members(c *coder) {
	c.begin(family("limit.", r.Kind), &r.Time)
	c.text("zone", &r.Zone, maxText)
	c.text("key", &r.Key, maxText)
	c.flag("pseudonym", &r.Pseudo)
	c.text("limit", &r.Limit, maxText)
	c.text("mode", &r.Mode, maxText)
	count(c, "allowed", &r.Allowed)
	count(c, "refused", &r.Refused)
	c.span(&r.From, &r.To)
	c.time("until", &r.Until)
	r.Actor.members(c)
	c.text("reason", &r.Reason, maxText)
	c.end(&r.Shortened)
}

// CachePurge says that stored responses were removed on demand.
type CachePurge struct {
	Time     time.Time
	Actor    Actor
	Selector string // url, prefix, tag, host, all
	Value    string // what was selected
	Soft     bool   // marked as stale instead of removed
	Outcome  string // done, denied, error
	Removed  int64  // responses
	Bytes    int64  // of those
	Reason   string
	Error    string
	Shortened
}

// AppendBody implements Body.
func (r *CachePurge) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *CachePurge) members(c *coder) {
	c.begin(KindCachePurge, &r.Time)
	r.Actor.members(c)
	c.text("selector", &r.Selector, maxText)
	c.text("value", &r.Value, maxPath)
	c.flag("soft", &r.Soft)
	c.text("outcome", &r.Outcome, maxText)
	number(c, "removed", &r.Removed)
	count(c, "bytes", &r.Bytes)
	c.text("reason", &r.Reason, maxText)
	c.text("error", &r.Error, maxValue)
	c.end(&r.Shortened)
}
