package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// queryMember is the query in a record. If Event.Redacted lists it, the query
// was redacted and is written as it is.
const queryMember = "request.query"

// Intent is what is known of a request before it is served: the record that the
// strict mode makes durable before the upstream of an unsafe method is called.
// The request's own record, with the same id, follows when it was served.
type Intent Event

// Opening is what is known of a request when its connection is about to be
// taken over, for example by a WebSocket: the record before the status 101. The
// request's own record, with the same id, follows when the connection ends.
type Opening Event

// AppendBody appends the record of a request, without the members that the log
// adds (package segment), to dst.
func (ev *Event) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		ev.members(&c)
	}
	return c.b
}

// AppendBody implements Body.
func (in *Intent) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		in.members(&c)
	}
	return c.b
}

// AppendBody implements Body.
func (o *Opening) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		o.members(&c)
	}
	return c.b
}

func (ev *Event) members(c *coder) {
	ev.asked(c, KindRequest)
	c.text("cache", &ev.Cache, maxText)
	c.open("headers")
	c.text("headers.profile", &ev.Profile, maxText)
	c.list("headers.mended", &ev.Mended, maxItems)
	c.list("headers.reported", &ev.Reported, maxItems)
	c.text("headers.refused", &ev.Refused, maxText)
	c.headers("headers.wrong", &ev.Wrong)
	c.close()
	ev.proxied(c)
	c.open("response")
	number(c, "response.status", &ev.Status)
	number(c, "response.bytes", &ev.Bytes)
	c.text("response.end", (*string)(&ev.End), maxText)
	c.text("response.error", &ev.Error, maxText)
	c.headers("response.headers", &ev.ResponseHeaders)
	c.close()
	number(c, "duration_ns", &ev.Duration)
	ev.protected(c)
}

func (in *Intent) members(c *coder) {
	ev := (*Event)(in)
	ev.asked(c, KindIntent)
	ev.protected(c)
}

func (o *Opening) members(c *coder) {
	ev := (*Event)(o)
	ev.asked(c, KindOpening)
	ev.proxied(c)
	c.open("response")
	number(c, "response.status", &ev.Status)
	c.close()
	ev.protected(c)
}

// metadata is the level of detail that a record has if it names none.
const metadata = "metadata"

// asked is what is known before the request is served.
func (ev *Event) asked(c *coder, kind Kind) {
	c.begin(kind, &ev.Start)
	c.id("id", &ev.ID)
	c.text("trace", &ev.Trace, maxText)
	if c.when(ev.Level != metadata, "level") {
		c.text("level", &ev.Level, maxText)
	}
	c.text("policy", &ev.Rule, maxText)
	c.text("server", &ev.Server, maxText)
	c.text("listener", &ev.Listener, maxText)
	c.text("conn", &ev.Conn, maxText)

	c.open("client")
	c.text("client.ip", &ev.ClientIP, maxText)
	c.text("client.port", &ev.ClientPort, maxText)
	c.text("client.peer", &ev.Peer, maxText)
	c.close()

	c.open("tls")
	c.text("tls.version", &ev.TLS.Version, maxText)
	c.text("tls.cipher", &ev.TLS.Cipher, maxText)
	c.text("tls.group", &ev.TLS.Group, maxText)
	c.text("tls.sni", &ev.TLS.ServerName, maxText)
	c.text("tls.alpn", &ev.TLS.ALPN, maxText)
	c.text("tls.client_cert", &ev.TLS.ClientCert, maxText)
	c.flag("tls.resumed", &ev.TLS.Resumed)
	c.flag("tls.ech", &ev.TLS.ECHAccepted)
	c.list("tls.below", &ev.TLS.Below, maxItems)
	c.close()

	c.open("request")
	c.text("request.proto", &ev.Proto, maxText)
	c.text("request.method", &ev.Method, maxText)
	c.text("request.host", &ev.Host, maxText)
	c.text("request.path", &ev.Path, maxPath)
	if slices.Contains(ev.Redacted, queryMember) { // by the policy, which may show some values
		c.text(queryMember, &ev.Query, maxQuery)
	} else {
		c.query(queryMember, &ev.Query)
	}
	c.text("request.agent", &ev.Agent, maxText)
	c.headers("request.headers", &ev.RequestHeaders)
	c.close()

	c.open("auth")
	c.text("auth.user", &ev.User, maxText)
	c.text("auth.method", &ev.AuthMethod, maxText)
	c.close()

	c.open("access")
	c.text("access.outcome", &ev.Access.Outcome, maxText)
	c.text("access.rule", &ev.Access.Rule, maxText)
	c.text("access.reason", &ev.Access.Reason, maxText)
	c.text("access.policy", &ev.AccessPolicy, maxText)
	c.text("access.shadow", &ev.AccessShadow, maxText)
	c.close()

	c.open("limit")
	c.text("limit.outcome", &ev.Limit.Outcome, maxText)
	c.text("limit.rule", &ev.Limit.Rule, maxText)
	c.text("limit.reason", &ev.Limit.Reason, maxText)
	c.close()
}

// proxied is the upstream, if there was one.
func (ev *Event) proxied(c *coder) {
	if !c.when(ev.Upstream.Address != "", "upstream") {
		return
	}
	c.open("upstream")
	c.text("upstream.address", &ev.Upstream.Address, maxText)
	if c.when(ev.Upstream.Status != 0, "upstream.status") {
		number(c, "upstream.status", &ev.Upstream.Status)
		number(c, "upstream.latency_ns", &ev.Upstream.Latency)
	}
	c.close()
}

// protected is how personal data in the record was treated, and the end.
func (ev *Event) protected(c *coder) {
	c.list("pseudonyms", &ev.Pseudonyms, maxItems)
	c.list("redacted", &ev.Redacted, maxItems)
	c.text("lookup", &ev.Lookup, maxText)
	c.blob("personal", &ev.Personal, MaxPersonal)
	c.text("personal_key", &ev.PersonalKey, maxText)
	c.end(&ev.Shortened)
}

// RecordHeader is the part of a record that all kinds share, as read back.
type RecordHeader struct {
	Seq      int64     `json:"seq"`
	Time     time.Time `json:"time"`
	Kind     Kind      `json:"kind"`
	Instance string    `json:"instance"`
	ID       string    `json:"id"` // of a request
}

// ParseHeader reads the shared part of a record.
func ParseHeader(record []byte) (h RecordHeader, err error) {
	if err := json.Unmarshal(record, &h); err != nil {
		return h, fmt.Errorf("reading record: %w", err)
	}
	return h, nil
}

// kindOf reads the kind of a record without decoding it: its place in the
// record is fixed.
func kindOf(record []byte) Kind {
	_, rest, _ := bytes.Cut(record, []byte(`","kind":"`))
	kind, _, _ := bytes.Cut(rest, []byte{'"'})
	return Kind(kind)
}

// timeOf reads the time of a record, likewise.
func timeOf(record []byte) string {
	_, rest, _ := bytes.Cut(record, []byte(`,"time":"`))
	t, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(t)
}
