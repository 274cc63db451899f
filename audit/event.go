package audit

import (
	"context"
	"time"
)

// Event is the audit record of one request while the request is being
// served. The record handler opens it, the handlers inside annotate it and
// the record handler appends it to the log when the response is complete.
//
// An Event belongs to the goroutine that serves its request: its methods are
// not safe for concurrent use. Every annotating method does nothing on a nil
// Event, so that a handler works the same where no record is kept.
type Event struct {
	Start    time.Time     // when the request reached the record handler
	Duration time.Duration // from Start until the handlers returned

	ID    ID     // request id, UUIDv7
	Trace string // W3C trace id taken over from the request: 32 hex digits, or empty

	Level string // detail level of the record; empty means "metadata"
	Rule  string // policy rule that chose the level

	Server   string // Caddy's name of the server
	Listener string // local address that accepted the request
	Conn     string // id of the connection, the same for all its requests

	ClientIP   string // client address, trusted proxies considered
	ClientPort string // port of the peer; empty if the client is behind a proxy
	Peer       string // address of the direct peer where it is not the client

	TLS TLS

	Proto  string // "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"
	Method string
	Host   string
	Path   string // escaped path, as received
	Query  string // keys of the query string in order, values redacted
	Agent  string // User-Agent

	RequestHeaders []Header // header fields of the request that the level asks for

	User       string // authenticated principal
	AuthMethod string // how the principal was authenticated

	Access       Decision
	AccessPolicy string // hash of the access policy that decided
	AccessShadow string // rule that would have refused the request if it were enforced
	Limit        Decision
	Cache        string // cache status: hit, miss, …

	Profile string   // header profile enforced on the response
	Mended  []string // what was wrong with the upstream's headers and was mended, by rule

	// What else the rules for headers found.
	Reported []string // rules in report mode that would have changed or refused something
	Refused  string   // rule that the request was refused by
	Wrong    []Header // what the upstream had sent: field and value, shortened

	Upstream Upstream

	Status int    // final status sent
	Bytes  int64  // body bytes sent
	End    End    // how the response ended
	Error  string // error id that Caddy gave a handler's error

	ResponseHeaders []Header // header fields of the response that the level asks for

	Pseudonyms  []string // paths of the members whose values are keyed pseudonyms
	Redacted    []string // paths of the members from which something was redacted
	Lookup      string   // period whose keys made the pseudonyms, to look one up
	Personal    []byte   // sealed box of the personal fields, at most MaxPersonal bytes
	PersonalKey string   // name of the key that opens Personal

	Shortened
}

// Header is one field of a header.
type Header struct{ Name, Value string }

// TLS is what was negotiated on the connection of a request. The zero value
// means plaintext.
type TLS struct {
	Version     string // "1.2", "1.3"
	Cipher      string // IANA name
	Group       string // key exchange group
	ServerName  string // SNI
	ALPN        string
	ClientCert  string // SHA-256 of the verified client certificate, hex; empty if none was verified
	Resumed     bool
	ECHAccepted bool
	Below       []string // names of the members above that are below the floor that is configured
}

// Decision is the outcome of one handler's decision on a request.
type Decision struct {
	Outcome string // allow, deny, limited, …; empty if nothing decided
	Rule    string // rule or zone that decided
	Reason  string
}

// Upstream is the server that a request was proxied to.
type Upstream struct {
	Address string
	Status  int
	Latency time.Duration
}

// End tells how a response ended.
type End string

// The ways in which a response ends.
const (
	EndComplete  End = "complete"           // all of it was handed to the connection
	EndAborted   End = "client_aborted"     // the client went away
	EndTruncated End = "upstream_truncated" // the upstream did not deliver all it announced
	EndPanicked  End = "panic"              // a handler panicked
	EndDropped   End = "dropped"            // a handler broke the connection off on purpose (abort)
	EndHijacked  End = "hijacked"           // the connection was taken over (WebSocket, CONNECT)
)

type eventKey struct{}

// NewContext returns a context that carries e to the handlers inside.
func NewContext(ctx context.Context, e *Event) context.Context {
	return context.WithValue(ctx, eventKey{}, e)
}

// FromContext returns the open event of the request, or nil if no record is
// kept for it.
func FromContext(ctx context.Context) *Event {
	e, _ := ctx.Value(eventKey{}).(*Event)
	return e
}

// SetHeaders notes the header profile that was enforced on the response and
// the names of the rules that had to mend it. Called again, for example when
// an error route replaces the response, it overwrites the earlier note.
func (e *Event) SetHeaders(profile string, mended []string) {
	if e == nil {
		return
	}
	e.Profile, e.Mended = profile, mended
}

// SetFindings notes the rules that only report and found something, and what the
// upstream had sent where a rule found something. Called again it overwrites.
func (e *Event) SetFindings(reported []string, wrong []Header) {
	if e == nil {
		return
	}
	e.Reported, e.Wrong = reported, wrong
}

// SetRefused notes the rule for request headers that refused the request.
func (e *Event) SetRefused(rule string) {
	if e == nil {
		return
	}
	e.Refused = rule
}

// SetBelow notes which of what was negotiated is below the floor: version,
// cipher, group, client_cert.
func (e *Event) SetBelow(names []string) {
	if e == nil {
		return
	}
	e.TLS.Below = names
}

// SetAccess notes the decision of access control.
func (e *Event) SetAccess(d Decision) {
	if e == nil {
		return
	}
	e.Access = d
}

// SetAccessPolicy notes the hash of the policy that access control decided by,
// and the rule in shadow that would have refused what was allowed, if any.
func (e *Event) SetAccessPolicy(hash, shadow string) {
	if e == nil {
		return
	}
	e.AccessPolicy, e.AccessShadow = hash, shadow
}

// SetLimit notes the decision of the rate limiter.
func (e *Event) SetLimit(d Decision) {
	if e == nil {
		return
	}
	e.Limit = d
}

// SetCache notes the cache status: hit, miss, ….
func (e *Event) SetCache(status string) {
	if e == nil {
		return
	}
	e.Cache = status
}

// SetUser notes the authenticated principal and how it was authenticated.
func (e *Event) SetUser(user, method string) {
	if e == nil {
		return
	}
	e.User, e.AuthMethod = user, method
}
