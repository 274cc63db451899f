package controls

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Tally counts what operating checks look at, as it happens. It has the
// process's counts: configurations come and go. Its methods are safe for
// concurrent use.
type Tally struct {
	// Notify, if set, is called when something was seen that may change a result.
	// It must not wait, and not change once the tally is in use.
	Notify func()

	rules atomic.Pointer[rules]
	moot  atomic.Pointer[map[SightingName]bool] // of which more changes no result

	requests, encrypted, pages, origins, protected, named, hits, calls atomic.Int64

	mu        sync.Mutex // guards the fields below
	since     time.Time
	sightings map[SightingName]*series
	accounts  map[string]time.Time
	full      bool

	happened happened
	accepted accepted
}

// rules are the settings that decide what is counted.
type rules struct {
	protected []string
	maxAge    int64
	origins   map[string]bool
}

// The bounds of what is kept.
const (
	maxSightings = 512  // of each kind, the oldest go first
	maxAccounts  = 4096 // principals
)

// series is what was seen of one kind.
type series struct{ list []Sighting }

// NewTally makes an empty one. since is when counting begins.
func NewTally(since time.Time) *Tally {
	t := &Tally{since: since, sightings: map[SightingName]*series{}, accounts: map[string]time.Time{}}
	t.happened.init()
	t.Set(new(Settings))
	return t
}

// Set takes up the settings of the configuration that runs.
func (t *Tally) Set(s *Settings) {
	age, _ := strconv.ParseFloat(s.List("HDR-001", "max_age")[0], 64) // it was validated
	r := &rules{protected: s.List("ACC-001", "paths"), maxAge: int64(age), origins: map[string]bool{}}
	for _, o := range s.List("HDR-004", "origins") {
		r.origins[strings.ToLower(strings.TrimSuffix(o, "/"))] = true
	}
	t.rules.Store(r)
}

// See notes that something was seen n times.
func (t *Tally) See(name SightingName, now time.Time, what string, n int64) {
	t.mu.Lock()
	s := t.sightings[name]
	if s == nil {
		s = new(series)
		t.sightings[name] = s
	}
	if len(s.list) >= maxSightings && now.Before(s.list[len(s.list)-1].Time) {
		t.mu.Unlock() // of the past, which is read back youngest first
		return
	}
	if last := len(s.list) - 1; last >= 0 && s.list[last].What == what && now.Sub(s.list[last].Time) < time.Second && now.Unix() == s.list[last].Time.Unix() {
		s.list[last].Count += n
		s.list[last].Time = now
	} else {
		if len(s.list) >= maxSightings {
			s.thin()
		}
		s.list = append(s.list, Sighting{now, what, n})
	}
	t.mu.Unlock()
	if moot := t.moot.Load(); moot == nil || !(*moot)[name] {
		t.wake()
	}
}

// thin makes room. The oldest go, but the last of each kind of thing stays as
// long as there is room for it: many calls of one caller do not hide another's.
func (s *series) thin() {
	last := make(map[string]int, len(s.list))
	for i, v := range s.list {
		last[v.What] = i
	}
	excess := maxSightings / 4
	kept := s.list[:0]
	for i, v := range s.list {
		if excess > 0 && last[v.What] != i {
			excess--
			continue
		}
		kept = append(kept, v)
	}
	s.list = append(kept[:0], kept[excess:]...)
}

// sightingChecks are the checks that count what was seen.
var sightingChecks = map[SightingName]string{
	SeenTLS12: "TLS-002", SeenTLSOld: "TLS-002", SeenPlain: "HTT-002", SeenNoHSTS: "HDR-001", SeenWeakPage: "HDR-002", SeenLeak: "HDR-003", SeenCORS: "HDR-004",
	SeenCaller: "ADM-004", SeenKnownCaller: "ADM-004", SeenMissing: "AUD-003", SeenStranger: "ACC-002", SeenCached: "CCH-001", SeenClock: "ENV-003", SeenLimited: "RLM-002",
}

// Know takes note of the results of a run: more of what made a check fail is no
// news.
func (t *Tally) Know(r *Report, settings *Settings) {
	moot := map[SightingName]bool{}
	for name, id := range sightingChecks {
		result := r.Check(id).Result
		switch name {
		case SeenLimited:
			moot[name] = result == Pass || result == NotApplicable
		case SeenTLS12:
			moot[name] = result == Fail || rank(settings.List("TLS-001", "floor")[0]) <= 12
		case SeenKnownCaller:
			moot[name] = result == Fail || len(settings.List("ADM-004", "actors")) == 0
		default:
			moot[name] = result == Fail
		}
	}
	t.moot.Store(&moot)
}

func (t *Tally) wake() {
	if t.Notify != nil {
		t.Notify()
	}
}

// Past says that the requests since an earlier time were counted too.
func (t *Tally) Past(since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if since.Before(t.since) {
		t.since = since
	}
	for _, s := range t.sightings { // they came youngest first
		slices.SortStableFunc(s.list, func(a, b Sighting) int { return a.Time.Compare(b.Time) })
	}
}

