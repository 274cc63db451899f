package evidence

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// Admin serves the same evidence below /soc2/ on Caddy's admin API. Caddy makes
// it for every configuration and never cleans it up, so it finds the app of the
// running configuration anew for each request.
type Admin struct{}

// adminPrefix is where the admin API serves the evidence.
const adminPrefix = "/soc2"

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.soc2", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	api := newAPI(adminPrefix, running)
	return []caddy.AdminRoute{{
		Pattern: adminPrefix + "/",
		Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			rest, _ := cutPrefix(r.URL.Path, adminPrefix)
			api.serve(w, r, rest)
			return nil
		}),
	}}
}

// running returns the app of the running configuration.
func running() (Source, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("soc2")
	if err != nil {
		return nil, err
	}
	source, ok := app.(Source)
	if !ok {
		return nil, fmt.Errorf("the app soc2 is a %T, which has no log", app)
	}
	return source, nil
}

var _ caddy.AdminRouter = (*Admin)(nil)
