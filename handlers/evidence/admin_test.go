package evidence

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func admin(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	router, ok := new(Admin).CaddyModule().New().(caddy.AdminRouter)
	if !ok {
		t.Fatal("the module is no router")
	}
	routes := router.Routes()
	if routes[0].Pattern != "/soc2/" {
		t.Fatalf("routes are %v", routes)
	}
	w := httptest.NewRecorder()
	if err := routes[0].Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil)); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAdminAnswersWithoutAnApp(t *testing.T) {
	for _, path := range []string{"/soc2/v1", "/soc2/v1/", "/soc2/v1/status", "/soc2/v1/healthz", "/soc2/v1/boundary", "/soc2/v1/log/checkpoint", "/soc2/v1/log/key", "/soc2/v1/log/records/0"} {
		isProblem(t, admin(t, http.MethodGet, path), http.StatusServiceUnavailable)
	}
	for _, path := range []string{"/soc2/", "/soc2/v2/", "/soc2/v1x", "/soc2/style.css"} {
		isProblem(t, admin(t, http.MethodGet, path), http.StatusNotFound)
	}
	isProblem(t, admin(t, http.MethodPost, "/soc2/v1/status"), http.StatusMethodNotAllowed)
}

func TestAPIAsksForItsSourceEachTime(t *testing.T) {
	var now Source
	api := NewAPI(func() (Source, error) {
		if now == nil {
			return nil, caddy.ErrNotConfigured
		}
		return now, nil
	})
	status := func() int {
		w := httptest.NewRecorder()
		api.Serve(w, httptest.NewRequest(http.MethodGet, "/x", nil), "/status")
		return w.Code
	}
	if got := status(); got != 503 {
		t.Errorf("before: status %d", got)
	}
	now = newBench(t)
	if got := status(); got != 200 {
		t.Errorf("after: status %d", got)
	}
}

func TestCaddyfile(t *testing.T) {
	for _, c := range []struct {
		input string
		want  Handler
		err   string
	}{
		{"soc2_evidence", Handler{}, ""},
		{"soc2_evidence {\n}", Handler{}, ""},
		{"soc2_evidence {\n allow_unauthenticated\n}", Handler{AllowUnauthenticated: true}, ""},
		{"soc2_evidence {\n prefix /audit\n allow_unauthenticated\n}", Handler{AllowUnauthenticated: true, Prefix: "/audit"}, ""},
		{"soc2_evidence /x {\n}", Handler{}, `no argument, but has "/x"`},
		{"soc2_evidence {\n alow\n}", Handler{}, `no option "alow": it has prefix, allow_unauthenticated, viewers, auditors and rate`},
		{"soc2_evidence {\n prefix\n}", Handler{}, "prefix takes one argument"},
		{"soc2_evidence {\n prefix /a /b\n}", Handler{}, "prefix takes one argument"},
		{"soc2_evidence {\n prefix audit\n}", Handler{}, "begin with a slash"},
		{"soc2_evidence {\n allow_unauthenticated yes\n}", Handler{}, `no argument, but has "yes"`},
	} {
		var h Handler
		err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(c.input))
		switch {
		case c.err == "" && (err != nil || !reflect.DeepEqual(h, c.want)):
			t.Errorf("%q: %+v, error %v", c.input, h, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), ":")):
			t.Errorf("%q: error %v, want one with %q", c.input, err, c.err)
		}
	}
}
