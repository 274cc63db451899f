package ratelimit

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/adminapi"
	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// adminBase is the path of the zones on the admin API.
const adminBase = "/soc2/v1/limits"

// Admin shows and changes the state of zones on Caddy's admin endpoint, below
// /soc2/v1/limits. Who may do so is what the admin endpoint is configured for.
// Each look at a zone's keys and each change is a record in the audit log.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.soc2_limits",
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
//	GET  /soc2/v1/limits                    all zones
//	GET  /soc2/v1/limits/ZONE[?top=N]       a zone, its offenders, its busiest keys
//	GET  /soc2/v1/limits/ZONE/usage?key=K   what one key has spent; or id=ID
//	POST /soc2/v1/limits/ZONE/reset         {by, reason, key or id}, or all
//	POST /soc2/v1/limits/ZONE/ban           {by, reason, key or id, for}
//	POST /soc2/v1/limits/ZONE/unban         {by, reason, key or id}
func routeAdmin(w http.ResponseWriter, r *http.Request) (any, error) {
	name, action, _ := strings.Cut(strings.Trim(strings.TrimPrefix(r.URL.Path, adminBase), "/"), "/")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	change, changing := actions[action]
	if action != "" && action != "usage" && !changing {
		return nil, adminapi.Fail(http.StatusNotFound, "There is nothing at this path.")
	}
	if changing && r.Method != http.MethodPost || !changing && !reads {
		allowed := "GET, HEAD"
		if changing {
			allowed = http.MethodPost
		}
		w.Header().Set("Allow", allowed)
		return nil, adminapi.Fail(http.StatusMethodNotAllowed, "Use %s.", allowed)
	}
	if name == "" {
		return listZones(), nil
	}
	s := find(name)
	if s == nil {
		return nil, adminapi.Fail(http.StatusNotFound, "There is no zone %q.", name)
	}
	switch {
	case changing:
		return s.order(w, r, change)
	case action == "usage":
		return s.usage(r)
	}
	return s.detail(r)
}

func find(name string) (found *shared) {
	each(func(s *shared) {
		if s.name == name {
			found = s
		}
	})
	return found
}

// zoneStatus is a zone on the admin API.
type zoneStatus struct {
	Zone      string           `json:"zone"`
	Limit     string           `json:"limit"`
	Mode      string           `json:"mode"`
	Capacity  int              `json:"capacity"`
	Bytes     int64            `json:"bytes"`
	Keys      int              `json:"keys"`
	Banned    int              `json:"banned"`
	Lost      int64            `json:"lost"`
	Decisions map[string]int64 `json:"decisions"`
	Offenders []offender       `json:"offenders,omitempty"`
	Busiest   []keyStatus      `json:"busiest,omitempty"`
}

// offender is a key that is being refused.
type offender struct {
	ID      string    `json:"id,omitempty"`
	Key     string    `json:"key,omitempty"`
	Reason  string    `json:"reason"`
	From    time.Time `json:"from"`
	Last    time.Time `json:"last"`
	Refused int64     `json:"refused"`
	Allowed int64     `json:"allowed"`
}

// keyStatus is what a key has spent.
type keyStatus struct {
	ID     string     `json:"id"`
	Key    string     `json:"key,omitempty"`
	Used   int64      `json:"used"`
	Left   int64      `json:"left"`
	Active int64      `json:"active"`
	Until  *time.Time `json:"banned_until,omitempty"`
	Bans   int64      `json:"bans,omitempty"`
}

func listZones() []zoneStatus {
	list := []zoneStatus{}
	each(func(s *shared) { list = append(list, s.status()) })
	slices.SortFunc(list, func(a, b zoneStatus) int { return cmp.Compare(a.Zone, b.Zone) })
	return list
}

func (s *shared) status() zoneStatus {
	in := s.info.Load()
	v := zoneStatus{
		Zone: s.name, Limit: in.limit, Mode: in.mode, Capacity: s.zone.Capacity(), Bytes: s.zone.Bytes(),
		Lost: s.zone.Lost(), Decisions: make(map[string]int64, countKinds),
	}
	v.Keys, v.Banned = s.zone.Live(), s.zone.Banned()
	for kind, name := range countNames {
		v.Decisions[name] = s.counts[kind].Load()
	}
	return v
}

// How many keys a zone is shown with.
const (
	defaultTop = 20
	maxTop     = 1000
)

func (s *shared) detail(r *http.Request) (any, error) {
	n := defaultTop
	if text := r.URL.Query().Get("top"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxTop {
			return nil, adminapi.Fail(http.StatusBadRequest, "top must be a number from 1 to %d.", maxTop)
		}
	}
	v := s.status()
	wall, now := time.Now(), limiter.Now()
	at := func(ns int64) time.Time { return wall.Add(time.Duration(ns - now)).UTC() }
	for _, r := range s.tracker.List(n) {
		v.Offenders = append(v.Offenders, offender{
			ID: s.id(r.Hash), Key: r.Name, Reason: r.Verdict.String(), From: at(r.From), Last: at(r.Last), Refused: r.Refused, Allowed: r.Allowed,
		})
	}
	for _, u := range s.zone.Top(n) {
		v.Busiest = append(v.Busiest, s.keyStatus(u))
	}
	return v, s.recordRead(r, int64(len(v.Offenders)+len(v.Busiest)))
}

func (s *shared) keyStatus(u limiter.Usage) keyStatus {
	k := keyStatus{ID: s.id(u.Hash), Used: u.Used, Left: u.Left, Active: u.Active, Bans: u.Bans}
	if u.Banned > 0 {
		until := time.Now().Add(time.Duration(u.Banned)).UTC()
		k.Until = &until
	}
	return k
}

