package happenings

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

// gate notes in the record of a request in what its connection is below the
// floor for TLS, and refuses it if the floor is enforced.
//
// The status is 421 (RFC 9110, section 15.5.20). What is wrong is the
// connection: over another one the same request, from the same client, may be
// in order. 403 would say that whoever asks may not have it. As the section
// wants, a client that can do better may try again over a new connection, so
// this one is closed.
//
// It stands inside of the handlers soc2_audit and soc2_headers, so that the
// refusal is recorded and has its security headers.
type gate struct {
	rules   *tlsfloor.Rules
	floor   *tlsfloor.Floor
	enforce bool
}

// rule is the name of the gate in the access decision of a record.
const gateRule = "soc2 tls"

// CaddyModule returns the Caddy module information, for the name that Caddy's
// metrics have for the route. The module is not registered.
func (g *gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.soc2_tls", New: func() caddy.Module { return g }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	below := g.floor.Below(r.TLS, r.Host)
	if below == 0 {
		return next.ServeHTTP(w, r)
	}
	ev := audit.FromContext(r.Context())
	ev.SetBelow(below.Names())
	if !g.enforce {
		return next.ServeHTTP(w, r)
	}
	reason := "below the floor: " + strings.Join(below.Names(), ", ")
	ev.SetAccess(audit.Decision{Outcome: "deny", Rule: gateRule, Reason: reason})
	if r.ProtoMajor < 3 { // HTTP/3 has no such field (RFC 9114, section 4.2)
		w.Header().Set("Connection", "close") // of HTTP/2 Go's server makes a GOAWAY
	}
	return caddyhttp.Error(http.StatusMisdirectedRequest, errors.New("what the connection negotiated is "+reason))
}

// fill gives the connection policies of a server that is being provisioned what
// they say nothing about. A policy that says less than the floor was refused
// before. Of the policies, some are made by Caddy: by automatic HTTPS where none
// is given, and by the Caddyfile adapter for names that no site has, which
// nobody could put options to.
func (g *gate) fill(srv *caddyhttp.Server) {
	if !g.enforce {
		return
	}
	for _, p := range srv.TLSConnPolicies {
		if p.ProtocolMin == "" {
			p.ProtocolMin = "tls" + g.rules.FillMin()
		}
		if len(p.CipherSuites) == 0 {
			p.CipherSuites = g.rules.FillSuites()
		}
		if len(p.Curves) == 0 {
			p.Curves = g.rules.FillGroups()
		}
	}
}

// gateOf returns the gate of the app's floor for TLS, or nil if it has none.
func gateOf(ctx caddy.Context) (*gate, error) {
	app, err := ctx.AppIfConfigured("soc2")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil //nolint:nilnil // the handlers will say what is missing
	}
	if err != nil {
		return nil, err
	}
	floored, ok := app.(interface {
		TLSFloor() (rules *tlsfloor.Rules, enforce bool)
	})
	if !ok {
		return nil, fmt.Errorf("the app soc2 is a %T, which has no floor for TLS", app)
	}
	rules, enforce := floored.TLSFloor()
	if rules == nil {
		return nil, nil //nolint:nilnil // none is configured
	}
	return &gate{rules, rules.Floor(), enforce}, nil
}

var _ caddyhttp.MiddlewareHandler = (*gate)(nil)
