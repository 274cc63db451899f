package soc2

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/happenings/certificates"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/document"
	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

// TLS is a floor for all servers of the configuration: the least that may be
// negotiated with clients and, if asked for, with upstreams.
//
// A configuration that allows less is rejected (mode enforce) or reported (mode
// report). What a connection policy says nothing about it gets from the floor in
// the mode enforce, on servers with the listener wrapper; on others, it has to
// say so itself. Beside what the options say, it is looked for client certificates
// that are verified without authorities of one's own, for files of session keys,
// and for hosts with Strict-Transport-Security that are served without TLS too.
// A request whose connection is below the floor all the same is refused with
// the status 421 (enforce) or served (report), and recorded as such in both, on
// servers with the listener wrapper.
type TLS struct {
	// Min is the lowest version: 1.2 or 1.3. Default: 1.2.
	Min string `json:"min,omitempty"`

	// Suites are the cipher suites that may be negotiated, by their IANA names.
	// Connection policies may have no others of TLS 1.2. Among those of TLS 1.3
	// Go leaves no choice: a request with one that is not in the list is
	// refused. Default: all of TLS 1.3, and of TLS 1.2 those with ECDHE and
	// AES-GCM or ChaCha20-Poly1305.
	Suites []string `json:"suites,omitempty"`

	// Groups are the groups of the key exchange that may be negotiated:
	// x25519mlkem768, x25519, secp256r1, secp384r1, secp521r1. Default: all.
	Groups []string `json:"groups,omitempty"`

	// Mode is what happens with what is below the floor: enforce or report.
	// Default: enforce.
	Mode string `json:"mode,omitempty"`

	// ClientAuth are the hosts for which clients have to show a certificate that
	// is verified: names, names like *.example.com, or * for all. Default: none.
	ClientAuth []string `json:"client_auth,omitempty"`

	// Expiring is how much time certificates in use have to have left. What has
	// less is reported, and nothing is refused for it. It is cut to a third of a
	// certificate's lifetime, and to a sixth for those that Caddy renews.
	// Default: 0, which asks for nothing.
	Expiring caddy.Duration `json:"expiring,omitempty"`

	// FIPS is the mode that the program's FIPS 140-3 module has to be in: on, or
	// only, with which what the mode does not allow fails. In both, the module
	// has to be one of the frozen versions. Default: none.
	FIPS string `json:"fips,omitempty"`

	// Upstream is the floor for connections to the upstreams of reverse proxies.
	// Default: none, which asks for nothing.
	Upstream *TLSUpstream `json:"upstream,omitempty"`
}

// TLSUpstream is the floor for connections to upstreams. Their certificates are
// verified, and only upstreams on the same machine are spoken to without TLS.
type TLSUpstream struct {
	// Min is the lowest version: 1.2 or 1.3. Caddy has no option for it: with
	// HTTP/3 alone it is 1.3, otherwise 1.2. Default: 1.2.
	Min string `json:"min,omitempty"`

	// Unverified are the hosts whose certificates need not be verified.
	// Default: none.
	Unverified []string `json:"unverified,omitempty"`

	// Plaintext are the hosts, or networks like 10.0.0.0/8, that may be spoken to
	// without TLS. Default: none but those on the same machine.
	Plaintext []string `json:"plaintext,omitempty"`
}

// The modes of the floor.
const (
	tlsEnforce = "enforce"
	tlsReport  = "report"
)

// tlsState is the floor as it is used.
type tlsState struct {
	rules    tlsfloor.Rules
	findings []tlsfloor.Finding
}

func (t *TLS) rules() tlsfloor.Rules {
	r := tlsfloor.Rules{
		Min: t.Min, Suites: t.Suites, Groups: t.Groups, ClientAuth: t.ClientAuth,
		Expiring: time.Duration(t.Expiring), FIPS: t.FIPS, Fills: t.Mode == tlsEnforce,
	}
	if u := t.Upstream; u != nil {
		r.Upstream = &tlsfloor.Upstream{Min: u.Min, Unverified: u.Unverified, Plaintext: u.Plaintext}
	}
	return r
}

