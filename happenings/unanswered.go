package happenings

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// unanswered gives requests that nothing answers a status. Caddy answers them
// with an empty 200: those of a host that no site has, and those of a site for
// which none of its handlers writes a response. It makes an error of them, with
// itself as the status, so that a site's error routes apply.
//
// It stands inside of the handler soc2_headers, which takes a response that
// nobody has written when it returns for one of 200.
type unanswered int

// CaddyModule returns the Caddy module information, for the name that Caddy's
// metrics have for the route. The module is not registered.
func (status unanswered) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.soc2_unmatched", New: func() caddy.Module { return status }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (status unanswered) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	err := next.ServeHTTP(w, r)
	if err != nil {
		return err
	}
	// Caddy marks a request that reaches the end of the routes, but a handler
	// on the way may have written something before or after that.
	if end, _ := caddyhttp.GetVar(r.Context(), "unhandled").(bool); !end {
		return nil
	}
	if rw, ok := w.(interface{ Committed() bool }); !ok || rw.Committed() {
		return nil
	}
	return caddyhttp.Error(int(status), errors.New("no route answers the request"))
}

// unmatchedStatus returns the status that the app chooses for requests that
// nothing answers.
func unmatchedStatus(ctx caddy.Context) (int, error) {
	app, err := ctx.AppIfConfigured("soc2")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return http.StatusOK, nil // the handlers will say what is missing
	}
	if err != nil {
		return 0, err
	}
	chooser, ok := app.(interface{ UnmatchedStatus() int })
	if !ok {
		return 0, fmt.Errorf("the app soc2 is a %T, which chooses no status for unmatched requests", app)
	}
	return chooser.UnmatchedStatus(), nil
}

var _ caddyhttp.MiddlewareHandler = unanswered(0)
