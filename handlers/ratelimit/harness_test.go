package ratelimit

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// parse reads a Caddyfile block, through JSON as the adapter does.
func parse(t testing.TB, block string) (*Handler, error) {
	t.Helper()
	var h Handler
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("soc2_rate_limit {\n" + block + "\n}")); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	var loaded Handler
	if err := json.Unmarshal(raw, &loaded); err != nil {
		t.Fatal(err)
	}
	return &loaded, nil
}

// provision makes a handler ready in a configuration of its own, which ends with
// the test, or when end is called.
func provision(t testing.TB, block string) (h *Handler, end func(), err error) {
	t.Helper()
	if h, err = parse(t, block); err != nil {
		return nil, nil, err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	ended := false
	end = func() {
		if !ended {
			ended = true
			cancel()
			if err := h.Cleanup(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(end)
	return h, end, h.Provision(ctx)
}

func ready(t testing.TB, block string) *Handler {
	t.Helper()
	h, _, err := provision(t, block)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// site is what a handler protects.
type site struct {
	t       testing.TB
	handler *Handler
	next    caddyhttp.HandlerFunc // default: 200
	served  int
	event   audit.Event
}

func (s *site) do(method, target, from string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = from
	for _, f := range edit {
		f(r)
	}
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	s.event = audit.Event{}
	r = r.WithContext(audit.NewContext(r.Context(), &s.event))
	err := s.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		s.served++
		if s.next != nil {
			return s.next(w, r)
		}
		_, err := io.WriteString(w, "ok")
		return err
	}))
	if err != nil {
		w.WriteHeader(errorStatus(err))
	}
	return w
}

// get returns the status of a request from an address.
func (s *site) get(target, from string, edit ...func(*http.Request)) int {
	s.t.Helper()
	return s.do(http.MethodGet, target, from, edit...).Code
}

// admitted counts how many of n requests are served.
func (s *site) admitted(n int, target, from string, edit ...func(*http.Request)) (ok int) {
	s.t.Helper()
	for range n {
		if s.get(target, from, edit...) == http.StatusOK {
			ok++
		}
	}
	return ok
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

const (
	alice = "192.0.2.1:4000"
	bob   = "192.0.2.2:4000"
)
