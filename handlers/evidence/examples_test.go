package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// TestMain puts the tests into a zone that is not UTC, so that a time in local time
// is seen.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("elsewhere", 5*3600+1800)
	os.Exit(m.Run())
}

// configText is the configuration that runs, and configHash names it.
var (
	configText = `{"admin":{"listen":"unix//run/` + strings.Join([]string{"<script>alert(1)</script>", "=cmd"}, "") + `"},"apps":{}}`
	configHash = func() string { sum := sha256.Sum256([]byte(configText)); return hex.EncodeToString(sum[:]) }()
)

// known is what the app knows besides the log.
type known struct {
	versions  map[string][]byte // of the configuration
	used      []audit.Certificate
	grantless bool
}

// ConfigHash implements Configured.
func (*bench) ConfigHash() string { return configHash }

var errNoVersion = fmt.Errorf("no such version: %w", fs.ErrNotExist)

// ConfigVersion implements Configured.
func (b *bench) ConfigVersion(sha256 string) ([]byte, error) {
	if text, ok := b.versions[sha256]; ok {
		return text, nil
	}
	if sha256 == configHash {
		return []byte(configText), nil
	}
	return nil, errNoVersion
}

// AccessGrants implements Granter: a rule, and an account with each payload as its
// name.
func (b *bench) AccessGrants() (*review.Grants, error) {
	if b.grantless {
		return nil, errors.New("the policies cannot be read")
	}
	g := &review.Grants{
		Configuration: review.Configuration{Source: "running", SHA256: configHash},
		Policies: []review.Policy{{
			Names: []string{"site"}, Sites: []string{"example.com"}, Hash: "p1", Mode: "enforce",
			Rules: []review.Rule{{Name: "staff", Roles: []string{"staff"}, Conditions: []string{"role staff"}}, {Name: "nobody uses it", Principals: []string{"zoe"}, Conditions: []string{"principal zoe"}}},
		}},
	}
	for _, text := range payloads {
		g.Accounts = append(g.Accounts, review.Account{Kind: review.Password, Name: text, Sources: []string{"accounts " + text}, Roles: []string{"staff"}})
	}
	g.Merge()
	return g, nil
}

// CertificatesInUse implements Certified.
func (b *bench) CertificatesInUse() ([]audit.Certificate, bool) { return b.used, b.used != nil }

var (
	_ Configured = (*bench)(nil)
	_ Granter    = (*bench)(nil)
	_ Certified  = (*bench)(nil)
)

func (b *bench) append(body audit.Body) int64 {
	b.t.Helper()
	seq, err := b.log.Append(context.Background(), body.AppendBody(nil, "edge-1"))
	if err != nil {
		b.t.Fatal(err)
	}
	return seq
}

// busy appends records of all that the resources tell of, with payloads in their
// texts, and brings them under a checkpoint. It returns the index of a change of
// the configuration.
func (b *bench) busy() (change int64) {
	b.t.Helper()
	b.hostile()
	now := time.Now()
	d := controls.Checks().Check("TLS-001")
	for i, text := range payloads {
		at := now.Add(time.Duration(i-len(payloads)) * time.Second)
		actor := audit.Actor{Name: text, Known: "verified", How: text, Claim: text, Address: text}
		change = b.append(&audit.ConfigChange{
			Time: at, Outcome: "applied", Source: "admin", Actor: actor, Method: "POST", Path: "/load" + text, File: text, Ticket: text, Reason: text, Error: text,
			Before: configHash, After: configHash, Diff: audit.JSON{Value: []byte(`[{"op":"add","path":"/x","value":"\u003cscript\u003e"}]`)}, Risks: []string{text},
		})
		b.append(&audit.CheckTransition{
			Time: at, Check: "TLS-001", Version: d.Version, Definition: d.SHA256, Severity: string(d.Severity), Class: string(d.Class), Criteria: d.Criteria,
			After: []string{"pass", "fail"}[i%2], Trigger: "change", Summary: text, Exception: text, Threshold: text,
		})
		b.append(&audit.Certificate{
			Time: at, Kind: audit.KindCertLoaded, Names: []string{text}, Issuer: text, Serial: text, SHA256: fmt.Sprintf("%064x", i), KeyType: text,
			NotBefore: at, NotAfter: at.Add(time.Hour), Source: text, Error: text,
		})
		b.append(&audit.Certificate{Time: at, Kind: audit.KindCertFailed, Names: []string{text}, Issuer: text, Error: text})
		b.append(&audit.AdminCall{Time: at, Outcome: "allowed", Actor: actor, Method: "GET", Path: text, Query: text})
		b.append(&audit.UpstreamChange{Time: at, Kind: audit.KindUpstreamDown, Server: text, Address: text, Check: text, Error: text})
		ev := audit.Event{Start: at, Method: "GET", Host: text, Path: text, User: text, AuthMethod: "password", Agent: text, ClientIP: text, Status: 200, End: audit.EndComplete}
		ev.ID = audit.NewID(at)
		ev.Access.Outcome, ev.Access.Rule = "allow", "staff"
		b.append(&ev)
	}
	note, head, _ := b.log.Checkpoint() // as one that was stamped
	name := filepath.Join(b.log.Dir(), filepath.FromSlash(timestamp.CheckpointPath(head.Size)))
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, note, 0o600)); err != nil {
		b.t.Fatal(err)
	}
	b.sign()
	return change
}

