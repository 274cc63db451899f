// Package mtls takes the name of a principal from a client certificate that the
// server verified.
package mtls

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

// Why a certificate is refused.
const (
	NoIdentity  principal.Reason = "mtls_no_identity" // no name of the kind that is asked for
	Ambiguous   principal.Reason = "mtls_ambiguous"   // several names of that kind
	Characters  principal.Reason = "mtls_subject_characters"
	Authority   principal.Reason = "mtls_authority" // not issued below one of the authorities
	Expired     principal.Reason = "mtls_expired"   // on a connection that outlived it
	Revoked     principal.Reason = "mtls_revoked"
	CRLMissing  principal.Reason = "mtls_crl_missing" // no list of the certificate's issuer
	CRLStale    principal.Reason = "mtls_crl_stale"   // the list should have been replaced
	UnknownRole principal.Reason = "mtls_unknown"     // not in the list of roles, where that decides
)

// The kinds of names.
const (
	SANURI   = "san_uri"
	SANDNS   = "san_dns"
	SANEmail = "san_email"
	CN       = "cn"
)

// Kinds are the kinds of names that can be asked for.
var Kinds = []string{SANURI, SANDNS, SANEmail, CN}

// Source takes client certificates. Those that the server did not verify are no
// credentials: see tls.ConnectionState.VerifiedChains.
type Source struct {
	Identity    string // kind of the name
	Unicode     bool   // see principal.Name
	Authorities []*x509.Certificate
	Roles       *reload.File[Roles] // nil: there are no roles
	Listed      bool                // only principals in Roles are taken
	Lists       []*reload.File[*List]
	AcceptStale bool // a list that should have been replaced still holds
	Now         func() time.Time
}

// Authenticate implements principal.Source.
func (s *Source) Authenticate(_ http.ResponseWriter, r *http.Request) (*caddyauth.User, *principal.Refusal) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, nil
	}
	chain, ok := s.chain(r.TLS.VerifiedChains)
	if !ok {
		return nil, principal.Refuse(Authority)
	}
	leaf := chain[0]
	name, why := s.name(leaf)
	if why != "" {
		return nil, principal.Refuse(why)
	}
	if why := s.stands(chain); why != "" {
		return nil, &principal.Refusal{Reason: why, Candidate: name}
	}
	p := &principal.Principal{ID: name, Method: principal.MTLS, IssuedAt: leaf.NotBefore, Claims: claims(leaf)}
	if s.Roles != nil {
		roles, listed := (*s.Roles.Get())[name]
		if s.Listed && !listed {
			return nil, &principal.Refusal{Reason: UnknownRole, Candidate: name}
		}
		p.Roles = roles
	}
	user := p.User()
	return &user, nil
}

func claims(leaf *x509.Certificate) map[string]string {
	sum := sha256.Sum256(leaf.Raw)
	return map[string]string{"cert_sha256": hex.EncodeToString(sum[:]), "cert_serial": leaf.SerialNumber.Text(16)}
}

// chain returns a verified chain below one of the authorities.
func (s *Source) chain(chains [][]*x509.Certificate) ([]*x509.Certificate, bool) {
	for _, chain := range chains {
		if len(chain) == 0 {
			continue
		}
		if len(s.Authorities) == 0 {
			return chain, true
		}
		for _, cert := range chain[1:] {
			for _, authority := range s.Authorities {
				if bytes.Equal(cert.Raw, authority.Raw) {
					return chain, true
				}
			}
		}
	}
	return nil, false
}

// name returns the one name of the kind that is asked for.
func (s *Source) name(leaf *x509.Certificate) (string, principal.Reason) {
	var names []string
	switch s.Identity {
	case SANURI:
		for _, u := range leaf.URIs {
			names = append(names, u.String())
		}
	case SANDNS:
		names = leaf.DNSNames
	case SANEmail:
		names = leaf.EmailAddresses
	default:
		if leaf.Subject.CommonName != "" {
			names = []string{leaf.Subject.CommonName}
		}
	}
	switch {
	case len(names) == 0:
		return "", NoIdentity
	case len(names) > 1:
		return "", Ambiguous
	case !principal.Name(names[0], s.Unicode):
		return "", Characters
	}
	return names[0], ""
}

// stands reports why a certificate is no longer to be believed. A connection may
// be older than what happened to its certificate.
func (s *Source) stands(chain []*x509.Certificate) principal.Reason {
	now := s.Now()
	for i, cert := range chain {
		if now.After(cert.NotAfter) {
			return Expired
		}
		if len(s.Lists) == 0 || i == len(chain)-1 {
			continue // the last is an authority, whose issuer is nobody
		}
		covered, why := s.listed(cert, chain[i+1], now)
		if why != "" {
			return why
		}
		if !covered && i == 0 {
			return CRLMissing
		}
	}
	return ""
}

// listed looks a certificate up in the lists of its issuer.
func (s *Source) listed(cert, issuer *x509.Certificate, now time.Time) (covered bool, why principal.Reason) {
	stale := false
	for _, file := range s.Lists {
		list := *file.Get()
		if !list.from(issuer) {
			continue
		}
		if list.has(cert) {
			return true, Revoked
		}
		if list.stale(now) && !s.AcceptStale {
			stale = true
			continue
		}
		covered = true
	}
	if stale && !covered {
		return false, CRLStale
	}
	return covered, ""
}

var _ principal.Source = (*Source)(nil)
