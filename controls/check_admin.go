package controls

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// adminListen is where the admin endpoint is configured to be.
func (e *eval) adminListen() string {
	if listen := text(e.config().admin, "listen"); listen != "" {
		return listen
	}
	if e.s.AdminDefault != "" {
		return e.s.AdminDefault
	}
	return defaultAdmin
}

// defaultAdmin is where Caddy's admin endpoint is if nothing else is said.
const defaultAdmin = "localhost:2019"

// isUnix reports whether an address is that of a Unix socket, and its mode: that
// of the address, or what Caddy takes.
func isUnix(listen string) (mode uint64, ok bool) {
	network, rest, _ := strings.Cut(listen, "/")
	if !strings.HasPrefix(network, "unix") && network != "soc2unix" {
		return 0, false
	}
	if _, text, found := strings.Cut(rest, "|"); found {
		m, err := strconv.ParseUint(text, 8, 32)
		if err != nil {
			return 0o777, true // Caddy refuses it
		}
		return m & 0o777, true
	}
	return 0o200, true
}

func onLoopback(listen string) bool {
	if network, rest, found := strings.Cut(listen, "/"); found {
		if !strings.HasPrefix(network, "tcp") {
			return false
		}
		listen = rest
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		host = listen
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func adminClosed(e *eval) {
	v := e.config()
	e.examined++
	listen := e.adminListen()
	switch mode, unix := isUnix(listen); {
	case flag(v.admin, "disabled"):
	case unix && mode&0o077 != 0 && mode&^0o220 != 0:
		e.bad("/admin/listen", "is a socket of the mode %#o, which is more than its owner needs", mode)
	case unix:
	case !onLoopback(listen):
		e.bad("/admin/listen", "is %s: other machines reach it", listen)
	case !flag(v.admin, "enforce_origin"):
		e.bad("/admin/listen", "is %s without enforce_origin: every program and every page in a browser on this machine reaches it", listen)
	}
	if s := e.s.Server; s != nil {
		switch {
		case s.Endpoint == nil || s.Endpoint.State == "unknown":
			if e.total == 0 {
				e.end(Unknown, "the sockets of the process were not compared with the configuration yet")
			}
		case len(s.Endpoint.Unexpected) > 0:
			e.bad(strings.Join(s.Endpoint.Unexpected, " "), "is open, and is not configured")
		}
	}
	e.conclude("admin endpoints")
}

func adminFallback(e *eval) {
	v := e.config()
	if flag(v.admin, "disabled") {
		e.end(NotApplicable, "the admin endpoint is disabled")
	}
	p := e.process()
	e.examined++
	if listen := e.adminListen(); text(v.admin, "listen") == "" && p.AdminEnv == "" {
		e.bad("CADDY_ADMIN", "is not set, and the endpoint is the default one, %s", listen)
	} else if p.AdminEnv != listen {
		e.bad("CADDY_ADMIN", "is %q, and the endpoint is configured at %s", p.AdminEnv, listen)
	}
	e.conclude("environment variables")
}

func adminRemote(e *eval) {
	for i, access := range objects(member(e.config().admin, "remote")["access_control"]) {
		e.examined++
		pointer := fmt.Sprintf("/admin/remote/access_control/%d", i)
		list := objects(access["permissions"])
		if len(list) == 0 {
			e.bad(pointer, "has no permissions: its keys may do everything")
		}
		for _, p := range list {
			if len(texts(p["paths"])) == 0 || len(texts(p["methods"])) == 0 {
				e.bad(pointer+"/permissions", "has one without paths or without methods")
			}
		}
	}
	e.conclude("identities of the remote admin endpoint")
}

func adminCallers(e *eval) {
	t := &e.server().Traffic
	actors := e.texts("actors")
	for _, s := range t.Sightings[SeenKnownCaller] {
		if len(actors) > 0 && e.within(s.Time) && !begins(s.What, actors) {
			e.add(Evidence{What: fmt.Sprintf("%d × %s, who is not on the list", s.Count, s.What), Time: s.Time})
		}
	}
	n := e.total
	for _, s := range t.Sightings[SeenCaller] {
		if e.within(s.Time) {
			e.add(Evidence{What: fmt.Sprintf("%d × %s", s.Count, s.What), Time: s.Time})
		}
	}
	e.examined = int(t.Calls)
	if e.total > n || n > 0 {
		e.end(Fail, "callers who are not known, or not on the list: %s", e.found[0].What)
	}
	e.conclude("calls of the admin API")
}

func begins(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
