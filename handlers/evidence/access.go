package evidence

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// userID is the placeholder that Caddy's authenticators set, without braces.
const userID = "http.auth.user.id"

// forbidden tells the client how to be served, and nothing of this server.
const forbidden = "The evidence is served to a request with a verified client certificate, " +
	"to one that an authenticator before this handler let pass, " +
	"or to every request if the operator set allow_unauthenticated."

// mayAuthenticate reports whether any request to a server can become
// authenticated, or whether that cannot be known. It says no only for sure: a
// handler of another project, of which nothing is known, makes it say yes.
//
// It is called while the server is being provisioned. The TLS connection
// policies and the routes that come later are raw JSON then, the handlers of
// routes that came before are loaded.
func mayAuthenticate(server *caddyhttp.Server) bool {
	for _, policy := range server.TLSConnPolicies {
		if policy != nil && verifies(policy.ClientAuthentication) {
			return true
		}
	}
	if routesMay(server.Routes) || server.Errors != nil && routesMay(server.Errors.Routes) {
		return true
	}
	for _, route := range server.NamedRoutes {
		if route != nil && routesMay(caddyhttp.RouteList{*route}) {
			return true
		}
	}
	return false
}

// verifies reports whether client certificates are verified, as
// ClientAuthentication.ConfigureTLSConfig decides it.
func verifies(c *caddytls.ClientAuthentication) bool {
	switch {
	case c == nil:
		return false
	case c.Mode != "":
		return c.Mode == "verify_if_given" || c.Mode == "require_and_verify"
	}
	//lint:ignore SA1019 the deprecated options still work
	return c.CARaw != nil || len(c.TrustedCACerts) > 0 || len(c.TrustedCACertPEMFiles) > 0 || len(c.TrustedLeafCerts) > 0 //nolint:staticcheck // as above
}

func routesMay(routes caddyhttp.RouteList) bool {
	for _, route := range routes {
		if slices.ContainsFunc(route.HandlersRaw, rawMay) || slices.ContainsFunc(route.Handlers, handlerMay) {
			return true
		}
	}
	return false
}

// handlerMay looks at a loaded handler and at the routes in it, which are all
// that its JSON no longer has.
func handlerMay(handler caddyhttp.MiddlewareHandler) bool {
	module, ok := handler.(caddy.Module)
	if !ok || moduleMay(string(module.CaddyModule().ID)) {
		return true
	}
	if sub, ok := handler.(*caddyhttp.Subroute); ok {
		return routesMay(sub.Routes) || sub.Errors != nil && routesMay(sub.Errors.Routes)
	}
	for _, inner := range responseRoutes(handler) {
		if routesMay(inner.Routes) {
			return true
		}
	}
	raw, err := json.Marshal(handler)
	return err != nil || rawMay(raw)
}

// responseRoutes returns the routes that reverse_proxy and intercept have for
// responses. Through them forward_auth continues to the handlers after it.
func responseRoutes(handler caddyhttp.MiddlewareHandler) []caddyhttp.ResponseHandler {
	v := reflect.Indirect(reflect.ValueOf(handler))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field := v.FieldByName("HandleResponse")
	if !field.IsValid() {
		return nil
	}
	routes, _ := reflect.TypeAssert[[]caddyhttp.ResponseHandler](field)
	return routes
}

func rawMay(raw json.RawMessage) bool {
	var v any
	return json.Unmarshal(raw, &v) != nil || valueMay(v)
}

// valueMay walks a handler's JSON, through whatever routes it has. Besides
// authenticators, the handlers vars and map can set the user's id, by name.
func valueMay(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, userID)
	case []any:
		return slices.ContainsFunc(v, valueMay)
	case map[string]any:
		if name, ok := v["handler"].(string); ok && moduleMay("http.handlers."+name) {
			return true
		}
		for key, item := range v {
			if strings.Contains(key, userID) || valueMay(item) {
				return true
			}
		}
	}
	return false
}

// moduleMay reports whether a handler authenticates or is not known.
func moduleMay(id string) bool {
	if id == "http.handlers.authentication" || id == "http.handlers.soc2_auth" {
		return true
	}
	info, err := caddy.GetModule(id)
	if err != nil {
		return true
	}
	t := reflect.TypeOf(info.New())
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return !strings.HasPrefix(t.PkgPath(), "github.com/caddyserver/caddy/v2/") &&
		!strings.HasPrefix(t.PkgPath(), "github.com/caddy-soc2/caddy-soc2/")
}
