package risk

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// admin is what the rules compare of the admin endpoint.
type admin struct {
	reach    int // from how far it can be reached
	enforces bool
	origins  int
	remotes  int // identities that may use the remote endpoint
	free     int // those among them that may do everything
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
	a := admin{enforces: flag(o, "enforce_origin"), origins: len(texts(o["origins"]))}
	listen := text(o, "listen")
	if listen == "" {
		listen = fallback
	}
	if !flag(o, "disabled") {
		a.reach = reachOf(listen)
	}
	for _, access := range objects(object(o, "remote")["access_control"]) {
		a.remotes += len(texts(access["public_keys"]))
		if len(objects(access["permissions"])) == 0 {
			a.free++
		}
	}
	return a
}

// reachOf tells from how far an address can be reached.
func reachOf(listen string) int {
	network, rest, found := strings.Cut(listen, "/")
	if !found {
		network, rest = "tcp", listen
	}
	if strings.HasPrefix(network, "unix") || network == "soc2unix" {
		_, mode, found := strings.Cut(rest, "|")
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
	return is.reach > was.reach ||
		was.enforces && !is.enforces && is.reach >= reachHost ||
		is.reach >= reachHost && is.origins > was.origins && was.origins > 0 ||
		is.remotes > was.remotes || is.free > was.free
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
