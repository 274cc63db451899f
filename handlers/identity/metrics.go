package identity

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwks"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/jwt"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/lockout"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/oidc"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/password"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
)

// The labels of authentications, by their places in the counts.
var (
	methods = [...]string{"mtls", "jwt", "api_key", "password", "oidc", "none"}
	results = [...]string{"accepted", "refused", "locked_out", "unavailable"}
)

var authentications [len(methods)][len(results)]atomic.Int64

// count counts what the sources say of a request.
func count(o outcome) {
	method := slices.Index(methods[:], o.source)
	if method < 0 {
		method = len(methods) - 1
	}
	result := 1
	switch {
	case o.user != nil:
		result = 0
	case o.refusal.Reason == principal.LockedOut:
		result = 2
	case o.refusal.Code() >= http.StatusInternalServerError:
		result = 3
	}
	authentications[method][result].Add(1)
}

// The labels of changes of locks, by their places in the counts.
var (
	lockActions = [...]string{"lock", "extend", "expire", "unlock"}
	lockKinds   = [...]string{lockout.Principal, lockout.Network}
)

var lockChanges [len(lockActions)][len(lockKinds)]atomic.Int64

func countLock(action, what string) {
	a, k := slices.Index(lockActions[:], action), slices.Index(lockKinds[:], what)
	if a >= 0 && k >= 0 {
		lockChanges[a][k].Add(1)
	}
}

// caches are those of the configurations that are in force.
var caches struct {
	mu   sync.Mutex
	list map[*jwt.Cache]bool
}

// showCache has a cache counted until leave is called.
func showCache(c *jwt.Cache) (leave func()) {
	caches.mu.Lock()
	defer caches.mu.Unlock()
	if caches.list == nil {
		caches.list = map[*jwt.Cache]bool{}
	}
	caches.list[c] = true
	return func() {
		caches.mu.Lock()
		defer caches.mu.Unlock()
		delete(caches.list, c)
	}
}

func cachedTokens(emit metrics.Emit) {
	caches.mu.Lock()
	list := slices.Collect(maps.Keys(caches.list))
	caches.mu.Unlock()
	n := 0
	for _, c := range list {
		n += c.Len()
	}
	emit(float64(n))
}

// Metrics are the families of authentication. Their labels are fixed lists, and
// the issuers of the configuration.
func Metrics() []metrics.Family {
	return slices.Concat(credentialMetrics(), lockMetrics(), hashMetrics(), issuerMetrics())
}

func credentialMetrics() []metrics.Family {
	return []metrics.Family{
		{
			Name: "authentications_total", Type: prometheus.CounterValue, Labels: []string{"method", "outcome"},
			Help: "Requests by the source that decided who makes them (mtls, jwt, api_key, password, oidc, or none: no credential) and outcome: accepted, refused (401, 403, and those sent to a login), locked_out, unavailable (what is needed to judge it is away or busy).",
			Read: func(emit metrics.Emit) {
				for i, method := range methods {
					for j, result := range results {
						emit(float64(authentications[i][j].Load()), method, result)
					}
				}
			},
		}, {
			Name: "jwt_cache_lookups_total", Type: prometheus.CounterValue, Labels: []string{"result"},
			Help: "Bearer tokens by whether they were remembered (hit) or had to be verified (miss).",
			Read: func(emit metrics.Emit) {
				hits, misses := jwt.Lookups()
				emit(float64(hits), "hit")
				emit(float64(misses), "miss")
			},
		}, {
			Name: "jwt_cache_tokens", Type: prometheus.GaugeValue, Help: "Verified bearer tokens that are remembered.", Read: cachedTokens,
		}, {
			Name: "sessions_total", Type: prometheus.CounterValue, Labels: []string{"event"},
			Help: "What happened to sessions of browsers: begun, refreshed, outlived (the provider was away), refresh_refused, logged_out (here), logged_out_by_provider; and requests with a session that was over: idle, expired, ended (after a logout), forged. How many are open is not known: they lie in cookies.",
			Read: func(emit metrics.Emit) { oidc.Counts(func(event string, n int64) { emit(float64(n), event) }) },
		},
	}
}

