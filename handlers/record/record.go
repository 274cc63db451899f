// Package record is the handler that keeps one audit record for each request.
package record

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Recorder keeps records. It is all that this handler asks of the soc2 app.
type Recorder interface {
	// Begin returns why no request may be served, or nil: then the log stays
	// open until Record.
	Begin() error
	// Intent appends what is known of a request before it is served, if the
	// log is kept so. If it fails the request must not be served.
	Intent(ev *audit.Event) error
	// Opening appends that a handler is about to take the connection over. If
	// it fails the connection must not be given.
	Opening(ev *audit.Event) error
	// WantsHeaders reports whether records can have header fields.
	WantsHeaders() bool
	// Record appends the record of a request that Begin let in. When it
	// returns nil the response may end. The header fields are those of the
	// request as it arrived, if they are wanted, and of the response. It may
	// change the event.
	Record(ev *audit.Event, request, response http.Header) error
	// Withholds reports whether a response must not end before Record
	// returned.
	Withholds() bool
}

// Handler opens an audit record for the request, lets the handlers inside
// annotate it, and appends it to the log when the response is complete. It
// belongs outermost. The listener wrapper caddy.listeners.soc2 puts it there in
// every route chain and error chain of a server; where it is also given by hand
// inside such a chain, it joins the record that is already open. On a server
// without the wrapper, the record of a request that ended in an error has the
// error's status, whatever an error route makes of it.
//
// Unless the log's mode is async, the client does not get the end of a response
// before the record is on disk: what net/http still buffers is held back by
// the handler not returning, and of a body with a Content-Length the last byte
// is held back. A connection that a handler takes over, as for a WebSocket, has
// a record of its opening before the client hears of it, and one of its end.
type Handler struct {
	// Covered says that the server's error chain has this handler too, so
	// that the record of a request whose handlers returned an error is
	// completed there, with the status that the error chain sends. The listener
	// wrapper sets it; by hand it is rarely right. Default: false.
	Covered bool `json:"covered,omitempty"`

	// LogErrors says that the server has no error routes but those of the
	// listener wrapper, so that Caddy's server, which takes an error for handled
	// where there are any, keeps errors of status 500 and above at the level
	// DEBUG. They are then written to the log http.log.error at the level ERROR
	// here, as Caddy does without error routes. The listener wrapper sets it.
	// Default: false.
	LogErrors bool `json:"log_errors,omitempty"`

	recorder Recorder
	errors   *zap.Logger // http.log.error
	now      func() time.Time
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_audit",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the log.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.now, h.errors = time.Now, ctx.Logger(caddyhttp.App{}).Named("log.error")
	app, err := ctx.AppIfConfigured("soc2")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("soc2_audit needs the audit log: add a soc2 block to the global options, or \"soc2\" to the apps")
	}
	if err != nil {
		return err
	}
	recorder, ok := app.(Recorder)
	if !ok {
		return fmt.Errorf("the app soc2 is a %T, which keeps no records", app)
	}
	h.recorder = recorder
	return nil
}

// exchangeKey is where the open exchange lies in the request's variables,
// which the route chain and the error chain share.
const exchangeKey = "soc2.exchange"

// exchange is a request with its open record.
type exchange struct {
	audit.Event
	writer  writer
	handler *Handler      // that opened it
	request *http.Request // as it was then
	header  http.Header   // the request's, as it arrived; nil unless wanted
	fields  []field       // the same, for a line of the log of errors
	active  bool          // a handler in the call stack will complete the record
	done    bool          // the record was completed
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	x, _ := caddyhttp.GetVar(r.Context(), exchangeKey).(*exchange)
	if x != nil && (x.active || x.done) || invented(r) {
		return next.ServeHTTP(w, r) // joins the record that there is
	}
	if x == nil {
		if err := h.recorder.Begin(); err != nil {
			return refuse(w)
		}
		x = h.open(w, r)
		if err := h.recorder.Intent(&x.Event); err != nil {
			x.done, x.Status, x.End = true, http.StatusServiceUnavailable, audit.EndComplete
			_ = h.record(x) // if the log is back, it says that the request was refused
			return refuse(w)
		}
	}
	x.active = true
	return h.serve(x, r.WithContext(audit.NewContext(r.Context(), &x.Event)), next)
}

// invented reports whether no client sent the request, but a handler that
// serves a part of a page, such as httpInclude of templates. It belongs to the
// request that the page is for.
func invented(r *http.Request) bool {
	return r.Context().Value(http.LocalAddrContextKey) == nil
}

// open begins the record of a request.
func (h *Handler) open(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{}
	x.Start = h.now()
	x.ID = audit.NewID(x.Start)
	if h.recorder.WantsHeaders() {
		x.header, x.writer.keeps = r.Header.Clone(), true
	}
	if h.LogErrors {
		x.fields = fieldsOf(r.Header)
	}
	describe(&x.Event, r)
	id := x.ID.String()
	x.writer.init(w, r, id, h.recorder.Withholds())
	x.writer.owner, x.handler, x.request = x, h, r
	r.Header.Set(requestIDHeader, id) // to the upstream
	caddyhttp.SetVar(r.Context(), exchangeKey, x)
	return x
}

// opening records that the connection is about to be taken over.
func (x *exchange) opening(status int) error {
	x.finish(x.request, x.handler.now())
	x.Status = status
	return x.handler.recorder.Opening(&x.Event)
}

// serve runs the handlers inside and completes the record, unless an error
// chain will.
func (h *Handler) serve(x *exchange, r *http.Request, next caddyhttp.Handler) (err error) {
	returned := false
	defer func() {
		x.active = false
		if returned {
			return
		}
		cause := recover() // nil is the goroutine's exit
		x.panicked(r, cause, h.now())
		x.done = true
		_ = h.record(x)
		if cause != nil {
			panic(cause) // net/http breaks the connection; its log has both stacks
		}
	}()
	err = next.ServeHTTP(&x.writer, r)
	returned = true
	if err != nil && h.Covered && !inErrorChain(r) {
		return err
	}
	x.complete(r, err, h.now())
	x.done = true
	if h.LogErrors && err == nil {
		h.logError(x, r)
	}
	if rerr := h.record(x); rerr != nil {
		return h.withdraw(x, err)
	}
	x.writer.release()
	return err
}

// record appends the record of a request.
func (h *Handler) record(x *exchange) error {
	return h.recorder.Record(&x.Event, x.header, x.writer.sentHeader())
}

// withdraw keeps the client from taking a response without a record for
// complete. What has left cannot be taken back; the connection is broken
// instead, so that the end is missing.
func (h *Handler) withdraw(x *exchange, err error) error {
	switch {
	case !h.recorder.Withholds() || x.writer.Hijacked():
		return err
	case !x.writer.Committed():
		return refuse(x.writer.ResponseWriter)
	}
	panic(http.ErrAbortHandler)
}

func inErrorChain(r *http.Request) bool {
	_, ok := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	return ok
}

// refusal is the body of a response that says that there is no service without
// a log (RFC 9457).
const refusal = `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The audit log cannot take records, and this server does not serve without one."}` + "\n"

// refuse answers 503 itself, so that no error route can make a success of it,
// or count it once more, too. Why is in the server's log, once and not once a
// request.
func refuse(w http.ResponseWriter) error {
	h := w.Header()
	clear(h) // what handlers meant for another response, and Caddy's Server
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "10")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(refusal)) // a client that has gone has its answer
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
