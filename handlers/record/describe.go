package record

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

// describe fills in what is known when a request arrives.
func describe(ev *audit.Event, r *http.Request) {
	ctx := r.Context()
	if srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && srv != nil {
		ev.Server = srv.Name()
	}
	if addr, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok && addr != nil {
		ev.Listener = addr.String()
	}
	peer, port, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		peer = r.RemoteAddr
	}
	ev.ClientIP, _ = caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	if ev.ClientIP == "" || ev.ClientIP == peer {
		ev.ClientIP, ev.ClientPort = peer, port
	} else {
		ev.Peer = r.RemoteAddr
	}
	ev.Trace = traceID(r.Header.Get("Traceparent"))
	ev.Proto, ev.Method, ev.Host = r.Proto, r.Method, r.Host
	ev.Path, ev.Query = r.URL.EscapedPath(), r.URL.RawQuery
	ev.Agent = r.Header.Get("User-Agent")
	if r.TLS != nil {
		describeTLS(&ev.TLS, r.TLS)
	}
}

// traceID returns the trace id of a traceparent header (W3C Trace Context,
// section 3.2), or nothing if the header is malformed.
func traceID(parent string) string {
	const version, trace, rest = 3, 32, len("-0123456789abcdef-01")
	if len(parent) < version+trace+rest || parent[2] != '-' || parent[version+trace] != '-' {
		return ""
	}
	id := parent[version : version+trace]
	zero := true
	for i := range len(id) {
		switch c := id[i]; {
		case c == '0':
		case c >= '1' && c <= '9', c >= 'a' && c <= 'f':
			zero = false
		default:
			return ""
		}
	}
	if zero {
		return ""
	}
	return id
}

// describeTLS takes names from tables, and allocates for what is new to
// crypto/tls alone, and once for a client certificate.
func describeTLS(t *audit.TLS, s *tls.ConnectionState) {
	t.Version = tlsfloor.VersionName(s.Version)
	t.Cipher = tlsfloor.SuiteName(s.CipherSuite)
	t.Group = tlsfloor.GroupName(s.CurveID)
	t.ServerName, t.ALPN = s.ServerName, s.NegotiatedProtocol
	t.Resumed, t.ECHAccepted = s.DidResume, s.ECHAccepted
	if len(s.VerifiedChains) > 0 && len(s.PeerCertificates) > 0 {
		t.ClientCert = fingerprints.of(s.PeerCertificates[0])
	}
}

// complete fills in what is known when the handlers have returned.
func (x *exchange) complete(r *http.Request, err error, now time.Time) {
	x.finish(r, err, now)
	if !x.writer.Committed() { // the header leaves when the handler has returned
		x.writer.identify()
	}
	switch {
	case x.writer.Committed():
		x.Status = x.writer.Status()
	case err != nil:
		x.Status = sentStatus(r, err)
	default:
		x.Status = http.StatusOK // what net/http sends if nobody wrote anything
	}
	switch {
	case x.writer.taken():
		x.End = audit.EndHijacked
	case x.writer.err != nil:
		x.End = audit.EndAborted
	case x.whole():
		x.End = audit.EndComplete
	case r.Context().Err() != nil:
		x.End = audit.EndAborted
	case x.short():
		x.End = audit.EndTruncated
	default:
		x.End = audit.EndComplete
	}
}

// panicked fills in what is known when a handler panicked. Handlers do so on
// purpose, with http.ErrAbortHandler, to break the connection off: the reverse
// proxy when it cannot send all of the upstream's response, the directive abort
// always.
func (x *exchange) panicked(r *http.Request, cause any, now time.Time) {
	x.finish(r, nil, now)
	x.Status = x.writer.Status() // 0: nothing was sent
	switch {
	case cause != http.ErrAbortHandler: //nolint:errorlint // as net/http compares
		x.End = audit.EndPanicked
	case x.writer.taken():
		x.End = audit.EndHijacked
	case x.writer.err != nil, r.Context().Err() != nil:
		x.End = audit.EndAborted
	case x.Upstream.Status >= http.StatusOK:
		x.End = audit.EndTruncated
	default:
		x.End = audit.EndDropped
	}
}

// whole reports whether the client can have had all of the body before the
// handlers returned. If it leaves then, it has not left early.
func (x *exchange) whole() bool {
	w := &x.writer
	return w.Committed() && !w.bodiless && w.declared >= 0 && w.bytes == w.declared && !w.holding
}

// short reports whether the body is shorter than its announced length.
func (x *exchange) short() bool {
	w := &x.writer
	return w.Committed() && !w.bodiless && w.declared > w.bytes
}

// sentStatus is the status that Caddy sends when handlers returned an error and
// wrote nothing. If an error route failed too, that is the status of the first
// error.
func sentStatus(r *http.Request, err error) int {
	first, ok := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	if !ok {
		return errorStatus(err)
	}
	if he, ok := first.(caddyhttp.HandlerError); ok { //nolint:errorlint // as Caddy's server does
		return he.StatusCode
	}
	return http.StatusInternalServerError
}

// errorStatus is the status that Caddy sends for an error of a handler.
func errorStatus(err error) int {
	var he caddyhttp.HandlerError
	if errors.As(err, &he) && he.StatusCode != 0 {
		return he.StatusCode
	}
	return http.StatusInternalServerError
}

// finish fills in what does not depend on how the response ended. The error is
// the one that the handlers returned, where no error chain has it.
func (x *exchange) finish(r *http.Request, err error, now time.Time) {
	x.Duration = now.Sub(x.Start)
	x.Bytes = x.writer.bytes
	if first, ok := r.Context().Value(caddyhttp.ErrorCtxKey).(error); ok {
		err = first
	}
	failure, _ := errors.AsType[caddyhttp.HandlerError](err)
	x.Error = failure.ID
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	x.User, _ = repl.GetString("http.auth.user.id")
	if addr, ok := repl.GetString("http.reverse_proxy.upstream.hostport"); ok {
		x.Upstream.Address = addr
	}
	if x.unanswered(r, failure) {
		return
	}
	if v, ok := repl.Get("http.reverse_proxy.status_code"); ok {
		x.Upstream.Status, _ = v.(int)
	}
	if v, ok := repl.Get("http.reverse_proxy.upstream.latency"); ok {
		x.Upstream.Latency, _ = v.(time.Duration)
	}
}

// statusClientGone is what Caddy's reverse proxy answers when the client left.
const statusClientGone = 499

// unanswered reports whether the last upstream gave no answer. What the replacer
// has of one is then that of an upstream before: of one that authenticates, or
// of an attempt before the last. Caddy gives no other sign than the function
// that made the error.
func (x *exchange) unanswered(r *http.Request, failure caddyhttp.HandlerError) bool {
	if x.writer.Committed() && x.writer.Status() == statusClientGone && r.Context().Err() != nil {
		return true
	}
	if !strings.HasPrefix(failure.Trace, "reverseproxy.statusError ") {
		return false
	}
	// The upstream did answer if its answer was one to try again after.
	return fmt.Sprintf("%T", failure.Err) != "reverseproxy.retryableResponseError"
}
