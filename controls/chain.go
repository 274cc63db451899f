package controls

import (
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// chain follows requests through the handlers of a server, and knows which
// handlers every one of them has passed.
type chain struct {
	e      *eval
	server *server

	// is tells the handler that every request has to pass.
	is func(h object) bool

	// each is called for the other handlers, with whether it was passed for sure.
	each func(h object, pointer string, passed bool)
}

// follow follows requests through routes. passed is whether all of them have
// passed the handler; it returns that for those that leave the routes.
func (c *chain) follow(routes any, pointer string, passed bool, depth int) bool {
	if depth > maxDepth {
		return passed
	}
	taken := map[string]bool{}
	for i, r := range objects(routes) {
		group := text(r, "group")
		sure := len(objects(r["match"])) == 0 && !taken[group]
		taken[group] = group != ""
		after := c.handlers(r["handle"], pointer+"/"+strconv.Itoa(i)+"/handle", passed, depth)
		if !sure {
			continue
		}
		passed = after
		if flag(r, "terminal") {
			return passed
		}
	}
	return passed
}

func (c *chain) handlers(list any, pointer string, passed bool, depth int) bool {
	if depth > maxDepth {
		return passed // a route that invokes itself: Caddy does not come back from it
	}
	for i, h := range objects(list) {
		c.e.step()
		where := pointer + "/" + strconv.Itoa(i)
		switch name := text(h, "handler"); {
		case c.is(h):
			passed = true
		case name == "subroute":
			passed = c.follow(h["routes"], where+"/routes", passed, depth+1)
		case name == "invoke":
			target := text(h, "name")
			named := member(c.server.raw, "named_routes", target)
			passed = c.handlers(named["handle"], jsonpatch.Pointer(c.server.pointer+"/named_routes", target)+"/handle", passed, depth+1)
		default:
			c.each(h, where, passed)
		}
	}
	return passed
}
