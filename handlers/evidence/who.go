package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Role is what somebody may read.
type Role string

// The roles. An auditor may read all; a viewer what has no record of a request
// in it: the state, the checks, the counts and the log's heads and proofs.
const (
	Nobody  Role = ""
	Viewer  Role = "viewer"
	Auditor Role = "auditor"
)

// may reports whether the role suffices for what a role may read.
func (r Role) may(least Role) bool { return r == Auditor || r == Viewer && least == Viewer }

// The prefixes of names in Handler.Viewers and Handler.Auditors.
const (
	byRole = "role:"
	byUser = "user:"
	byCert = "cert:"
)

// checkNames checks a list of who has a role.
func checkNames(option string, names []string) error {
	for _, name := range names {
		value, ok := "", false
		for _, prefix := range []string{byRole, byUser, byCert} {
			if rest, found := strings.CutPrefix(name, prefix); found {
				value, ok = rest, rest != ""
			}
		}
		if !ok {
			return fmt.Errorf("soc2_evidence: %s %q: name a role of principals as role:NAME, a principal as user:NAME, or a client certificate as cert: and its SHA-256", option, name)
		}
		if strings.HasPrefix(name, byCert) {
			if b, err := hex.DecodeString(value); err != nil || len(b) != sha256.Size || strings.ToLower(value) != value {
				return fmt.Errorf("soc2_evidence: %s %q: the SHA-256 of a certificate is 64 small hex digits", option, name)
			}
		}
	}
	return nil
}

// reader is who makes a request.
type reader struct {
	role  Role
	actor audit.Actor
	known bool // it is known who it is
	key   string
}

// who finds out who makes a request and what it may read. Names come from the
// connection and from what handlers before this one found out, and never from
// the request's own fields.
func (h *Handler) who(r *http.Request) reader {
	w := reader{actor: audit.Actor{Known: "none", Address: r.RemoteAddr}}
	var cert string
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		w.known = true
		w.actor.Known, w.actor.How = "verified", "mtls"
		if len(r.TLS.PeerCertificates) > 0 {
			sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
			cert = hex.EncodeToString(sum[:])
			w.actor.ClientCert, w.actor.Name = cert, r.TLS.PeerCertificates[0].Subject.String()
		}
	}
	var user string
	var roles []string
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if user, _ = repl.GetString(userID); user != "" {
			w.known = true
			w.actor.Name, w.actor.Known = user, "verified"
			w.actor.How, _ = repl.GetString("http.auth.user.method")
			list, _ := repl.GetString("http.auth.user.roles")
			for role := range strings.SplitSeq(list, ",") {
				if role = strings.TrimSpace(role); role != "" {
					roles = append(roles, role)
				}
			}
		}
	}
	w.role = h.roleOf(w.known, user, cert, roles)
	w.key = w.actor.Name
	if !w.known || w.key == "" {
		w.key = "address " + hostOf(r.RemoteAddr)
	}
	return w
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// roleOf is the role of somebody. Where nobody is named as viewer or auditor,
// everybody who is known is an auditor.
func (h *Handler) roleOf(known bool, user, cert string, roles []string) Role {
	named := func(list []string) bool {
		return slices.ContainsFunc(list, func(name string) bool {
			switch {
			case strings.HasPrefix(name, byUser):
				return user != "" && name[len(byUser):] == user
			case strings.HasPrefix(name, byCert):
				return cert != "" && name[len(byCert):] == cert
			}
			return slices.Contains(roles, strings.TrimPrefix(name, byRole))
		})
	}
	switch {
	case h.AllowUnauthenticated:
		return Auditor
	case !known:
		return Nobody
	case len(h.Viewers) == 0 && len(h.Auditors) == 0, named(h.Auditors):
		return Auditor
	case named(h.Viewers):
		return Viewer
	}
	return Nobody
}
