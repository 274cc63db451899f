package soc2

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
	"github.com/caddy-soc2/caddy-soc2/handlers/access"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/happenings/certificates"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// ConfigHash implements evidence.Configured.
func (a *App) ConfigHash() string { return changes.Now().SHA256 }

// ConfigVersion implements evidence.Configured.
func (a *App) ConfigVersion(sha256 string) ([]byte, error) { return changes.Version(sha256) }

// CertificatesInUse implements evidence.Certified.
func (a *App) CertificatesInUse() ([]audit.Certificate, bool) { return certificates.InUse() }

// AccessGrants implements evidence.Granter. What is shown is the configuration
// without its secrets, as its history has it, and before placeholders are filled
// in; the hashes of policies, by which records name them, are of the real ones.
func (a *App) AccessGrants() (*review.Grants, error) {
	raw, hash, known := changes.Running()
	if !known {
		return &review.Grants{Configuration: review.Configuration{Source: "none", Notes: []string{"The configuration that runs is not known."}}}, nil
	}
	shown, err := changes.Version(hash)
	if errors.Is(err, fs.ErrNotExist) {
		return &review.Grants{Configuration: review.Configuration{Source: "none", SHA256: hash, Notes: []string{"The configuration that runs is not in the history."}}}, nil
	}
	if err != nil {
		return nil, err
	}
	text, err := jsonpatch.Canonical(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	hashes, err := policyHashes(text)
	if err != nil {
		return nil, err
	}
	return grantsWith(shown, review.Configuration{Source: "running", SHA256: hash}, true, hashes)
}

// policyHashes are the hashes of the policies of a configuration, in the order of
// access.Find, with placeholders filled in as a server fills them in.
func policyHashes(config []byte) (list []string, err error) {
	policies, err := access.Find(caddy.RemoveMetaFields(config))
	if err != nil {
		return nil, err
	}
	for _, p := range policies {
		if err := secret.Fill(p.Handler); err != nil {
			return nil, fmt.Errorf("policy %s: %w", p.Name, err)
		}
		if _, err := p.Compile(time.Now()); err != nil {
			return nil, fmt.Errorf("policy %s: %w", p.Name, err)
		}
		list = append(list, p.Hash())
	}
	return list, nil
}

var (
	_ evidence.Configured = (*App)(nil)
	_ evidence.Granter    = (*App)(nil)
	_ evidence.Certified  = (*App)(nil)
)
