package happenings

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// plainStatus answers an error with its status alone, as Caddy's server does
// where there are no error routes. Where there are some, Caddy takes an error
// that wraps one with a status for one without, and sends 500.
type plainStatus struct{}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (plainStatus) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	status := http.StatusInternalServerError
	if err, ok := r.Context().Value(caddyhttp.ErrorCtxKey).(error); ok {
		if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && he.StatusCode != 0 {
			status = he.StatusCode
		}
	}
	w.WriteHeader(status)
	return nil
}

var _ caddyhttp.MiddlewareHandler = plainStatus{}
