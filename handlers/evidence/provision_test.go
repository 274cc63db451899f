package evidence

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth" // registers the authenticator
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// The root package registers the handler where there is no test.
func init() { caddy.RegisterModule(new(Handler)) }

// provision provisions a handler on a server, in a configuration without the
// app.
func provision(t *testing.T, h *Handler, server *caddyhttp.Server) error {
	t.Helper()
	parent := context.Background()
	if server != nil {
		parent = context.WithValue(parent, caddyhttp.ServerCtxKey, server)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: parent})
	defer cancel()
	return h.Provision(ctx)
}

// server reads a server's configuration.
func server(t *testing.T, config string) *caddyhttp.Server {
	t.Helper()
	s := new(caddyhttp.Server)
	if err := json.Unmarshal([]byte(config), s); err != nil {
		t.Fatalf("%v in %s", err, config)
	}
	return s
}

const (
	evidenceRoute = `{"handle":[{"handler":"soc2_evidence"}]}`
	basicAuth     = `{"handler":"authentication","providers":{"http_basic":{}}}`
)

// subroute nests handlers two levels deep.
func subroute(handlers string) string {
	return `{"handle":[{"handler":"subroute","routes":[{"match":[{"path":["/.soc2/*"]}],"handle":[{"handler":"subroute","routes":[{"handle":[` + handlers + `]}]}]}]}]}`
}