func (s *shared) usage(r *http.Request) (any, error) {
	q := r.URL.Query()
	hash, err := s.hash(q.Get("key"), q.Get("id"))
	if err != nil {
		return nil, err
	}
	u := s.zone.Usage(hash, s.info.Load().rates[hash])
	k := s.keyStatus(u)
	k.Key = q.Get("key")
	return k, s.recordRead(r, 1)
}

// hash finds the key that a call names.
func (s *shared) hash(key, id string) (uint64, error) {
	switch {
	case (key == "") == (id == ""):
		return 0, adminapi.Fail(http.StatusBadRequest, "Name a key: its text as key, or its pseudonym as id.")
	case id != "":
		hash, err := s.hashOf(id)
		if err != nil {
			return 0, adminapi.Fail(http.StatusBadRequest, "%s.", err)
		}
		return hash, nil
	}
	template := s.info.Load().key
	if err := template.checkText(key); err != nil {
		return 0, adminapi.Fail(http.StatusBadRequest, "%q: %s.", key, err)
	}
	return template.hashText(&s.zone.Hasher, key), nil
}

// recordRead records that somebody looks at keys.
func (s *shared) recordRead(r *http.Request, rows int64) error {
	return record(&audit.EvidenceRead{
		Time: time.Now(), Actor: actor(r, ""), Resource: "limit", Name: s.name,
		Path: r.URL.Path, Query: r.URL.RawQuery, Outcome: "allowed", Status: http.StatusOK, Rows: rows,
	})
}

// record appends a record and waits until it is durable.
func record(r audit.Body) error {
	book := ledger.Current()
	if book == nil {
		return nil // there is no log
	}
	if !book.Hold() {
		return adminapi.Fail(http.StatusServiceUnavailable, "The audit log is closed, so that this cannot be recorded.")
	}
	defer book.Release()
	if err := book.Write(r, true); err != nil {
		return adminapi.Fail(http.StatusServiceUnavailable, "The audit log takes no record of this: %s.", err)
	}
	return nil
}

// actor is who calls the admin API, as far as that is known.
func actor(r *http.Request, claim string) audit.Actor {
	a := audit.Actor{Known: "none", Address: r.RemoteAddr, Claim: claim}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		a.Name, a.Known, a.How = r.TLS.PeerCertificates[0].Subject.String(), "verified", "mtls"
	} else if claim != "" {
		a.Known, a.How = "asserted", "body"
	}
	return a
}

// order is what somebody orders of a key.
type order struct {
	By     string         `json:"by"`
	Reason string         `json:"reason"`
	Key    string         `json:"key,omitempty"`
	ID     string         `json:"id,omitempty"`
	For    caddy.Duration `json:"for,omitempty"` // of a ban
	All    bool           `json:"all,omitempty"` // reset: all keys
}

// actions are what can be ordered.
var actions = map[string]audit.Kind{
	"reset": audit.KindLimitReset, "ban": audit.KindLimitBan, "unban": audit.KindLimitUnban,
}

const maxOrder = 16 << 10

func (s *shared) order(w http.ResponseWriter, r *http.Request, kind audit.Kind) (any, error) {
	var o order
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return nil, adminapi.Fail(http.StatusBadRequest, "The body must be one JSON object: %s.", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, adminapi.Fail(http.StatusBadRequest, "Something follows the JSON object.")
	}
	if o.By == "" || o.Reason == "" {
		return nil, adminapi.Fail(http.StatusBadRequest, `"by" and "reason" are needed: the log records who ordered it and why.`)
	}
	in := s.info.Load()
	change := &audit.LimitChange{
		Time: time.Now(), Kind: kind, Zone: s.name, Limit: in.limit, Mode: in.mode, Actor: actor(r, o.By), Reason: o.Reason,
	}
	if o.All {
		if kind != audit.KindLimitReset || o.Key != "" || o.ID != "" {
			return nil, adminapi.Fail(http.StatusBadRequest, `"all" is for reset, and stands in place of a key.`)
		}
		n := s.zone.ResetAll()
		change.Key = "(all)"
		return map[string]int{"keys": n}, record(change)
	}
	hash, err := s.hash(o.Key, o.ID)
	if err != nil {
		return nil, err
	}
	was, err := s.carryOut(change, hash, dur(o.For))
	if err != nil {
		return nil, err
	}
	if change.Key, change.Pseudo = o.Key, false; !in.show || o.Key == "" {
		change.Key, change.Pseudo = s.id(hash), true
	}
	return map[string]any{"id": s.id(hash), "changed": was}, record(change)
}

// carryOut does what was ordered of a key.
func (s *shared) carryOut(change *audit.LimitChange, hash uint64, length time.Duration) (was bool, err error) {
	if change.Kind != audit.KindLimitBan {
		if length != 0 {
			return false, adminapi.Fail(http.StatusBadRequest, `"for" is for bans.`)
		}
		if change.Kind == audit.KindLimitReset {
			return s.zone.Reset(hash), nil
		}
		return s.zone.Unban(hash), nil
	}
	if length <= 0 || length > limiter.MaxWindow {
		return false, adminapi.Fail(http.StatusBadRequest, `A ban needs "for", a duration like "1h", of at most %s.`, limiter.MaxWindow)
	}
	change.Until = change.Time.Add(length)
	if !s.zone.Ban(hash, length) {
		return false, adminapi.Fail(http.StatusConflict, "The zone has no room for another ban.")
	}
	return true, nil
}

// Interface guards
var (
	_ caddy.Module      = (*Admin)(nil)
	_ caddy.AdminRouter = (*Admin)(nil)
)
