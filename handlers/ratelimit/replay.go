package ratelimit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// Replay holds the zones of a configuration against requests that were recorded,
// to find out whom they would have limited. It changes nothing in the process.
//
// What the log does not have cannot be replayed: limits of concurrency are left
// out, header fields and cookies that the records have not are empty, and costs
// that an upstream declares are those set aside.
type Replay struct {
	servers map[string][]*route
	zones   map[string]*replayed
	top     int
}

// replayed is what a zone would have done.
type replayed struct {
	zone *Zone
	ReplayedZone
	keys map[uint64]*ReplayedKey
}

// ReplayedZone is what a zone would have done.
type ReplayedZone struct {
	Zone    string        `json:"zone"`
	Limit   string        `json:"limit"`
	Mode    string        `json:"mode"`
	Shadow  bool          `json:"shadow,omitempty"`
	Asked   int64         `json:"asked"`
	Refused int64         `json:"refused"`
	Exempt  int64         `json:"exempt"` // by a list
	Denied  int64         `json:"denied"` // by a list, or for an empty key
	Empty   int64         `json:"empty_key"`
	Keys    int           `json:"keys_refused"`
	Lost    int64         `json:"keys_lost"` // for want of capacity
	Notes   []string      `json:"notes,omitempty"`
	Top     []ReplayedKey `json:"top,omitempty"`
}

