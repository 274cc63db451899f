package headers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Request says what requests must be. What is not is refused, before any
// handler inside sees it.
//
// Of every request, with or without this, fields that only a proxy in front may
// send are removed unless it is a trusted one (trusted_proxies of the server):
// those that say where the request came from (Forwarded, X-Forwarded-*,
// X-Real-Ip, …), who sent it (X-Remote-User, X-Forwarded-User, …) and what it
// was before (X-Original-Url, …). So are fields for one hop, a malformed
// traceparent with its tracestate, and X-Request-Id of a form that is not ours.
// TRACE and TRACK are refused.
type Request struct {
	// Hosts are those that requests may be for: example.com, or *.example.com
	// for all beneath it. Others get 421.
	Hosts []string `json:"hosts,omitempty"`

	// Methods are those that requests may have. Others get 405.
	Methods []string `json:"methods,omitempty"`

	// Require names fields that requests must have. Without, they get 400.
	Require []string `json:"require,omitempty"`

	// Remove names further fields that only a trusted proxy may send.
	Remove []string `json:"remove,omitempty"`

	// MaxURL is how many bytes the request target may have. More gets 414.
	MaxURL int `json:"max_url,omitempty"`

	// MaxHeaders is how many lines the header may have, and MaxHeader how many
	// bytes one of them. More gets 431.
	MaxHeaders int `json:"max_headers,omitempty"`
	MaxHeader  int `json:"max_header,omitempty"`

	// MaxBody is how many bytes the body may have. More gets 413.
	MaxBody int64 `json:"max_body,omitempty"`

	// Trace is generate to give requests without a valid traceparent (W3C Trace
	// Context) a new one, or validate to only remove what is not valid.
	// Default: validate.
	Trace string `json:"trace,omitempty"`

	// RequestID is generate to give requests an X-Request-Id, and the responses,
	// where soc2_audit does not, or validate. Default: validate.
	RequestID string `json:"request_id,omitempty"`

	allow   string // value of Allow
	removed []string
}

// The rules for requests, by their names in records.
const (
	forwardedRule = "request:forwarded"
	identityRule  = "request:identity"
	hopRule       = "request:hop"
	traceRule     = "request:trace"
	idRule        = "request:id"
	hostRule      = "request:host"
	methodRule    = "request:method"
	requireRule   = "request:require"
	sizeRule      = "request:size"
)

var requestRules = []string{
	forwardedRule, identityRule, hopRule, traceRule, idRule, hostRule, methodRule, requireRule, sizeRule,
}

const (
	generate = "generate"
	validate = "validate"
)

func (q *Request) provision() error {
	for i, host := range q.Hosts {
		name := strings.TrimPrefix(strings.ToLower(host), "*.")
		if !isHostPattern(name) || name == "*" {
			return fmt.Errorf("request: hosts: %q is no host like example.com or *.example.com", host)
		}
		q.Hosts[i] = strings.ToLower(host)
	}
	for _, name := range slices.Concat(q.Methods, q.Require, q.Remove) {
		if !isFieldName(name) {
			return fmt.Errorf("request: %q is no method and no name of a header field", name)
		}
	}
	for _, v := range []string{q.Trace, q.RequestID} {
		if v != "" && v != generate && v != validate {
			return fmt.Errorf("request: %q: there are generate and validate", v)
		}
	}
	if q.MaxURL < 0 || q.MaxHeaders < 0 || q.MaxHeader < 0 || q.MaxBody < 0 {
		return errors.New("request: a limit is negative")
	}
	q.allow = strings.Join(q.Methods, ", ")
	q.removed = nil
	for _, name := range q.Remove {
		name = http.CanonicalHeaderKey(name)
		if containsFold(q.Require, name) {
			return fmt.Errorf("request: %s is required and removed", name)
		}
		q.removed = append(q.removed, name)
	}
	return nil
}

// admit lets the request in to next, or refuses it. The outermost instance
// cleans its header before.
func (h *Handler) admit(e *enforcement, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, outermost bool) error {
	if r.Context().Value(caddyhttp.ErrorCtxKey) != nil { // it was judged before
		return next.ServeHTTP(w, r)
	}
	if outermost {
		if err := e.clean(r); err != nil {
			return err
		}
	}
	if h.Request != nil {
		if err := h.Request.judge(e, r); err != nil {
			return err
		}
	}
	e.mint(r)
	err := next.ServeHTTP(w, r)
	if body, ok := r.Body.(*boundedBody); ok && body.cut.Load() {
		e.event.SetRefused(sizeRule)
	}
	return err
}

