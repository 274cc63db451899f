// Package happenings holds the taps on what happens in Caddy outside of a
// handler's sight.
package happenings

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/happenings/wire"
)

// Coverage is a listener wrapper that makes a server record every response
// which comes out of a handler chain, and enforce its security headers, without
// a directive in any site. List it before tls:
//
//	servers {
//		listener_wrappers {
//			soc2
//			tls
//		}
//	}
//
// Caddy provisions the listener wrappers of a server before its routes. At that
// moment the wrapper puts the handlers soc2_audit and soc2_headers in front of
// the server's routes and of its error routes, which are made if there are
// none. Sites, unmatched requests, redirects, 4xx and 5xx responses and the
// refusals that Caddy makes before any route (400, 405, 421) then all pass
// through them. The handlers do not show in the configuration that the admin
// API returns.
//
// What Caddy does only where there are no error routes stays so on a server that
// had none: an error is answered with its status alone, and one of status 500
// and above is in the log http.log.error. A request that nothing answers gets
// the status that the app chooses, and one whose connection is below the app's
// floor for TLS is refused.
type Coverage struct {
	// Framing is what happens with requests over HTTP/1 that another server might
	// see end elsewhere: those with both Content-Length and Transfer-Encoding,
	// with different values of Content-Length, with Transfer-Encoding in HTTP/1.0,
	// and with header lines that continue others (RFC 9112, sections 5.2, 6.1 and
	// 6.3). enforce answers 400 and closes the connection, report counts them and
	// serves those that Caddy would, off does not look. Default: enforce.
	Framing string `json:"framing,omitempty"`
}

var framings = map[string]wire.Framing{"": wire.Enforce, "enforce": wire.Enforce, "report": wire.Report, "off": wire.Pass}

// CaddyModule returns the Caddy module information.
func (*Coverage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.soc2",
		New: func() caddy.Module { return new(Coverage) },
	}
}

// Provision puts the handlers into the server at hand.
func (c *Coverage) Provision(ctx caddy.Context) error {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("the listener wrapper soc2 belongs in an HTTP server, in servers > listener_wrappers")
	}
	if covers(srv.Routes) {
		return errors.New("the listener wrapper soc2 is listed twice for one server")
	}
	framing, ok := framings[c.Framing]
	if !ok {
		return fmt.Errorf("the listener wrapper soc2: framing %q: choose enforce, report or off", c.Framing)
	}
	status, err := unmatchedStatus(ctx)
	if err != nil {
		return err
	}
	gate, err := gateOf(ctx)
	if err != nil {
		return err
	}
	bare := srv.Errors == nil || len(srv.Errors.Routes) == 0
	var redirects *caddyhttp.Server
	app := httpApp(ctx)
	if app != nil {
		redirects = absorbRedirects(app, srv)
	}
	if status != http.StatusOK {
		srv.Routes = slices.Insert(srv.Routes, 0, caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{unanswered(status)}})
	}
	if gate != nil {
		gate.fill(srv)
		srv.Routes = slices.Insert(srv.Routes, 0, caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{gate}})
	}
	srv.Routes = slices.Insert(srv.Routes, 0, outermost(bare))
	if srv.Errors == nil {
		srv.Errors = new(caddyhttp.HTTPErrorConfig)
	}
	switch {
	case bare:
		srv.Errors.Routes = append(srv.Errors.Routes, plainly(nil))
	case redirects != nil: // an error on the HTTP port is none of the sites' error pages'
		srv.Errors.Routes = slices.Insert(srv.Errors.Routes, 0, plainly(caddyhttp.MatcherSets{{portOf(app)}}))
	}
	srv.Errors.Routes = slices.Insert(srv.Errors.Routes, 0, outermost(bare))
	wire.Watch(srv, framing)
	if framing != wire.Pass {
		lookIntoTLS(srv)
	}
	return nil
}

// marker is the handler that marks a covered server.
type marker struct {
	Handler   string `json:"handler"`
	Covered   bool   `json:"covered"`
	LogErrors bool   `json:"log_errors,omitempty"`
}

// outermost is a route that all requests take and leave. On a bare server,
// which has no error routes of its own, it logs errors.
func outermost(bare bool) caddyhttp.Route {
	return caddyhttp.Route{
		MatcherSets: caddyhttp.MatcherSets{{wire.Entered{}}},
		HandlersRaw: []json.RawMessage{
			caddyconfig.JSON(marker{Handler: "soc2_audit", Covered: true, LogErrors: bare}, nil),
			json.RawMessage(`{"handler":"soc2_headers"}`),
		},
	}
}

