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
	declared string // what the upstream says that the request costs
	failed   int    // status of an error that an error route will answer
}

// commit runs before the header leaves.
func (w *watcher) commit(int) {
	header := w.Header()
	for _, z := range w.turn.zones {
		if c := z.Charge; c != nil && c.Header != "" {
			if v := header.Get(c.Header); v != "" {
				w.declared = v
				header.Del(c.Header)
			}
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
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, t *turn) (err error) {
	defer func() { // also if a handler panics: then what was set aside stays spent
		for i := range t.asks {
			t.asks[i].Release()
		}
		h.turns.Put(t)
	}()
	if !h.wraps {
		return next.ServeHTTP(w, r)
	}
	watch := &watcher{handler: h, turn: t}
	watch.ResponseWriter, watch.OnCommit = w, watch.commit
	err = next.ServeHTTP(watch, r)
	if !watch.Committed() {
		if err != nil {
			watch.failed = errorStatus(err)
		}
		watch.commit(0) // what is answered now goes past the watcher
	}
	t.settle(watch)
	watch.turn = &turn{} // somebody may still write
	return err
}

// settle charges what the response turned out to cost.
func (t *turn) settle(w *watcher) {
	for i, z := range t.zones {
		if a := &t.asks[i]; z.Charge != nil && a.Verdict == limiter.Allowed {
			a.Settle(limiter.Now(), z.Charge.of(w, a.Cost))
		}
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
