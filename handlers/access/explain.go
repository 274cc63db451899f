package access

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// Trial is a request that is made up to see what becomes of it.
type Trial struct {
	Method string // default: GET
	Target string // path with its query, or a URL
	Host   string // default: that of the URL; else none

	User   string
	Roles  []string // NAME, or SOURCE:NAME for another source than user
	Claims map[string]string
	How    string        // method of authentication
	MFA    bool          //
	Age    time.Duration // of the credential; negative: not known
	IP     string
	Header http.Header
	Now    time.Time // default: the time it is
}

// Outcome is what became of a trial.
type Outcome struct {
	Policy   string          `json:"policy"`
	Hash     string          `json:"hash"`
	Site     string          `json:"site,omitempty"` // hosts of the routes around the handler
	Mode     string          `json:"mode"`
	Outcome  string          `json:"outcome"` // allow, deny, shadow_deny
	Rule     string          `json:"rule,omitempty"`
	Reason   string          `json:"reason"`
	Shadow   string          `json:"shadow,omitempty"` // rule in shadow that would refuse it
	Readings []rules.Reading `json:"readings,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
}

// bag is what a trial says of its principal.
type bag map[string]string

// Claim implements rules.Claims.
func (b bag) Claim(name string) (string, bool) { v, ok := b[name]; return v, ok }

// Try decides on a made-up request, without a server. Break-glass is not looked
// at.
func (h *Handler) Try(t *Trial) (*Outcome, error) {
	if t.Now.IsZero() {
		t.Now = time.Now()
	}
	found, err := h.Compile(t.Now)
	if err != nil {
		return nil, err
	}
	q, err := h.requestOf(t)
	if err != nil {
		return nil, err
	}
	d, readings := h.engine.Explain(q)
	o := &Outcome{Policy: h.Name, Hash: h.hash, Mode: h.Mode, Outcome: rules.Allow, Rule: d.Rule, Reason: string(d.Reason), Readings: readings}
	if !d.Allow {
		o.Outcome = rules.Deny
		if h.Mode == modeShadow {
			o.Outcome = "shadow_deny"
		}
	}
	if d.Shadow != nil && !d.Shadow.Allow {
		o.Shadow = d.Shadow.Rule
	}
	for _, f := range found {
		o.Warnings = append(o.Warnings, f.Text)
	}
	return o, nil
}

func (h *Handler) requestOf(t *Trial) (*rules.Request, error) {
	u, err := url.ParseRequestURI(t.Target)
	if err != nil {
		return nil, fmt.Errorf("%q is no path and no URL: %w", t.Target, err)
	}
	r := &http.Request{Method: t.Method, URL: u, Header: t.Header}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	q := &rules.Request{
		Principal: t.User, AuthMethod: t.How, MFA: t.MFA, Methods: rules.MethodsOf(r), Host: t.Host, Path: u.Path, RawPath: u.RawPath,
		Query: u.RawQuery, Header: t.Header, Now: t.Now,
	}
	if q.Host == "" {
		q.Host = u.Host
	}
	if u.Opaque != "" {
		q.Path = ""
	}
	if t.IP != "" {
		a, err := netip.ParseAddr(t.IP)
		if err != nil {
			return nil, fmt.Errorf("%q is no address", t.IP)
		}
		q.Client = a.Unmap().WithZone("")
	}
	if t.User == "" {
		if len(t.Roles)+len(t.Claims) > 0 {
			return nil, fmt.Errorf("roles and claims are those of a principal: name it")
		}
		return q, nil
	}
	q.Claims = bag(t.Claims)
	if t.Age >= 0 {
		q.IssuedAt = t.Now.Add(-t.Age)
	}
	q.Roles, err = h.rolesBySource(t.Roles)
	return q, err
}

// rolesBySource sorts roles by their source.
func (h *Handler) rolesBySource(list []string) ([]string, error) {
	names := h.sourceNames()
	out := make([]string, len(names))
	for _, role := range list {
		i := 0
		if source, name, ok := strings.Cut(role, ":"); ok {
			if j := slices.Index(names, source); j >= 0 {
				i, role = j, name
			}
		}
		if strings.Contains(role, ",") {
			return nil, fmt.Errorf("role %q: a role has no comma", role)
		}
		if out[i] != "" {
			out[i] += ","
		}
		out[i] += role
	}
	return out, nil
}

// Placed is a handler where a configuration has it.
type Placed struct {
	*Handler
	Site []string // hosts of the routes around it
}

// Find finds the handlers of this kind in a configuration (JSON), in its order.
func Find(config []byte) ([]Placed, error) {
	var doc any
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var list []Placed
	err := walk(doc, nil, &list)
	return list, err
}

func walk(v any, hosts []string, list *[]Placed) error {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if err := walk(item, hosts, list); err != nil {
				return err
			}
		}
	case map[string]any:
		if v["handler"] == "soc2_access" {
			h, err := load(v)
			if err != nil {
				return err
			}
			*list = append(*list, Placed{h, hosts})
			return nil
		}
		if own := hostsOf(v["match"]); len(own) > 0 {
			hosts = own
		}
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if err := walk(v[name], hosts, list); err != nil {
				return err
			}
		}
	}
	return nil
}

// load reads a handler as Caddy does, where an unknown member is an error.
func load(v map[string]any) (*Handler, error) {
	plain := map[string]any{}
	for name, value := range v {
		if name != "handler" {
			plain[name] = value
		}
	}
	b, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("reading soc2_access: %w", err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	h := new(Handler)
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("reading soc2_access: %w", err)
	}
	return h, nil
}

// hostsOf are the hosts of matchers.
func hostsOf(match any) (hosts []string) {
	sets, _ := match.([]any)
	for _, set := range sets {
		m, _ := set.(map[string]any)
		list, _ := m["host"].([]any)
		for _, h := range list {
			if s, ok := h.(string); ok {
				hosts = append(hosts, s)
			}
		}
	}
	return hosts
}