func covers(routes caddyhttp.RouteList) bool {
	if len(routes) == 0 || len(routes[0].HandlersRaw) == 0 {
		return false
	}
	var m marker
	return json.Unmarshal(routes[0].HandlersRaw[0], &m) == nil && m.Handler == "soc2_audit" && m.Covered
}

// redirectServer is Caddy's name for the server that it adds for those HTTP to
// HTTPS redirects whose address no configured server listens on
// (automatic HTTPS, phase 1).
const redirectServer = "remaining_auto_https_redirects"

// absorbRedirects moves the listeners and routes of that server, which has no
// listener wrappers and so no coverage, into srv. By now the server exists, but
// its turn to be provisioned may have been before or may come after: out of the
// map it matters in neither case. It returns the server that it took apart.
//
// Of several servers the first by name takes the redirects, so that a
// configuration always gives the same records. The listeners speak HTTP/1.1
// without TLS, as before: Caddy terminates no TLS on the HTTP port, whatever
// the server's policies are. The moved routes answer every request that comes
// in on that port, and no other.
func absorbRedirects(app *caddyhttp.App, srv *caddyhttp.Server) *caddyhttp.Server {
	redirects, ok := app.Servers[redirectServer]
	if !ok || redirects == srv || len(srv.TLSConnPolicies) == 0 || earlierTakes(app, srv) {
		return nil
	}
	delete(app.Servers, redirectServer)
	if srv.ListenProtocols == nil {
		srv.ListenProtocols = make([][]string, len(srv.Listen)) // nil: what the server speaks
	}
	for range redirects.Listen {
		srv.ListenProtocols = append(srv.ListenProtocols, []string{"h1"})
	}
	srv.Listen = append(srv.Listen, redirects.Listen...)
	for i := range redirects.Routes {
		sets := redirects.Routes[i].MatcherSets
		for j := range sets {
			sets[j] = append(slices.Clip(sets[j]), portOf(app))
		}
	}
	srv.Routes = slices.Concat(redirects.Routes, srv.Routes)
	return redirects
}

// earlierTakes reports whether a covered server that comes before srv by name
// is still to be provisioned and will take the redirects. One that was
// provisioned has taken them.
func earlierTakes(app *caddyhttp.App, srv *caddyhttp.Server) bool {
	name := srv.Name()
	for other, s := range app.Servers {
		if other >= name || len(s.TLSConnPolicies) == 0 {
			continue
		}
		for _, raw := range s.ListenerWrappersRaw {
			var w struct {
				Wrapper string `json:"wrapper"`
			}
			if json.Unmarshal(raw, &w) == nil && w.Wrapper == "soc2" {
				return true
			}
		}
	}
	return false
}

// port matches requests that came in on a port. A request that a handler makes
// up to serve a part of a page has no port.
type port string

func portOf(app *caddyhttp.App) port {
	return port(strconv.Itoa(cmp.Or(app.HTTPPort, caddyhttp.DefaultHTTPPort)))
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (p port) MatchWithError(r *http.Request) (bool, error) {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || addr == nil {
		return false, nil
	}
	_, on, err := net.SplitHostPort(addr.String())
	return err == nil && on == string(p), nil
}

// plainly is a route that answers errors with their status alone.
func plainly(match caddyhttp.MatcherSets) caddyhttp.Route {
	return caddyhttp.Route{MatcherSets: match, Handlers: []caddyhttp.MiddlewareHandler{plainStatus{}}}
}

// httpApp is the app whose server is being provisioned.
func httpApp(ctx caddy.Context) *caddyhttp.App {
	for _, m := range ctx.Modules() {
		if app, ok := m.(*caddyhttp.App); ok {
			return app
		}
	}
	return nil
}

// WrapListener counts the connections that bring no request, and the requests
// that reach no handler.
func (*Coverage) WrapListener(ln net.Listener) net.Listener { return wire.All.Listen(ln) }

// UnmarshalCaddyfile implements caddyfile.Unmarshaler:
//
//	soc2 {
//		framing enforce|report|off
//	}
func (c *Coverage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the wrapper's name
	if d.NextArg() {
		return d.Errf("the listener wrapper soc2 takes no argument, but has %q", d.Val())
	}
	for d.NextBlock(0) {
		if d.Val() != "framing" {
			return d.Errf("the listener wrapper soc2 has no option %q; it has framing", d.Val())
		}
		if c.Framing != "" || !d.AllArgs(&c.Framing) {
			return d.Err("framing takes one of enforce, report and off, once")
		}
		if _, ok := framings[c.Framing]; !ok {
			return d.Errf("framing %q: choose enforce, report or off", c.Framing)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Coverage)(nil)
	_ caddy.ListenerWrapper = (*Coverage)(nil)
	_ caddyfile.Unmarshaler = (*Coverage)(nil)

	_ caddyhttp.RequestMatcherWithError = port("")
)