// ReplayedKey is a key that would have been refused.
type ReplayedKey struct {
	Key     string    `json:"key"`
	Refused int64     `json:"refused"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// maxReplayedKeys is how many refused keys of a zone are remembered.
const maxReplayedKeys = 100_000

// NewReplay finds the handlers of a configuration in JSON. The report will have
// the top keys of each zone that are refused most.
func NewReplay(ctx caddy.Context, config []byte, top int) (*Replay, error) {
	r := &Replay{servers: make(map[string][]*route), zones: make(map[string]*replayed), top: top}
	if err := r.compile(ctx, config); err != nil {
		return nil, err
	}
	if len(r.zones) == 0 {
		return nil, errors.New("the configuration has no soc2_rate_limit")
	}
	return r, nil
}

// add makes a handler ready whose zones have a state of their own.
func (r *Replay) add(ctx caddy.Context, raw []byte) (*Handler, error) {
	h := new(Handler)
	if err := json.Unmarshal(raw, h); err != nil {
		return nil, fmt.Errorf("soc2_rate_limit: %w", err)
	}
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("soc2_rate_limit: %w", err)
	}
	for _, z := range h.Zones {
		if err := r.open(ctx, z); err != nil {
			return nil, fmt.Errorf("soc2_rate_limit: zone %s: %w", z.Name, err)
		}
	}
	h.zones = slices.Clone(h.Zones)
	slices.SortFunc(h.zones, func(a, b *Zone) int {
		if a.shared.zone.Before(b.shared.zone) {
			return -1
		}
		return 1
	})
	return h, nil
}

func (r *Replay) open(ctx caddy.Context, z *Zone) error {
	if err := z.configure(); err != nil {
		return err
	}
	if err := z.loadMatchers(ctx); err != nil {
		return err
	}
	z.applied.Store(true)
	if known := r.zones[z.Name]; known != nil {
		if known.zone.spec() != z.spec() {
			return errors.New("another handler has a zone of this name with other settings")
		}
		z.shared = known.zone.shared
		return z.hashKeys()
	}
	p := &replayed{zone: z, keys: make(map[uint64]*ReplayedKey)}
	in := z.describe()
	p.Zone, p.Limit, p.Mode, p.Shadow = z.Name, in.limit, in.mode, z.Shadow
	config := z.config
	if config.Concurrency > 0 {
		p.Notes = append(p.Notes, "the limit of concurrency is not replayed")
		if config.Concurrency = 0; config.Rate == nil {
			config.Concurrency = 1 << 40 // a zone needs a limit
		}
	}
	if z.Charge != nil && z.Charge.Header != "" {
		p.Notes = append(p.Notes, "what the upstream declared is not in the log: requests cost what is set aside")
	}
	zone, err := limiter.NewZone(config, limiter.NewHasher(), nil)
	if err != nil {
		return err
	}
	z.shared = &shared{name: z.Name, zone: zone}
	r.zones[z.Name] = p
	return z.hashKeys()
}

// Request asks the zones about a recorded request. What would have been refused
// is asked of no further handler, and would have cost nothing.
func (r *Replay) Request(ev *audit.Event) error {
	req, t := recorded(ev), new(turn)
	ask := func(h *Handler) (refused bool, err error) { return r.ask(h, t, req, ev) }
	if routes, ok := r.servers[ev.Server]; ok {
		_, err := follow(routes, req, ask, 0)
		return err
	}
	// The record is of a server that this configuration has not, or names in
	// another way.
	for _, name := range slices.Sorted(maps.Keys(r.servers)) {
		if done, err := follow(r.servers[name], req, ask, 0); err != nil || done {
			return err
		}
	}
	return nil
}

func (r *Replay) ask(h *Handler, t *turn, req *http.Request, ev *audit.Event) (refused bool, err error) {
	t.asks, t.zones = t.asks[:0], t.zones[:0]
	for _, z := range h.zones {
		shut, err := z.collect(t, req)
		if err != nil || shut != 0 {
			return shut != 0, err
		}
	}
	if len(t.asks) == 0 {
		return false, nil
	}
	now := ev.Start.UnixNano()
	admitted := limiter.Decide(now, t.asks)
	for i, z := range t.zones {
		a, p := &t.asks[i], r.zones[z.Name]
		p.Asked++
		if a.Verdict != limiter.Allowed {
			p.refuse(z, a.Hash, req, ev.Start)
		}
		if admitted {
			a.Release()
			if c := z.Charge; c != nil && a.Verdict == limiter.Allowed {
				a.Settle(now, c.of(ev.Status, ev.Bytes, "", a.Cost))
			}
		}
	}
	return !admitted, nil
}

func (p *replayed) refuse(z *Zone, hash uint64, req *http.Request, at time.Time) {
	p.Refused++
	k := p.keys[hash]
	if k == nil {
		p.Keys++
		if len(p.keys) >= maxReplayedKeys {
			return
		}
		k = &ReplayedKey{Key: z.key.show(&keyed{request: req}), First: at.UTC()}
		p.keys[hash] = k
	}
	k.Refused++
	k.Last = at.UTC()
}

// recorded makes a request of its record.
func recorded(ev *audit.Event) *http.Request {
	u := &url.URL{Path: ev.Path, RawQuery: ev.Query}
	if p, err := url.PathUnescape(ev.Path); err == nil {
		u.Path, u.RawPath = p, ev.Path
	}
	req := &http.Request{
		Method: ev.Method, URL: u, Host: ev.Host, Proto: ev.Proto, Header: make(http.Header),
		RequestURI: u.RequestURI(), RemoteAddr: ev.ClientIP, Body: http.NoBody,
	}
	for _, f := range ev.RequestHeaders {
		req.Header.Add(f.Name, f.Value)
	}
	if ev.Agent != "" {
		req.Header.Set("User-Agent", ev.Agent)
	}
	repl := caddy.NewReplacer()
	req = caddyhttp.PrepareRequest(req, repl, nil, &caddyhttp.Server{})
	caddyhttp.SetVar(req.Context(), caddyhttp.ClientIPVarKey, strings.Trim(ev.ClientIP, "[]"))
	repl.Set(userID, ev.User)
	return req
}

// Report is what the zones would have done, by their names.
func (r *Replay) Report() []ReplayedZone {
	var list []ReplayedZone
	for _, name := range slices.Sorted(maps.Keys(r.zones)) {
		p := r.zones[name]
		c := &p.zone.shared.counts
		p.Exempt, p.Denied, p.Empty, p.Lost = c[countExempt].Load(), c[countDenied].Load(), c[countEmpty].Load(), p.zone.shared.zone.Lost()
		p.Top = nil
		for _, k := range p.keys {
			p.Top = append(p.Top, *k)
		}
		slices.SortFunc(p.Top, func(a, b ReplayedKey) int {
			return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Key, b.Key))
		})
		p.Top = p.Top[:min(r.top, len(p.Top))]
		list = append(list, p.ReplayedZone)
	}
	return list
}