func lockMetrics() []metrics.Family {
	gauge := func(name, help string, value func(c lockout.Count) int) metrics.Family {
		return metrics.Family{Name: name, Help: help, Type: prometheus.GaugeValue, Read: func(emit metrics.Emit) { emit(float64(value(table().Count()))) }}
	}
	return []metrics.Family{
		{
			Name: "lockouts", Type: prometheus.GaugeValue, Labels: []string{"what"}, Help: "Locks that are in force, by what is locked out: principal, network.",
			Read: func(emit metrics.Emit) {
				c := table().Count()
				emit(float64(c.Principals), lockout.Principal)
				emit(float64(c.Networks), lockout.Network)
			},
		},
		{
			Name: "lockout_changes_total", Type: prometheus.CounterValue, Labels: []string{"action", "what"},
			Help: "Changes of locks by action (lock, extend: again within a day, expire, unlock: by somebody) and by what is locked out.",
			Read: func(emit metrics.Emit) {
				for i, action := range lockActions {
					for j, what := range lockKinds {
						emit(float64(lockChanges[i][j].Load()), action, what)
					}
				}
			},
		},
		gauge("lockout_entries", "Entries of the table of failed logins.", func(c lockout.Count) int { return c.Entries }),
		gauge("lockout_capacity_entries", "Entries that the table of failed logins can have.", func(c lockout.Count) int { return c.Size }),
		{
			Name: "lockout_evicted_total", Type: prometheus.CounterValue, Help: "Entries of the table of failed logins that had to make room while they still counted: somebody floods it with names.",
			Read: func(emit metrics.Emit) { emit(float64(table().Count().Evicted)) },
		},
	}
}

func hashMetrics() []metrics.Family {
	gauge := func(name, help string, value func(s password.State) int) metrics.Family {
		return metrics.Family{Name: name, Help: help, Type: prometheus.GaugeValue, Read: func(emit metrics.Emit) {
			n := 0
			eachPooled(func(g *password.Gate) { n += value(g.State()) })
			emit(float64(n))
		}}
	}
	return []metrics.Family{
		gauge("password_hashes_waiting", "Passwords that wait to be hashed.", func(s password.State) int { return s.Waiting }),
		gauge("password_hashes_running", "Passwords that are being hashed.", func(s password.State) int { return s.Running }),
		gauge("password_hashes_parallel", "Passwords that can be hashed at a time.", func(s password.State) int { return s.Parallel }),
		{
			Name: "password_hashes_total", Type: prometheus.CounterValue, Labels: []string{"result"},
			Help: "Passwords that were to be hashed, by result: right, wrong, busy (refused unhashed, to save the processor). Those of who is locked out and those that are remembered are not among them.",
			Read: func(emit metrics.Emit) {
				c := password.Counts()
				emit(float64(c.Right), "right")
				emit(float64(c.Wrong), "wrong")
				emit(float64(c.Busy), "busy")
			},
		},
		{
			Name: "password_hash_seconds_total", Type: prometheus.CounterValue, Help: "Time spent on hashing passwords, in seconds.",
			Read: func(emit metrics.Emit) { emit(password.Counts().Took.Seconds()) },
		},
	}
}

func issuerMetrics() []metrics.Family {
	return []metrics.Family{
		{
			Name: "issuer_up", Type: prometheus.GaugeValue, Labels: []string{"issuer"},
			Help: "1 if an issuer of the configuration gave its keys when it was last asked, 0 if not. Without a sample it was not asked yet.",
			Read: func(emit metrics.Emit) {
				for issuer, s := range issuers() {
					up := 1.0
					if s.Failing {
						up = 0
					}
					emit(up, issuer)
				}
			},
		}, {
			Name: "issuer_keys_timestamp_seconds", Type: prometheus.GaugeValue, Labels: []string{"issuer"},
			Help: "When the keys of an issuer were had that are in force, in seconds since 1970; 0: it has none.",
			Read: func(emit metrics.Emit) {
				for issuer, s := range issuers() {
					at := 0.0
					if !s.At.IsZero() {
						at = float64(s.At.UnixNano()) / float64(time.Second)
					}
					emit(at, issuer)
				}
			},
		},
	}
}

// issuers are the issuers that were asked for their keys. Of one that is there
// with several settings the worst is shown.
func issuers() map[string]jwks.State {
	m := map[string]jwks.State{}
	eachPooled(func(r *jwks.Remote) {
		s := r.State()
		if !s.Asked {
			return
		}
		if other, there := m[r.Issuer]; there {
			s.Failing = s.Failing || other.Failing
			if other.At.Before(s.At) {
				s.At = other.At
			}
		}
		m[r.Issuer] = s
	})
	return m
}

// eachPooled calls fn with each thing of a type in the pool.
func eachPooled[T any](fn func(T)) {
	pool.Range(func(_, v any) bool {
		if p, ok := v.(*pooled[T]); ok {
			fn(p.it)
		}
		return true
	})
}
