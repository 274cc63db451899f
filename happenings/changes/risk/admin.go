package risk

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// admin is what the rules compare of the admin endpoint.
type admin struct {
	reach    int // from how far it can be reached
	enforces bool
	origins  []string // that browsers may call from, but those of this machine
	remotes  []grant  // what identities may do on the remote endpoint
	loader   string   // of configurations, as JSON
}

// grant is a call that an identity may make. Empty members stand for all.
type grant struct{ key, path, method string }

// covers reports whether a grant includes another. Caddy compares the beginning
// of paths.
func (g grant) covers(o grant) bool {
	return g.key == o.key && (g.path == "" || o.path != "" && strings.HasPrefix(o.path, g.path)) && (g.method == "" || g.method == o.method)
}

// From how far an address can be reached.
const (
	reachNone   = iota // disabled
	reachOwner         // a Unix socket for its owner
	reachGroup         // a Unix socket for more
	reachHost          // every program on this machine
	reachBeyond        // other machines
)

func gatherAdmin(v any, fallback string) admin {
	o, _ := v.(map[string]any)
	a := admin{enforces: flag(o, "enforce_origin")}
	listen := text(o, "listen")
	if listen == "" {
		listen = fallback
	}
	if !flag(o, "disabled") {
		a.reach = reachOf(listen)
	}
	for _, origin := range texts(o["origins"]) {
		if !ownOrigin(origin) {
			a.origins = append(a.origins, origin)
		}
	}
	for _, access := range objects(object(o, "remote")["access_control"]) {
		for _, key := range texts(access["public_keys"]) {
			a.remotes = append(a.remotes, grants(key, objects(access["permissions"]))...)
		}
	}
	if loader := object(o, "config")["load"]; loader != nil {
		a.loader = fmt.Sprint(loader) // maps are printed in order
	}
	return a
}

// grants are what the permissions of a key allow. No permissions allow all.
func grants(key string, permissions []map[string]any) (list []grant) {
	if len(permissions) == 0 {
		return []grant{{key: key}}
	}
	all := func(list []string) []string {
		if len(list) == 0 {
			return []string{""}
		}
		return list
	}
	for _, p := range permissions {
		for _, path := range all(texts(p["paths"])) {
			for _, method := range all(texts(p["methods"])) {
				list = append(list, grant{key, path, method})
			}
		}
	}
	return list
}

// ownOrigin reports whether an origin is this machine.
func ownOrigin(origin string) bool {
	if _, rest, found := strings.Cut(origin, "://"); found {
		origin = rest
	}
	host := origin
	if h, _, err := net.SplitHostPort(origin); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "" || host == "localhost" || err == nil && ip.IsLoopback()
}

// reachOf tells from how far an address can be reached.
func reachOf(listen string) int {
	network, rest, found := strings.Cut(listen, "/")
	if !found {
		network, rest = "tcp", listen
	}
	if strings.HasPrefix(network, "unix") || network == "soc2unix" {
		path, mode, found := strings.Cut(rest, "|")
		if strings.HasPrefix(path, "@") {
			return reachHost // an abstract socket has no mode
		}
		if bits, err := strconv.ParseUint(mode, 8, 9); found && err == nil && bits&0o022 != 0 {
			return reachGroup
		}
		return reachOwner
	}
	if strings.HasPrefix(network, "fd") {
		return reachHost // the socket was made by somebody else: at least that
	}
	host, _, err := net.SplitHostPort(rest)
	if err != nil {
		host = rest
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return reachHost
	}
	return reachBeyond
}

func adminOpened(b, a facts) bool {
	was, is := b.admin, a.admin
	newTo := func(list []string) func(string) bool {
		return func(v string) bool { return !slices.Contains(list, v) }
	}
	return is.reach > was.reach ||
		was.enforces && !is.enforces && is.reach >= reachHost ||
		is.reach >= reachHost && slices.ContainsFunc(is.origins, newTo(was.origins)) ||
		slices.ContainsFunc(is.remotes, func(g grant) bool {
			return !slices.ContainsFunc(was.remotes, func(o grant) bool { return o.covers(g) })
		}) ||
		is.loader != "" && is.loader != was.loader
}

// hostOf returns the host of an upstream's address.
func hostOf(dial string) string {
	network, rest, found := strings.Cut(dial, "/")
	if found {
		if strings.HasPrefix(network, "unix") || network == "" {
			return ""
		}
		dial = rest
	}
	if host, _, err := net.SplitHostPort(dial); err == nil {
		return strings.ToLower(host)
	}
	return strings.ToLower(dial)
}

// external reports whether a host is outside of one's own networks: a public
// address, or a name that may have one.
func external(host string) bool {
	if strings.Contains(host, "{http.request.") {
		return true // whatever the client names
	}
	if host == "" || strings.Contains(host, "{") {
		return false // a Unix socket, or known only at the time of a request
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified()
	}
	if !strings.Contains(host, ".") {
		return false // a name of the own machine or cluster
	}
	for _, own := range []string{".local", ".internal", ".lan", ".home.arpa", ".localhost", ".test", ".svc", ".cluster.local", ".intranet", ".corp"} {
		if strings.HasSuffix(host, own) {
			return false
		}
	}
	return true
}
