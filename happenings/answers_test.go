package happenings

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/response"
)

func request(w http.ResponseWriter) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
}

// TestErrorsHaveTheStatusThatCaddySendsWithoutErrorRoutes covers errors that wrap
// one with a status.
func TestErrorsHaveTheStatusThatCaddySendsWithoutErrorRoutes(t *testing.T) {
	for want, err := range map[int]error{
		404: caddyhttp.Error(404, nil),
		451: fmt.Errorf("a plugin says: %w", caddyhttp.Error(451, errors.New("no"))),
		500: errors.New("oops"),
	} {
		w := httptest.NewRecorder()
		r := (*caddyhttp.HTTPErrorConfig)(nil).WithError(request(w), err)
		if err := (plainStatus{}).ServeHTTP(w, r, nil); err != nil || w.Code != want {
			t.Errorf("%d, %v; want %d", w.Code, err, want)
		}
	}
}

// TestOnlyWhatNobodyAnsweredIsUnmatched tries what handlers may do on the way to
// the end of the routes.
func TestOnlyWhatNobodyAnsweredIsUnmatched(t *testing.T) {
	reach := func(r *http.Request) { caddyhttp.SetVar(r.Context(), "unhandled", true) } // as Caddy's last handler does
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		inner  caddyhttp.HandlerFunc
		status int // of the error; 0: none
	}{
		"nobody":                 {func(_ http.ResponseWriter, r *http.Request) error { reach(r); return nil }, 404},
		"a handler, with 200":    {func(http.ResponseWriter, *http.Request) error { return nil }, 0},
		"written before the end": {func(w http.ResponseWriter, r *http.Request) error { w.WriteHeader(204); reach(r); return nil }, 0},
		"written after the end":  {func(w http.ResponseWriter, r *http.Request) error { reach(r); w.WriteHeader(204); return nil }, 0},
		"only early hints":       {func(w http.ResponseWriter, r *http.Request) error { w.WriteHeader(103); reach(r); return nil }, 404},
		"an error":               {func(_ http.ResponseWriter, r *http.Request) error { reach(r); return failed }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			w := &response.Writer{ResponseWriter: httptest.NewRecorder()}
			err := unanswered(404).ServeHTTP(w, request(w), c.inner)
			he, _ := errors.AsType[caddyhttp.HandlerError](err)
			switch {
			case c.status == 0 && err != nil, c.status == 404 && he.StatusCode != 404, c.status == 500 && !errors.Is(err, failed):
				t.Errorf("%v", err)
			}
		})
	}
}