// Request counts a request. sent is the header of its response, or nil if that
// is not known any more: it is a record of the past then.
func (t *Tally) Request(ev *audit.Event, sent http.Header) {
	now := ev.Start.Add(ev.Duration)
	r := t.rules.Load()
	t.requests.Add(1)
	switch ev.TLS.Version {
	case "":
		t.plain(ev, now)
	case "1.3":
		t.encrypted.Add(1)
	case "1.2":
		t.encrypted.Add(1)
		t.See(SeenTLS12, now, "TLS 1.2 on "+ev.Server, 1)
	default:
		t.encrypted.Add(1)
		t.See(SeenTLSOld, now, "TLS "+ev.TLS.Version+" on "+ev.Server, 1)
	}
	if ev.Limit.Outcome == "limited" {
		t.See(SeenLimited, now, ev.Limit.Rule, 1)
	}
	if ev.User != "" {
		t.principal(ev.User, now)
	}
	if len(r.protected) > 0 && ev.Path != "" && pathMatches(r.protected, requestPath(ev.Path)) {
		t.protected.Add(1)
		if (ev.Status >= 200 && ev.Status < 300 || ev.Status == http.StatusSwitchingProtocols) && ev.User == "" && ev.TLS.ClientCert == "" {
			t.See(SeenStranger, now, method(ev.Method)+" on "+ev.Server, 1)
		}
	}
	if sent != nil && ev.Status >= 200 && ev.End != audit.EndHijacked {
		t.response(ev, sent, r, now)
	}
}

// method names a method of a request. Clients may send any text as one.
func method(s string) string {
	switch s {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return s
	}
	return "another method"
}

func (t *Tally) plain(ev *audit.Event, now time.Time) {
	switch {
	case ev.Status >= 300 && ev.Status < 400, ev.Status == http.StatusMisdirectedRequest, ev.Status == http.StatusUpgradeRequired,
		ev.Status == http.StatusTooManyRequests, ev.Status == http.StatusServiceUnavailable, ev.Status == 0,
		strings.HasPrefix(ev.Path, "/.well-known/acme-challenge/"):
		return
	}
	t.See(SeenPlain, now, strconv.Itoa(ev.Status)+" on "+ev.Server, 1)
}

func (t *Tally) principal(name string, now time.Time) {
	t.named.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.accounts[name]; !known && len(t.accounts) >= maxAccounts {
		t.full = true
		return
	}
	if now.After(t.accounts[name]) {
		t.accounts[name] = now
	}
}

// response looks at the header of a response, whose names are canonical.
func (t *Tally) response(ev *audit.Event, sent http.Header, r *rules, now time.Time) {
	if ev.TLS.Version != "" && maxAge(first(sent, "Strict-Transport-Security")) < r.maxAge {
		t.See(SeenNoHSTS, now, strconv.Itoa(ev.Status)+" on "+ev.Server, 1)
	}
	if strings.HasPrefix(first(sent, "Content-Type"), "text/html") {
		t.pages.Add(1)
		if lacks := lacking(sent); lacks != "" {
			t.See(SeenWeakPage, now, strconv.Itoa(ev.Status)+" without "+lacks+" on "+ev.Server, 1)
		}
	}
	for _, name := range leaks {
		if len(sent[name]) > 0 {
			t.See(SeenLeak, now, name+" on "+ev.Server, 1)
			break
		}
	}
	if origin := first(sent, "Access-Control-Allow-Origin"); origin != "" {
		t.origins.Add(1)
		if first(sent, "Access-Control-Allow-Credentials") == "true" && !r.trusts(origin, ev.Host) {
			t.See(SeenCORS, now, strconv.Itoa(ev.Status)+" on "+ev.Server, 1)
		}
	}
	if ev.Cache == "hit" {
		t.hits.Add(1)
		if ev.User != "" || len(sent["Set-Cookie"]) > 0 || private(sent["Cache-Control"]) {
			t.See(SeenCached, now, method(ev.Method)+" on "+ev.Server, 1)
		}
	}
}

var leaks = []string{"Server", "X-Powered-By", "Via"}

func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// maxAge reads the max-age of Strict-Transport-Security (RFC 6797, section
// 6.1.1); -1 if there is none.
func maxAge(v string) int64 {
	for part := range strings.SplitSeq(v, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(strings.TrimSpace(name), "max-age") {
			n, err := strconv.ParseInt(strings.Trim(strings.TrimSpace(value), `"`), 10, 64)
			if err == nil && n >= 0 {
				return n
			}
		}
	}
	return -1
}

// lacking names a security header that a page lacks.
func lacking(sent http.Header) string {
	policy := first(sent, "Content-Security-Policy")
	switch {
	case policy == "":
		return "Content-Security-Policy"
	case !strings.EqualFold(first(sent, "X-Content-Type-Options"), "nosniff"):
		return "X-Content-Type-Options"
	case !strings.Contains(policy, "frame-ancestors") && first(sent, "X-Frame-Options") == "":
		return "frame-ancestors"
	case first(sent, "Referrer-Policy") == "":
		return "Referrer-Policy"
	}
	return ""
}

func private(values []string) bool {
	for _, v := range values {
		v = strings.ToLower(v)
		if strings.Contains(v, "private") || strings.Contains(v, "no-store") {
			return true
		}
	}
	return false
}

// trusts reports whether an origin may read responses of a host with
// credentials.
func (r *rules) trusts(origin, host string) bool {
	origin = strings.ToLower(origin)
	return r.origins[origin] || origin == "https://"+strings.ToLower(host)
}

// Facts puts what was counted into a snapshot's server.
func (t *Tally) Facts(s *Server) {
	t.mu.Lock()
	s.Traffic = Traffic{
		Since: t.since, Requests: t.requests.Load(), Encrypted: t.encrypted.Load(), Pages: t.pages.Load(), Origins: t.origins.Load(),
		Protected: t.protected.Load(), Named: t.named.Load(), CacheHits: t.hits.Load(), Calls: t.calls.Load(),
		Sightings: make(map[SightingName][]Sighting, len(t.sightings)), Accounts: maps.Clone(t.accounts), Full: t.full,
	}
	for name, list := range t.sightings {
		s.Traffic.Sightings[name] = append([]Sighting(nil), list.list...)
	}
	t.mu.Unlock()
	t.happened.facts(s)
	s.Accepted = newest(t.accepted.all())
}
