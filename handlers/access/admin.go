package access

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/internal/adminapi"
)

// adminBase is the path of access control on the admin API.
const adminBase = "/soc2/v1/access"

// published are the handlers that are provisioned in this process.
var published registry

type registry struct {
	mu   sync.Mutex
	list []*Handler
}

func (p *registry) add(h *Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, h)
}

func (p *registry) remove(h *Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(o *Handler) bool { return o == h })
}

func (p *registry) all() []*Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// Admin shows the policies on Caddy's admin endpoint, below /soc2/v1/access, and
// opens and closes break-glass. Who may do so is what the admin endpoint is
// configured for.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.soc2_access",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	return changes.Routes(serveAdmin, adminBase, adminBase+"/")
}

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	v, err := routeAdmin(w, r)
	return adminapi.Answer(w, r, v, err)
}

// routeAdmin finds what a path stands for:
//
//	GET  /soc2/v1/access                    all policies
//	GET  /soc2/v1/access/break-glass        what is open
//	POST /soc2/v1/access/break-glass        {by, reason, policy, principal, for, ticket}
//	POST /soc2/v1/access/break-glass/close  {by, reason, grant, ticket}
//	POST /soc2/v1/access/reviews            review.SignOff
func routeAdmin(w http.ResponseWriter, r *http.Request) (any, error) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch path := r.URL.Path; {
	case path == adminBase && reads:
		return listPolicies(), nil
	case path == adminBase+"/break-glass" && reads:
		return listGrants(), nil
	case path == adminBase+"/break-glass" && r.Method == http.MethodPost:
		return openGlass(w, r)
	case path == adminBase+"/break-glass/close" && r.Method == http.MethodPost:
		return closeGlass(w, r)
	case path == adminBase+"/reviews" && r.Method == http.MethodPost:
		return signReview(w, r)
	case path == adminBase, path == adminBase+"/reviews", path == adminBase+"/break-glass", path == adminBase+"/break-glass/close":
		return nil, adminapi.Fail(http.StatusMethodNotAllowed, "The path has no method %s.", r.Method)
	}
	return nil, adminapi.Fail(http.StatusNotFound, "There is nothing at this path.")
}

// policyStatus is a policy on the admin API.
type policyStatus struct {
	Policy     string   `json:"policy"`
	Hash       string   `json:"hash"`
	Mode       string   `json:"mode"`
	Rules      []string `json:"rules"`
	BreakGlass []string `json:"break_glass,omitempty"`
	Handlers   int      `json:"handlers"` // that have it
}

func listPolicies() []policyStatus {
	list := []policyStatus{}
	for _, h := range published.all() {
		i := slices.IndexFunc(list, func(s policyStatus) bool { return s.Policy == h.Name && s.Hash == h.hash && s.Mode == h.Mode })
		if i >= 0 {
			list[i].Handlers++
			continue
		}
		s := policyStatus{Policy: h.Name, Hash: h.hash, Mode: h.Mode, Rules: []string{}, Handlers: 1}
		for _, r := range h.Rules {
			s.Rules = append(s.Rules, r.Name)
		}
		if h.BreakGlass != nil {
			s.BreakGlass = h.BreakGlass.Principals
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b policyStatus) int { return cmp.Compare(a.Policy, b.Policy) })
	return list
}

// grantStatus is an open grant on the admin API.
type grantStatus struct {
	Grant     string    `json:"grant"`
	Policy    string    `json:"policy"`
	Principal string    `json:"principal"`
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	Until     time.Time `json:"until"`
	Used      int64     `json:"used"`
}

func (g *grant) status() grantStatus {
	return grantStatus{g.id, g.policy, g.principal, g.by, g.reason, g.until.UTC(), g.used.Load()}
}

func listGrants() []grantStatus {
	list := []grantStatus{}
	for _, g := range openGrants(time.Now()) {
		list = append(list, g.status())
	}
	return list
}

