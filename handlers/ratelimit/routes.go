package ratelimit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// route is a route of Caddy as far as it matters to a replay: which requests come
// to which limiters. What rewrites requests is not replayed.
type route struct {
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`
	Group          string                   `json:"group,omitempty"`
	Terminal       bool                     `json:"terminal,omitempty"`
	Handle         []json.RawMessage        `json:"handle,omitempty"`

	matchers caddyhttp.MatcherSets
	steps    []step
}

// step is a limiter, or routes.
type step struct {
	limiter *Handler
	routes  []*route
}

// maxDepth is how deep routes can be in routes: a named one can invoke itself.
const maxDepth = 32

// compile makes the routes of each server ready.
func (r *Replay) compile(ctx caddy.Context, config []byte) error {
	var root struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes      []*route          `json:"routes"`
					NamedRoutes map[string]*route `json:"named_routes"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &root); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	for name, server := range root.Apps.HTTP.Servers {
		for _, named := range server.NamedRoutes {
			if err := r.compileRoutes(ctx, []*route{named}, server.NamedRoutes); err != nil {
				return err
			}
		}
		if err := r.compileRoutes(ctx, server.Routes, server.NamedRoutes); err != nil {
			return err
		}
		r.servers[name] = server.Routes
	}
	return nil
}

func (r *Replay) compileRoutes(ctx caddy.Context, routes []*route, named map[string]*route) error {
	for _, rt := range routes {
		if rt == nil {
			return errors.New("a route is null")
		}
		if err := rt.load(ctx); err != nil {
			return err
		}
		for _, raw := range rt.Handle {
			var v struct {
				Handler string   `json:"handler"`
				Name    string   `json:"name"`
				Routes  []*route `json:"routes"`
			}
			// Of other handlers' options nothing is known: one can be called like ours.
			if err := json.Unmarshal(raw, &v); err != nil && (v.Handler == "subroute" || v.Handler == "invoke") {
				return fmt.Errorf("%s: %w", v.Handler, err)
			}
			next, err := r.compileStep(ctx, v.Handler, raw, v.Routes, named, v.Name)
			if err != nil {
				return err
			}
			rt.steps = append(rt.steps, next)
		}
	}
	return nil
}

func (r *Replay) compileStep(ctx caddy.Context, handler string, raw []byte, routes []*route, named map[string]*route, name string) (step, error) {
	switch handler {
	case "soc2_rate_limit":
		h, err := r.add(ctx, raw)
		return step{limiter: h}, err
	case "subroute":
		return step{routes: routes}, r.compileRoutes(ctx, routes, named)
	case "invoke":
		if rt := named[name]; rt != nil {
			return step{routes: []*route{rt}}, nil
		}
	}
	return step{}, nil
}

func (rt *route) load(ctx caddy.Context) error {
	if rt.MatcherSetsRaw == nil {
		return nil
	}
	loaded, err := ctx.LoadModule(rt, "MatcherSetsRaw")
	if err == nil {
		err = rt.matchers.FromInterface(loaded)
	}
	if err != nil {
		return fmt.Errorf("match: %w", err)
	}
	return nil
}

// follow brings a request to the limiters of routes, as Caddy does: of a group
// the first route that matches, and nothing after a terminal one. It is done if
// a limiter refused or nothing comes after.
func follow(routes []*route, req *http.Request, ask func(*Handler) (refused bool, err error), depth int) (done bool, err error) {
	if depth > maxDepth {
		return true, nil
	}
	taken := make(map[string]bool)
	for _, rt := range routes {
		if rt.Group != "" && taken[rt.Group] {
			continue
		}
		if len(rt.matchers) > 0 {
			if match, err := rt.matchers.AnyMatchWithError(req); err != nil || !match {
				if err != nil {
					return true, err
				}
				continue
			}
		}
		taken[rt.Group] = true
		for _, s := range rt.steps {
			if s.limiter != nil {
				done, err = ask(s.limiter)
			} else {
				done, err = follow(s.routes, req, ask, depth+1)
			}
			if err != nil || done {
				return true, err
			}
		}
		if rt.Terminal {
			return true, nil
		}
	}
	return false, nil
}