// example is a path of a route, below the prefix.
type example struct {
	route
	path string
}

// examples has a path or more of each route that there is. A route whose elements
// in braces it does not know fails the test.
func (b *bench) examples(change int64) (list []example) {
	b.t.Helper()
	pack := b.packed()
	named := map[string][]string{
		"/lookup":                           {"/lookup?id=0"},
		"/v1/checks/{id}":                   {"/v1/checks/TLS-001"},
		"/v1/checks/{id}/history":           {"/v1/checks/TLS-001/history", "/v1/checks/tls-001/history?limit=2", "/v1/checks/ENV-001/history"},
		"/v1/criteria/{id}":                 {"/v1/criteria/CC6.1"},
		"/v1/certificates":                  {"/v1/certificates", "/v1/certificates?limit=3"},
		"/v1/config/changes":                {"/v1/config/changes", "/v1/config/changes?limit=2"},
		"/v1/config/changes/{seq}":          {fmt.Sprintf("/v1/config/changes/%d", change)},
		"/v1/config/versions/{sha256}":      {"/v1/config/versions/" + configHash},
		"/v1/access/principals":             {"/v1/access/principals", "/v1/access/principals?limit=2"},
		"/v1/log/checkpoints":               {"/v1/log/checkpoints", "/v1/log/checkpoints?limit=1"},
		"/v1/packs/{id}":                    {"/v1/packs/" + pack},
		"/v1/packs/{id}.zip":                {"/v1/packs/" + pack + ".zip"},
		"/v1/populations":                   {"/v1/populations", "/v1/populations?count=none"},
		"/v1/populations/{name}":            {"/v1/populations/requests", "/v1/populations/requests?format=csv", "/v1/populations/config_changes?format=csv", "/v1/populations/requests?format=ndjson", "/v1/populations/requests?format=ocsf", "/v1/populations/principals"},
		"/v1/populations/{name}/provenance": {"/v1/populations/requests/provenance"},
		"/v1/populations/{name}/sample":     {"/v1/populations/requests/sample?seed=1"},
		"/v1/log/proof/inclusion":           {"/v1/log/proof/inclusion?seq=0"},
		"/v1/log/proof/consistency":         {"/v1/log/proof/consistency?from=1"},
		"/v1/log/records":                   {"/v1/log/records", "/v1/log/records?follow=1&limit=1"},
		"/v1/log/records/{ref}":             {"/v1/log/records/0", "/v1/log/records/0.tlog-proof"},
		"/v1/log/tile/{path...}":            {"/v1/log/tile/0/000.p/1"},
		"/v1/log/tile/entries/{path...}":    {"/v1/log/tile/entries/000.p/1"},
	}
	for _, r := range routes {
		paths, ok := named[r.pattern]
		if !ok && strings.Contains(r.pattern, "{") {
			b.t.Fatalf("the route %s is new: add a path of it to the tests", r.pattern)
		}
		if !ok {
			paths = []string{r.pattern}
		}
		for _, path := range paths {
			if at := routeOf(strings.SplitN(path, "?", 2)[0]); at.least != r.least || at.resource != r.resource {
				b.t.Fatalf("%s is of the route %s, not %s", path, at.pattern, r.pattern)
			}
			list = append(list, example{r, path})
		}
	}
	return list
}

// answered asks for an example as an auditor.
func answered(t *testing.T, h *Handler, method, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	w, err := do(h, request{method: method, path: "/.soc2" + path, user: "auditor", header: header})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return w
}
