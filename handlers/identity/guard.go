package identity

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/lockout"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/password"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// table counts the failures of all sites, through reloads.
var table = sync.OnceValue(func() *lockout.Table {
	return lockout.New(lockout.DefaultEntries, time.Now, func(ev lockout.Event) {
		record(&audit.Lockout{
			Time: ev.At, Action: ev.Action, What: ev.What, Subject: ev.Subject, Provider: "soc2", Rule: ev.Realm,
			Attempts: ev.Attempts, Window: ev.Window, Until: ev.Until,
			Pseudo: strings.HasPrefix(ev.Subject, password.UnknownPrefix),
		}, false)
	})
})

// Namer is what this package asks of the soc2 app, which need not be there.
type Namer interface {
	// Pseudonym returns the pseudonym of a member's value, if the configuration
	// asks for one. The members are auth.user and client.ip.
	Pseudonym(member, value string) (string, bool)
}

// record counts a lockout, and appends its record to the audit log, if there is
// one.
func record(l *audit.Lockout, wait bool) {
	countLock(l.Action, l.What)
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return
	}
	defer book.Release()
	hide(l)
	if err := book.Write(l, wait); err != nil {
		caddy.Log().Named("http.authentication.soc2").Error("a lockout has no record", zap.Error(err))
	}
}

// hide puts a pseudonym in the place of the subject, if others are to have one.
func hide(l *audit.Lockout) {
	app, err := caddy.ActiveContext().AppIfConfigured("soc2")
	namer, ok := app.(Namer)
	if err != nil || !ok || l.Pseudo {
		return
	}
	member := "auth.user"
	if l.What == lockout.Network {
		member = "client.ip"
	}
	if name, ok := namer.Pseudonym(member, l.Subject); ok {
		l.Subject, l.Pseudo = name, true
	}
}

// guard locks out who fails too often at a site.
type guard struct {
	table  *lockout.Table
	policy lockout.Policy
	realm  string
	now    func() time.Time
}

// network is what of a client's address is counted: an address of IPv4, or the
// first 64 bits of one of IPv6, which are one link's.
func network(r *http.Request) string {
	addr, ok := client(r)
	switch {
	case !ok:
		return "unknown"
	case addr.Is4():
		return addr.String()
	}
	prefix, _ := addr.Prefix(64)
	return prefix.String()
}

// The first 48 bits of an IPv6 address may be one customer's, who then has 65,536
// networks to guess from. They are counted too; as they may also be those of
// several, so many times the failures of a network lock them out.
const (
	wideBits   = 48
	wideFactor = 8
)

// wide is the wider network of a client's address, if it is one of IPv6.
func wide(r *http.Request) (string, bool) {
	addr, ok := client(r)
	if !ok || addr.Is4() {
		return "", false
	}
	prefix, _ := addr.Prefix(wideBits)
	return prefix.String(), true
}

func client(r *http.Request) (netip.Addr, bool) {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	return addr.Unmap().WithZone(""), err == nil
}

// Locked implements password.Guard. Who lately logged in from its network is not
// asked about the wider one.
func (g *guard) Locked(r *http.Request, principal string) time.Duration {
	until := g.table.Locked(g.realm, principal, network(r))
	if name, ok := wide(r); ok && until.IsZero() && !g.table.Trusted(g.realm, principal, network(r)) {
		until = g.table.Locked(g.realm, "", name)
	}
	if until.IsZero() {
		return 0
	}
	return max(until.Sub(g.now()), time.Second)
}

// Known implements password.Guard.
func (g *guard) Known(r *http.Request, principal string) bool {
	return g.table.Trusted(g.realm, principal, network(r))
}

// Failed implements password.Guard.
func (g *guard) Failed(r *http.Request, principal string) {
	g.table.Failed(g.policy, g.realm, principal, network(r))
	if name, ok := wide(r); ok {
		policy := g.policy
		policy.NetworkFailures *= wideFactor
		g.table.Failed(policy, g.realm, "", name)
	}
}

// Succeeded implements password.Guard.
func (g *guard) Succeeded(r *http.Request, principal string) {
	g.table.Succeeded(g.realm, principal, network(r))
}

// byNetwork is the guard of API keys, which belong to nobody while they are
// wrong.
type byNetwork struct{ *guard }

// Locked implements apikey.Guard.
func (g byNetwork) Locked(r *http.Request) time.Duration { return g.guard.Locked(r, "") }

// Failed implements apikey.Guard.
func (g byNetwork) Failed(r *http.Request) { g.guard.Failed(r, "") }

var _ password.Guard = (*guard)(nil)