// refuse notes that a rule refuses the request and returns the error for it, or
// nil if the rule only reports.
func (e *enforcement) refuse(rule string, status int, why string) error {
	if e.policy.reports(rule) {
		e.find(rule, true, "", "")
		return nil
	}
	count(rule, Refused)
	e.event.SetRefused(rule)
	return caddyhttp.Error(status, errors.New(why))
}

// judge refuses what is not as q says.
func (q *Request) judge(e *enforcement, r *http.Request) error {
	if len(q.Hosts) > 0 && !q.knows(r.Host) {
		if err := e.refuse(hostRule, http.StatusMisdirectedRequest, "the host is none of this site"); err != nil {
			return err
		}
	}
	if len(q.Methods) > 0 && !slices.Contains(q.Methods, r.Method) {
		if err := e.refuse(methodRule, http.StatusMethodNotAllowed, "the method is not allowed"); err != nil {
			e.Header()["Allow"] = []string{q.allow}
			return err
		}
	}
	for _, name := range q.Require {
		if r.Header.Get(name) != "" {
			continue
		}
		if err := e.refuse(requireRule, http.StatusBadRequest, "a required header field is missing"); err != nil {
			return err
		}
	}
	if err := q.measure(e, r); err != nil {
		return err
	}
	if len(q.removed) > 0 && !trusted(r) {
		for _, name := range q.removed {
			e.strip(r.Header, name, identityRule)
		}
	}
	q.trace(e, r)
	q.identify(e, r)
	return nil
}

// knows tells whether the host is one of the site.
func (q *Request) knows(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	switch {
	case err != nil:
		host = hostport
	case strings.IndexByte(host, ':') >= 0:
		host = "[" + host + "]" // an address of IPv6, as the list has it
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	for _, known := range q.Hosts {
		suffix, wild := strings.CutPrefix(known, "*")
		if host == known || wild && len(host) > len(suffix) && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

func (q *Request) measure(e *enforcement, r *http.Request) error {
	if q.MaxURL > 0 && len(r.RequestURI) > q.MaxURL {
		if err := e.refuse(sizeRule, http.StatusRequestURITooLong, "the request target is too long"); err != nil {
			return err
		}
	}
	if q.MaxHeaders > 0 || q.MaxHeader > 0 {
		lines, longest := 0, 0
		for name, values := range r.Header {
			lines += len(values)
			for _, v := range values {
				longest = max(longest, len(name)+len(v))
			}
		}
		if q.MaxHeaders > 0 && lines > q.MaxHeaders || q.MaxHeader > 0 && longest > q.MaxHeader {
			if err := e.refuse(sizeRule, http.StatusRequestHeaderFieldsTooLarge, "the header is too large"); err != nil {
				return err
			}
		}
	}
	if q.MaxBody == 0 {
		return nil
	}
	if r.ContentLength > q.MaxBody {
		return e.refuse(sizeRule, http.StatusRequestEntityTooLarge, "the body is too large")
	}
	if r.ContentLength < 0 && r.Body != nil && !e.policy.reports(sizeRule) {
		r.Body = &boundedBody{ReadCloser: r.Body, left: q.MaxBody}
	}
	return nil
}

// boundedBody is a body of unknown length that may be too long.
type boundedBody struct {
	io.ReadCloser
	left int64
	cut  atomic.Bool // a proxy reads in another goroutine
}

// Read reads as much as is allowed, and one byte more to tell.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, caddyhttp.Error(http.StatusRequestEntityTooLarge, errTooLong)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left >= 0 {
		return n, err
	}
	count(sizeRule, Refused)
	b.cut.Store(true)
	return n - 1, caddyhttp.Error(http.StatusRequestEntityTooLarge, errTooLong)
}

var errTooLong = errors.New("the body is too large")

// identify gives the request an id, where soc2_audit did not.
func (q *Request) identify(e *enforcement, r *http.Request) {
	if e.event != nil || q.RequestID != generate || r.Header[requestID] != nil {
		return
	}
	id := audit.NewID(time.Now()).String()
	r.Header[requestID] = []string{id}
	e.Header()[requestID] = []string{id}
}

const requestID = "X-Request-Id"

func trusted(r *http.Request) bool {
	v, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return v
}
