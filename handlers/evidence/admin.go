package evidence

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
)

// adminBase is the path of the evidence on the admin API.
const adminBase = "/soc2"

// Admin serves the API on Caddy's admin endpoint, below /soc2/v1. Who may read
// it there is what the admin endpoint is configured for.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.soc2",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	api := NewAPI(activeSource)
	api.ending = activeEnding
	return beside([]caddy.AdminRoute{{
		Pattern: adminBase + "/",
		Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			path, ok := below(r.URL.Path, adminBase+apiVersion)
			if !ok {
				notFound(w, r)
				return nil
			}
			if !keeping(w, r, path) && !checking(w, r, path) && !reporting(w, r, path) && !packing(w, r, path, activeSource) {
				api.Serve(w, r, path)
			}
			return nil
		}),
	}})
}

// beside adds patterns of their own for the resources whose paths lie below those
// of another module.
func beside(list []caddy.AdminRoute) []caddy.AdminRoute {
	serve := list[0].Handler.ServeHTTP
	return append(list, changes.Routes(serve, adminBase+apiVersion+"/access/matrix", adminBase+apiVersion+"/access/principals")...)
}

// activeSource returns the app of the configuration that runs. It is asked for
// each request, because the router may exist before the app and is never
// cleaned up.
func activeSource() (Source, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("soc2")
	if err != nil {
		return nil, err
	}
	source, ok := app.(Source)
	if !ok {
		return nil, fmt.Errorf("the app soc2 is a %T, which has no evidence", app)
	}
	return source, nil
}

// Interface guards
var (
	_ caddy.Module      = (*Admin)(nil)
	_ caddy.AdminRouter = (*Admin)(nil)
)