func TestProvisionRefusesWhereNobodyCanBeAuthenticated(t *testing.T) {
	clientAuth := func(config string) string {
		return `{"tls_connection_policies":[{},{"match":{"sni":["a.example"]},"client_authentication":` + config + `}],"routes":[` + evidenceRoute + `]}`
	}
	for _, c := range []struct {
		name, config string
		refused      bool
	}{
		{"nothing", `{"routes":[` + evidenceRoute + `]}`, true},
		{"other handlers", `{"routes":[` + subroute(`{"handler":"vars","a":"b"},{"handler":"soc2_evidence"},{"handler":"static_response","body":"x"}`) + `]}`, true},
		{"plain TLS", `{"tls_connection_policies":[{}],"routes":[` + evidenceRoute + `]}`, true},
		{"certificates without verification", clientAuth(`{"mode":"require"}`), true},
		{"certificates only asked for", clientAuth(`{"mode":"request","trusted_ca_certs":["x"]}`), true},
		{"empty client authentication", clientAuth(`{}`), true},
		{"verifiers alone", clientAuth(`{"verifiers":[{"verifier":"leaf"}]}`), true},
		{"verified if given", clientAuth(`{"mode":"verify_if_given"}`), false},
		{"verified", clientAuth(`{"mode":"require_and_verify"}`), false},
		{"authority", clientAuth(`{"ca":{"provider":"inline"}}`), false},
		{"authority's certificate", clientAuth(`{"trusted_ca_certs":["x"]}`), false},
		{"authority's file", clientAuth(`{"trusted_ca_certs_pem_files":["x"]}`), false},
		{"authenticator", `{"routes":[{"handle":[` + basicAuth + `]},` + evidenceRoute + `]}`, false},
		{"authenticator after it", `{"routes":[` + evidenceRoute + `,{"handle":[` + basicAuth + `]}]}`, false},
		{"authenticator in a subroute", `{"routes":[` + subroute(basicAuth+`,{"handler":"soc2_evidence"}`) + `]}`, false},
		{"authenticator for errors", `{"routes":[` + evidenceRoute + `],"errors":{"routes":[` + subroute(basicAuth) + `]}}`, false},
		{"authenticator in a named route", `{"routes":[{"handle":[{"handler":"invoke","name":"a"}]}],"named_routes":{"a":` + subroute(basicAuth) + `}}`, false},
		{"named route without one", `{"routes":[{"handle":[{"handler":"invoke","name":"a"}]}],"named_routes":{"a":` + evidenceRoute + `}}`, true},
		{"another project's handler", `{"routes":[` + subroute(`{"handler":"portal"}`) + `]}`, false},
		{"the user's id set by vars", `{"routes":[` + subroute(`{"handler":"vars","http.auth.user.id":"{http.reverse_proxy.header.Remote-User}"}`) + `]}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := provision(t, new(Handler), server(t, c.config))
			refused(t, err, c.refused)
			if err := provision(t, &Handler{AllowUnauthenticated: true}, server(t, c.config)); err == nil || !strings.Contains(err.Error(), "needs the audit log") {
				t.Errorf("with allow_unauthenticated: %v", err)
			}
		})
	}
}

// refused checks an error of Provision. What is not refused gets as far as to
// miss the app.
func refused(t *testing.T, err error, want bool) {
	t.Helper()
	if err == nil {
		t.Fatal("no error, although there is no app")
	}
	if want != strings.Contains(err.Error(), "serve nobody") || want == strings.Contains(err.Error(), "needs the audit log") {
		t.Errorf("refused should be %t: %v", want, err)
	}
	for _, way := range []string{"basic_auth", "client_auth", "allow_unauthenticated"} {
		if want && !strings.Contains(err.Error(), way) {
			t.Errorf("the error does not name %s: %v", way, err)
		}
	}
}

// foreign is a handler that is no module.
type foreign struct{}

func (foreign) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil }

func TestProvisionLooksIntoLoadedHandlers(t *testing.T) {
	load := func(config string) caddyhttp.MiddlewareHandler {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		t.Cleanup(cancel)
		v, err := ctx.LoadModuleByID("http.handlers.subroute", json.RawMessage(`{"routes":[{"handle":[`+config+`]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return v.(caddyhttp.MiddlewareHandler)
	}
	errorsOf := func(h caddyhttp.MiddlewareHandler) caddyhttp.MiddlewareHandler {
		return &caddyhttp.Subroute{Errors: &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{h}}}}}
	}
	responseOf := func(h caddyhttp.MiddlewareHandler) caddyhttp.MiddlewareHandler {
		return &reverseproxy.Handler{HandleResponse: []caddyhttp.ResponseHandler{{Routes: caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{h}}}}}}
	}
	const none, user = `{"handler":"vars","a":"b"},{"handler":"static_response"}`, `{"handler":"vars","http.auth.user.id":"x"}`
	auth := `{"handler":"authentication","providers":{}}`
	for _, c := range []struct {
		name    string
		handler caddyhttp.MiddlewareHandler
		refused bool
	}{
		{"none", load(none), true},
		{"authenticator", load(auth), false},
		{"deep authenticator", load(`{"handler":"subroute","routes":[{"handle":[` + auth + `]}]}`), false},
		{"the user's id", load(none + `,` + user), false},
		{"errors without", errorsOf(load(none)), true},
		{"errors with", errorsOf(load(auth)), false},
		{"proxy", new(reverseproxy.Handler), true},
		{"forward_auth without", responseOf(load(none)), true},
		{"forward_auth with", responseOf(load(user)), false},
		{"another project's", foreign{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := server(t, `{"routes":[{},`+evidenceRoute+`]}`)
			s.Routes[0].Handlers = []caddyhttp.MiddlewareHandler{c.handler}
			refused(t, provision(t, new(Handler), s), c.refused)
		})
	}
}

func TestProvisionAcceptsWhatItCannotSee(t *testing.T) {
	refused(t, provision(t, new(Handler), nil), false)
}

func TestProvisionSetsTheDefaultPrefix(t *testing.T) {
	h := new(Handler)
	_ = provision(t, h, nil)
	if h.Prefix != "/.soc2" || h.Validate() != nil {
		t.Errorf("prefix is %q", h.Prefix)
	}
}

func TestNilPolicyIsNoPolicy(t *testing.T) {
	s := server(t, `{"routes":[`+evidenceRoute+`]}`)
	s.TLSConnPolicies = caddytls.ConnectionPolicies{nil}
	s.NamedRoutes = map[string]*caddyhttp.Route{"a": nil}
	refused(t, provision(t, new(Handler), s), true)
}
