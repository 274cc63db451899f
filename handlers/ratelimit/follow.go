package ratelimit

import (
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
	"github.com/caddy-soc2/caddy-soc2/internal/response"
)

// watcher sees what a response is charged by, and sets the fields of admitted
// responses when their header leaves, so that a cache inside never stores them.
type watcher struct {
	response.Writer

	handler  *Handler
	turn     *turn
	bytes    int64
	declared []string // what the upstream says that the request costs, for each zone
	failed   int      // status of an error that an error route will answer
}

// commit runs before the header leaves.
func (w *watcher) commit(int) {
	header := w.Header()
	for i, z := range w.turn.zones {
		if c := z.Charge; c != nil && c.Header != "" {
			if w.declared == nil {
				w.declared = make([]string, len(w.turn.zones))
			}
			w.declared[i] = header.Get(c.Header)
		}
	}
	for i := range w.declared { // several zones may read one field
		if c := w.turn.zones[i].Charge; c != nil && c.Header != "" {
			header.Del(c.Header)
		}
	}
	w.tell(header)
}

// tell sets the fields of limits if that is wanted.
func (w *watcher) tell(header http.Header) {
	h := w.handler
	if !h.Always || h.Headers == headersOff || !w.turn.enforced() {
		return
	}
	if !fresh(header) {
		dropFields(header)
		return
	}
	h.limitFields(header, w.turn, make([]string, 3))
}

// status is the status that the response has, or will have.
func (w *watcher) status() int {
	switch {
	case w.Committed():
		return w.Status()
	case w.failed != 0:
		return w.failed
	}
	return http.StatusOK
}

// Write counts.
func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom counts.
func (w *watcher) ReadFrom(src io.Reader) (int64, error) {
	n, err := w.Writer.ReadFrom(src)
	w.bytes += n
	return n, err
}

// follow serves a request that counts as under way, or whose response matters.
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, t *turn) error {
	if !h.wraps {
		defer h.leave(t) // also if a handler panics
		return next.ServeHTTP(w, r)
	}
	watch := &watcher{handler: h, turn: t}
	watch.ResponseWriter, watch.OnCommit = w, watch.commit
	returned := false
	defer func() {
		// A handler that panics, as a proxy does when its client has left, has
		// sent what it has sent. If that is nothing, what was set aside is spent.
		t.settle(watch, returned || watch.Committed())
		watch.turn = new(turn) // somebody may still write
		h.leave(t)
	}()
	err := next.ServeHTTP(watch, r)
	returned = true
	if !watch.Committed() {
		if err != nil {
			watch.failed = errorStatus(err)
		}
		watch.commit(0) // what is answered now goes past the watcher
	}
	return err
}

// leave ends a request: it is no longer under way.
func (h *Handler) leave(t *turn) {
	for i := range t.asks {
		t.asks[i].Release()
	}
	h.turns.Put(t)
}

// settle charges what the response turned out to cost, or what was set aside if
// that is not known.
func (t *turn) settle(w *watcher, known bool) {
	now := limiter.Now()
	for i, z := range t.zones {
		a := &t.asks[i]
		if z.Charge == nil || a.Verdict != limiter.Allowed {
			continue
		}
		cost := a.Cost
		if known {
			declared := ""
			if w.declared != nil {
				declared = w.declared[i]
			}
			cost = z.Charge.of(w.status(), w.bytes, declared, a.Cost)
		}
		a.Settle(now, cost)
	}
}

func errorStatus(err error) int {
	var e caddyhttp.HandlerError
	if errors.As(err, &e) && e.StatusCode != 0 {
		return e.StatusCode
	}
	return http.StatusInternalServerError
}

// Interface guards
var (
	_ http.ResponseWriter = (*watcher)(nil)
	_ io.ReaderFrom       = (*watcher)(nil)
)
