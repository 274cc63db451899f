package changes

import (
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Admin is the part of the admin API that records its calls. Caddy makes one
// for each admin server of each configuration that it loads, even of one that
// has no soc2 app, and never cleans it up.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.soc2_changes",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Provision takes note that a configuration is being loaded.
func (*Admin) Provision(ctx caddy.Context) error {
	Begin(ctx, true)
	return nil
}

// stockPatterns are those of Caddy's admin API that no module has.
var stockPatterns = []string{configPath, "/id/", "/stop", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/profile", "/debug/pprof/symbol", "/debug/pprof/trace", "/debug/vars"}

// gatedMethods are those that have a gate. GET is HEAD too.
var gatedMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	var routes []caddy.AdminRoute
	for _, pattern := range gatePatterns() {
		routes = append(routes, caddy.AdminRoute{Pattern: pattern, Handler: gate{process}})
	}
	return routes
}

// gatePatterns returns the patterns of the gates: one for each method of each
// pattern of the admin API. A pattern with a method wins over the same without
// it, but not over one of which it has a part: those cannot have a gate, and
// are tried out here because the router panics.
func gatePatterns() (list []string) {
	trial := http.NewServeMux()
	known := slices.Clone(stockPatterns)
	for _, m := range caddy.GetModules("admin.api") {
		known = append(known, patternsOf(m)...)
	}
	for _, pattern := range known {
		fits(trial, pattern)
	}
	for _, pattern := range known {
		if strings.ContainsAny(pattern, " {") {
			continue // has a method already, or values that would be lost
		}
		for _, method := range gatedMethods {
			if p := method + " " + pattern; fits(trial, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// patternsOf returns the patterns of a module, which was not provisioned. One
// that panics for that has none.
func patternsOf(m caddy.ModuleInfo) (list []string) {
	defer func() { _ = recover() }()
	if m.ID == new(Admin).CaddyModule().ID {
		return nil
	}
	router, ok := m.New().(caddy.AdminRouter)
	if !ok {
		return nil
	}
	for _, route := range router.Routes() {
		list = append(list, route.Pattern)
	}
	return list
}

// fits reports whether a pattern can be registered beside others.
func fits(mux *http.ServeMux, pattern string) (ok bool) {
	defer func() { ok = recover() == nil }()
	mux.Handle(pattern, http.NotFoundHandler())
	return true
}

// gated is a gate before a handler of this package.
func gated(h http.HandlerFunc) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		_, _ = process.stock.find(r) // learns the server; Caddy's handler is not needed
		if r.Header.Get(probeHeader) == probeSecret {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		gate{process}.serve(w, mark(r), h)
		return nil
	})
}

// Routes returns the routes of a module whose paths lie below those of another,
// as all of this project lie below /soc2/. The calls are recorded with what they
// were answered. Each method has a pattern of its own: beside patterns for any
// method the other module's paths could have no gates. An error of h is one of
// sending the answer.
func Routes(h caddy.AdminHandlerFunc, patterns ...string) (list []caddy.AdminRoute) {
	handler := gated(func(w http.ResponseWriter, r *http.Request) { _ = h(w, r) })
	for _, pattern := range patterns {
		for _, method := range gatedMethods {
			list = append(list, caddy.AdminRoute{Pattern: method + " " + pattern, Handler: handler})
		}
	}
	return list
}

func mark(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), passed{}, true))
}

// State is how changes are guarded and where the admin API listens.
type State struct {
	Mode     string   `json:"mode"`
	SHA256   string   `json:"config_sha256,omitempty"` // of the configuration that runs
	Endpoint Endpoint `json:"admin_endpoint"`
}

// Now returns the state.
func Now() State {
	process.mu.Lock()
	s := State{SHA256: process.version.hash, Endpoint: process.endpoint}
	process.mu.Unlock()
	s.Mode = mode()
	if s.Endpoint.State == "" {
		s.Endpoint.State = stateUnknown // not compared yet
	}
	return s
}

// Version returns a configuration that ran, as canonical JSON without its secrets,
// by the SHA-256 of that. The error is fs.ErrNotExist if it is not kept.
func Version(sha256 string) ([]byte, error) {
	_, h := process.tools()
	if h == nil {
		return nil, fs.ErrNotExist
	}
	return h.get(sha256)
}

// problem answers an error (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	sendJSON(w, status, "application/problem+json", struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(status), status, detail})
}

func sendJSON(w http.ResponseWriter, status int, kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{}`)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

// Interface guards
var (
	_ caddy.Module       = (*Admin)(nil)
	_ caddy.Provisioner  = (*Admin)(nil)
	_ caddy.AdminRouter  = (*Admin)(nil)
	_ caddy.AdminHandler = gate{}
)
