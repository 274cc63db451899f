package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwt"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

const expression = `claims.dept == "it" && "staff" in roles && now - issued_at < duration("12h")`

type bag map[string]string

// Claim implements rules.Claims.
func (b bag) Claim(name string) (string, bool) {
	v, ok := b[name]
	return v, ok
}

// Decide measures the processor time of a decision by a hundred rules, of which
// the last matches, and of a token that is remembered.
func (b *Bench) Decide(ctx context.Context) ([]measure.Figure, error) {
	plain, err := decides("")
	if err != nil {
		return nil, err
	}
	cel, err := decides(expression)
	if err != nil {
		return nil, err
	}
	hit, err := b.remembers()
	if err != nil {
		return nil, err
	}
	rounds, err := b.plan().Run(ctx, loop("plain", plain), loop("CEL", cel), loop("token", hit))
	if err != nil {
		return nil, err
	}
	micro := func(name string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[name].CPUPerMillion() })
	}
	return []measure.Figure{
		measure.AtMost("decision by 100 rules with roles and paths", 1, "µs", micro("plain")).With("CPU time of one core"),
		measure.AtMost("decision by 100 rules, and a CEL expression", 5, "µs", micro("CEL")),
		measure.AtMost("JWT that is remembered", 2, "µs", micro("token")),
	}, nil
}

func decides(cel string) (func() error, error) {
	p := new(rules.Policy)
	for i := range 100 {
		p.Rules = append(p.Rules, &rules.Rule{
			Name: fmt.Sprint("r", i), Roles: []string{fmt.Sprint("role", i), "common"}, Paths: []string{fmt.Sprintf("/api/v%d/*/%d", i, i), fmt.Sprintf("/app%d/*", i)},
		})
	}
	last := p.Rules[99]
	last.Paths, last.CEL = []string{"/api/v99/things/*"}, cel
	now := time.Now()
	e, err := rules.New(p, []string{rules.UserSource}, now)
	if err != nil {
		return nil, err
	}
	q := &rules.Request{
		Principal: "alice@example.com", Roles: []string{"everyone,common,role7,staff"}, Methods: []string{"GET"}, Host: "example.com", Claims: bag{"dept": "it"},
		Path: "/api/v99/things/12345", Now: now, Client: netip.MustParseAddr("192.0.2.1"), IssuedAt: now.Add(-time.Minute), AuthMethod: "oidc",
	}
	return func() error {
		if d := e.Decide(q); !d.Allow || d.Rule != "r99" {
			return fmt.Errorf("the decision is %+v", d)
		}
		return nil
	}, nil
}

// remembers has a token judged that was verified before.
func (b *Bench) remembers() (func() error, error) {
	c, err := newCredentials(b.Dir)
	if err != nil {
		return nil, err
	}
	file, err := reload.Open(c.file("jwks.json"), time.Now, nil, jwks.Parse)
	if err != nil {
		return nil, err
	}
	s := &jwt.Source{Now: time.Now, Issuers: []*jwt.Issuer{{
		Verifier: &jwt.Verifier{Issuer: issuer, Audience: []string{audience}, Algs: []string{"ES256"}, Leeway: time.Minute, Keys: jwks.File{File: file}, Now: time.Now},
		Names:    jwt.Names{Roles: "groups"}, Cache: jwt.NewCache(10_000),
	}}}
	r := &http.Request{Header: http.Header{"Authorization": {"Bearer " + c.token}}}
	return func() error {
		if user, refusal := s.Authenticate(nil, r); user == nil {
			return errors.New(string(refusal.Reason))
		}
		return nil
	}, nil
}

// loop is a variant that does one thing again and again in this process.
func loop(name string, do func() error) measure.Variant {
	return measure.Variant{Name: name, Open: func(context.Context) (measure.Runner, error) {
		return measure.Runner{Run: func(_ context.Context, d time.Duration) (measure.Sample, error) {
			before, start, n := measure.CPU(), time.Now(), int64(0)
			for time.Since(start) < d {
				for range 1000 {
					if err := do(); err != nil {
						return measure.Sample{}, err
					}
				}
				n += 1000
			}
			return measure.Sample{Ops: n, Elapsed: time.Since(start), CPU: measure.CPU() - before}, nil
		}}, nil
	}}
}
