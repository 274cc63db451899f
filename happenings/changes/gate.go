package changes

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// gate stands before Caddy's handlers of a pattern, for one method.
type gate struct{ record *recorder }

// passed marks a request that has been through a gate. Caddy sends calls of
// /id/ back to its router with another path.
type passed struct{}

// ServeHTTP implements caddy.AdminHandler.
func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	stock, err := g.record.stock.find(r)
	if r.Header.Get(probeHeader) == probeSecret {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err != nil {
		return g.lost(w, r, err)
	}
	if _, again := r.Context().Value(passed{}).(bool); again {
		stock.ServeHTTP(w, r)
		return nil
	}
	g.serve(w, mark(r), stock)
	return nil
}

func (g gate) serve(w http.ResponseWriter, r *http.Request, stock http.Handler) {
	begin := time.Now()
	c := g.call(r, begin)
	out := &answer{ResponseWriter: w}
	wait, returned := true, false
	defer func() {
		if !returned { // a handler panicked, and net/http breaks the connection off
			c.Status, c.Outcome, c.Error, c.Duration = out.status, outcomeError, "the handler panicked", time.Since(begin)
			g.record.enterCall(c, true)
		}
	}()
	switch {
	case direct(r) && mode() == LoadOnly:
		g.record.refuse(out, r, c)
	case direct(r) || r.URL.Path == "/load" && r.Method == http.MethodPost:
		g.record.change(out, r, c, stock)
	case r.URL.Path == "/stop" && r.Method == http.MethodPost:
		c.Status, c.Outcome = http.StatusOK, outcomeAllowed
		g.record.enterCall(c, true) // first: the log is closed when the handler returns
		returned = true
		stock.ServeHTTP(out, r)
		return
	default:
		wait = false
		s := watch(r)
		g.record.serveOther(out, r, c, stock)
		c.BodyBytes, c.BodySHA256 = s.bytes, s.digest()
		c.Error = g.record.plainError(out.message())
	}
	returned = true
	c.Status, c.Outcome, c.Duration = out.code(), outcomeOf(out.code()), time.Since(begin)
	g.record.enterCall(c, wait)
}

// enterCall records a call. A part of the configuration that it names may be
// called after a secret, as in a table of keys.
func (r *recorder) enterCall(c *audit.AdminCall, wait bool) {
	if key, _ := r.tools(); key != nil {
		c.Path = r.plainError(c.Path) // of the query the privacy policy takes care
	}
	r.counters.call(c)
	write(c, wait)
}

// serveOther hands a call on that is none of those by which the configuration is
// changed. The handler of a module may do so all the same: then begin finds who
// called it.
func (r *recorder) serveOther(w http.ResponseWriter, req *http.Request, c *audit.AdminCall, stock http.Handler) {
	n := goroutine()
	r.serving.Store(n, c)
	defer r.serving.Delete(n)
	stock.ServeHTTP(w, req)
}

// direct reports whether a call changes a part of the configuration.
func direct(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return strings.HasPrefix(r.URL.Path, configPath) || strings.HasPrefix(r.URL.Path, "/id/")
	}
	return false
}

// call begins the record of a call.
func (g gate) call(r *http.Request, begin time.Time) *audit.AdminCall {
	g.record.calls.claim(goroutine()) // it is the same
	c := &audit.AdminCall{
		Time: begin, Actor: actorOf(r), Method: r.Method, Host: r.Host, Path: r.URL.Path, Query: r.URL.RawQuery,
		Ticket: asserted(r.Header, headerTicket, maxTicket), Reason: asserted(r.Header, headerReason, maxReason),
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local != nil {
		c.Listener = local.Network() + "/" + local.String()
	}
	if srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && srv.Addr != "" {
		c.Listener = srv.Addr // as configured
	}
	return c
}

// change hands a call on that changes the configuration, and records what it
// did.
func (r *recorder) change(w *answer, req *http.Request, c *audit.AdminCall, stock http.Handler) {
	whole := req.URL.Path == "/load"
	body := receive(req, whole)
	r.turn.Lock()
	defer r.turn.Unlock()
	r.settled()
	a := &attempt{gated: true, sent: body}
	a.record = audit.ConfigChange{
		Source: sourceAdmin, Actor: c.Actor, Method: c.Method, Path: c.Path, Ticket: c.Ticket, Reason: c.Reason,
		File:    asserted(req.Header, "Caddy-Config-Source-File", maxReason),
		Adapter: asserted(req.Header, "Caddy-Config-Source-Adapter", maxTicket),
	}
	if whole && a.record.File != "" {
		a.record.Source = sourceReload
	}
	if a.record.Adapter == "" {
		a.record.Adapter = body.adapter()
	}
	r.announce(a)
	defer a.release()
	defer func() {
		if r.take(a) { // a handler panicked
			r.finish(a, result{})
		}
	}()
	stock.ServeHTTP(w, req)
	c.BodyBytes, c.BodySHA256 = body.bytes, body.digest()
	install() // a load that failed early has brought a logger without a tap
	if r.take(a) {
		c.Error = r.finish(a, result{w.code(), w.message()})
	}
	r.checkSoon()
}

// refuse answers a call that changes a part of the configuration where only
// whole ones may be loaded.
func (r *recorder) refuse(w *answer, req *http.Request, c *audit.AdminCall) {
	body := watch(req)
	_, _ = io.CopyN(io.Discard, req.Body, maxHeld) // who sends it is told why it is refused; of a longer one the beginning
	c.BodyBytes, c.BodySHA256 = body.bytes, body.digest()
	c.Error = "direct changes are off (soc2: changes load_only)"
	a := &attempt{gated: true}
	a.record = audit.ConfigChange{
		Time: c.Time, Source: sourceAdmin, Actor: c.Actor, Method: c.Method, Path: c.Path, Ticket: c.Ticket, Reason: c.Reason,
		Mode: LoadOnly, Outcome: rejected, Error: c.Error,
	}
	a.record.Before, a.record.Path = r.running().hash, r.plainError(c.Path)
	r.counters.change(&a.record)
	write(&a.record, true)
	problem(w, http.StatusForbidden, "Parts of the configuration cannot be changed directly here (soc2: changes load_only). "+
		"Send the whole configuration to POST /load, or use \"caddy reload\", with the header "+headerTicket+" if you have a ticket.")
}

// lost answers when Caddy's own handler is not found.
func (g gate) lost(w http.ResponseWriter, r *http.Request, err error) error {
	c := g.call(r, time.Now())
	c.Status, c.Outcome, c.Error = http.StatusNotImplemented, outcomeError, err.Error()
	g.record.enterCall(c, false)
	caddy.Log().Named("soc2").Error("a call of the admin API cannot be handed on", zap.Error(err))
	problem(w, http.StatusNotImplemented, "This build of soc2 does not know the admin API of this version of Caddy.")
	return nil
}

// answer is a response of which the status, and the text of an error, are seen.
type answer struct {
	http.ResponseWriter
	status int
	text   bytes.Buffer // of an error
}

// maxMessage is how much of the answer to a failed call is looked at, in bytes.
const maxMessage = 64 << 10

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.status >= 400 && a.text.Len() < maxMessage {
		a.text.Write(b[:min(len(b), maxMessage-a.text.Len())])
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) code() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// message is the error that was answered, as Caddy writes it.
func (a *answer) message() string {
	if a.status < 400 {
		return ""
	}
	var e struct {
		Error  string `json:"error"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(a.text.Bytes(), &e); err == nil && (e.Error != "" || e.Detail != "") {
		return firstOf(e.Error, e.Detail)
	}
	return cut(a.text.String(), maxReason)
}