// provisionTLS checks the option and holds the configuration against it.
func (a *App) provisionTLS(ctx caddy.Context) error {
	t := a.TLS
	if t == nil {
		return nil
	}
	switch t.Mode {
	case "":
		t.Mode = tlsEnforce
	case tlsEnforce, tlsReport:
	default:
		return fmt.Errorf("soc2: tls mode %q: choose enforce or report", t.Mode)
	}
	if t.Expiring < 0 {
		return fmt.Errorf("soc2: tls expiring %s: it must be more than nothing", time.Duration(t.Expiring))
	}
	rules := t.rules()
	if err := rules.Check(); err != nil {
		return fmt.Errorf("soc2: tls %w", err)
	}
	config, err := serversOf(ctx)
	if err != nil {
		return fmt.Errorf("soc2: tls: %w", err)
	}
	found, err := tlsfloor.Findings(config, rules)
	if err != nil {
		return fmt.Errorf("soc2: tls: %w", err)
	}
	found = append(found, rules.Module(tlsfloor.CurrentModule())...)
	if len(found) > 0 && t.Mode == tlsEnforce {
		return belowFloor(found)
	}
	for _, f := range found {
		caddy.Log().Named("soc2").Warn("below the floor of the option tls", zap.String("finding", f.String()))
	}
	a.tls = tlsState{rules, found}
	return nil
}

// serversOf returns the HTTP servers of the configuration that is being
// provisioned. Where an HTTP server has a part of soc2, which is the rule, the
// app soc2 is provisioned before the servers are, and so it sees what was
// written in the configuration.
func serversOf(ctx caddy.Context) ([]byte, error) {
	raw := changes.AppJSON(ctx, "http")
	if len(raw) > 0 {
		return document.Of(raw, nil)
	}
	app, err := ctx.AppIfConfigured("http")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return document.Of(nil, nil)
	}
	if err != nil {
		return nil, err
	}
	http, ok := app.(*caddyhttp.App)
	if !ok {
		return nil, fmt.Errorf("the app http is a %T, whose servers are not known", app)
	}
	return document.Of(nil, http)
}

// maxShown is how many findings an error has.
const maxShown = 10

// belowFloor is the error of a configuration that allows less than the floor.
func belowFloor(found []tlsfloor.Finding) error {
	var lines []string
	for _, f := range found[:min(len(found), maxShown)] {
		lines = append(lines, f.String())
	}
	if more := len(found) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("soc2: tls: the configuration allows less than the floor (tls mode report would serve it and report this): %s", strings.Join(lines, "; "))
}

// TLSFloor is the floor, and whether it is enforced. It is nil if there is none.
func (a *App) TLSFloor() (rules *tlsfloor.Rules, enforce bool) {
	if a.TLS == nil {
		return nil, false
	}
	return &a.tls.rules, a.TLS.Mode == tlsEnforce
}

// TLSFindings is what is below the floor now: of the configuration, which only
// the mode report has, and of the certificates in use.
func (a *App) TLSFindings() []tlsfloor.Finding {
	var list []tlsfloor.Certificate
	for name, c := range certificates.Current().Served {
		list = append(list, tlsfloor.Certificate{Name: name, NotBefore: c.NotBefore, NotAfter: c.NotAfter, Managed: c.Managed})
	}
	slices.SortFunc(list, func(x, y tlsfloor.Certificate) int { return strings.Compare(x.Name, y.Name) })
	return append(slices.Clip(a.tls.findings), a.tls.rules.Expire(list, time.Now())...)
}

// tlsStatus is the state of the floor in the status.
type tlsStatus struct {
	Mode     string             `json:"mode,omitempty"` // enforce or report; empty: there is no floor
	Min      string             `json:"min,omitempty"`
	Findings []tlsfloor.Finding `json:"findings,omitempty"`
	Module   tlsfloor.Module    `json:"fips140"`
}

// TLSState says how the floor is kept, what is below it, and how the process
// does its cryptography, for the status.
func (a *App) TLSState() any {
	s := tlsStatus{Module: tlsfloor.CurrentModule()}
	if a.TLS != nil {
		s.Mode, s.Min = a.TLS.Mode, a.tls.rules.FillMin()
		s.Findings = a.TLSFindings()
	}
	return s
}