// order is what somebody orders of break-glass.
type order struct {
	By        string         `json:"by"`
	Reason    string         `json:"reason"`
	Ticket    string         `json:"ticket,omitempty"`
	Policy    string         `json:"policy,omitempty"`
	Principal string         `json:"principal,omitempty"`
	For       caddy.Duration `json:"for,omitempty"`
	Grant     string         `json:"grant,omitempty"`
}

const maxOrder = 16 << 10

func readOrder(w http.ResponseWriter, r *http.Request) (o order, err error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, adminapi.Fail(http.StatusBadRequest, "The body must be one JSON object: %s.", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return o, adminapi.Fail(http.StatusBadRequest, "Something follows the JSON object.")
	}
	if o.By == "" || o.Reason == "" {
		return o, adminapi.Fail(http.StatusBadRequest, `"by" and "reason" are needed: the log records who ordered it and why.`)
	}
	return o, nil
}

// actor is who calls the admin API, as far as that is known, and who it says to
// be.
func actor(r *http.Request, claim string) audit.Actor {
	a := changes.ActorOf(r)
	a.Claim = claim
	if a.Name == "" {
		a.Known, a.How = "asserted", "body"
	}
	return a
}

func openGlass(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readOrder(w, r)
	if err != nil {
		return nil, err
	}
	limit, length := glassLimit(o.Policy, o.Principal), time.Duration(o.For)
	switch {
	case limit < 0:
		return nil, adminapi.Fail(http.StatusForbidden, "The break_glass of policy %q does not name the principal %q.", o.Policy, o.Principal)
	case length <= 0 || length > limit:
		return nil, adminapi.Fail(http.StatusBadRequest, `"for" is needed, a duration like "15m", of at most %s.`, limit)
	}
	now := time.Now()
	g := &grant{id: newGrantID(), policy: o.Policy, principal: o.Principal, reason: o.Reason, by: o.By, until: now.Add(length)}
	if err := g.open(g.record(r, &o, "open", now)); err != nil {
		return nil, adminapi.Fail(http.StatusServiceUnavailable, "It is not open, because its record was not kept: %s.", err)
	}
	return g.status(), nil
}

// glassLimit is for how long a policy lets a principal in at most, or less than
// nothing if it does not. Several sites may have a policy of one name, of which
// the strictest counts: what is open is open at all of them.
func glassLimit(policy, principal string) time.Duration {
	limit := time.Duration(-1)
	for _, h := range published.all() {
		if h.Name != policy || h.BreakGlass == nil || !slices.Contains(h.BreakGlass.Principals, principal) {
			continue
		}
		if ttl := time.Duration(h.BreakGlass.MaxTTL); limit < 0 || ttl < limit {
			limit = ttl
		}
	}
	return limit
}

func closeGlass(w http.ResponseWriter, r *http.Request) (any, error) {
	o, err := readOrder(w, r)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	list := openGrants(now)
	i := slices.IndexFunc(list, func(g *grant) bool { return g.id == o.Grant })
	if i < 0 {
		return nil, adminapi.Fail(http.StatusNotFound, "There is no open grant %q.", o.Grant)
	}
	record := list[i].record(r, &o, "close", now)
	record.Used = list[i].used.Load()
	if err := list[i].end(record); err != nil {
		return nil, adminapi.Fail(http.StatusServiceUnavailable, "It is closed, but its record was not kept: %s.", err)
	}
	return list[i].status(), nil
}

func (g *grant) record(r *http.Request, o *order, action string, now time.Time) *audit.BreakGlass {
	return &audit.BreakGlass{
		Time: now, Action: action, Grant: g.id, Policy: g.policy, Principal: g.principal, Actor: actor(r, o.By),
		Reason: o.Reason, Ticket: o.Ticket, Until: g.until,
	}
}

// Interface guards
var (
	_ caddy.Module      = (*Admin)(nil)
	_ caddy.AdminRouter = (*Admin)(nil)
)
