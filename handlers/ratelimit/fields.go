package ratelimit

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// The header fields, in canonical form.
const (
	fieldPolicy    = "Ratelimit-Policy"
	fieldLimit     = "Ratelimit"
	legacyLimit    = "X-Ratelimit-Limit"
	legacyLeft     = "X-Ratelimit-Remaining"
	legacyReset    = "X-Ratelimit-Reset"
	fieldRetry     = "Retry-After"
	fieldAge       = "Age"
	maxRetrySecond = 366 * 24 * 3600
)

// policies are the texts of a zone that are made once.
type policies struct {
	policy  string // RateLimit-Policy
	problem [4]answer
	page    [4]answer
}

// answer is a body that is sent as it is.
type answer struct {
	body   []byte
	length string
}

func (p *policies) make(z *Zone) {
	p.policy = string(appendPolicy(nil, z, z.config.Rate))
	for v := limiter.OverRate; v <= limiter.Banned; v++ {
		p.problem[v] = newAnswer(problemBody(kindOf(v, z.capacity), z.Name))
		p.page[v] = newAnswer(pageBody(kindOf(v, z.capacity)))
	}
}

func newAnswer(body []byte) answer { return answer{body, strconv.Itoa(len(body))} }

// appendPolicy writes a member of RateLimit-Policy
// (draft-ietf-httpapi-ratelimit-headers-11, section 3).
func appendPolicy(b []byte, z *Zone, rate *limiter.Rate) []byte {
	b = append(append(append(b, '"'), z.Name...), `";q=`...)
	if rate == nil {
		b = strconv.AppendInt(b, z.Concurrency, 10)
		return append(b, `;qu="concurrent-requests"`...)
	}
	b = strconv.AppendInt(b, rate.N, 10)
	if z.Charge != nil && z.Charge.Bytes {
		b = append(b, `;qu="content-bytes"`...)
	}
	if w := rate.Window; w%time.Second == 0 {
		b = strconv.AppendInt(append(b, ";w="...), int64(w/time.Second), 10)
	}
	return b
}

// appendLimit writes a member of RateLimit (section 4): what is left, and in how
// many seconds there is more.
func appendLimit(b []byte, z *Zone, a *limiter.Ask) []byte {
	b = append(append(append(b, '"'), z.Name...), `";r=`...)
	b = strconv.AppendInt(b, left(a), 10)
	if t := reset(a); t > 0 {
		b = strconv.AppendInt(append(b, ";t="...), t, 10)
	}
	return b
}

func left(a *limiter.Ask) int64 {
	if a.Verdict != limiter.Allowed {
		return 0
	}
	return a.Left()
}

// reset is the number of seconds, rounded up, until a client can do more.
func reset(a *limiter.Ask) int64 {
	if a.Verdict != limiter.Allowed {
		return seconds(a.Retry())
	}
	return seconds(a.Next())
}

// seconds rounds up; 0 stands for what is not known, or never comes.
func seconds(ns int64) int64 {
	if ns <= 0 || ns == limiter.Never {
		return 0
	}
	return min((ns-1)/int64(time.Second)+1, maxRetrySecond)
}

// limitFields sets the fields that tell of the limits. They are made with one
// allocation for each value and one for the values of all fields.
func (h *Handler) limitFields(header http.Header, t *turn, values []string) {
	switch h.Headers {
	case headersDraft:
		var buf [256]byte
		policy := t.zones[0].policies.policy
		if len(t.zones) > 1 || t.overridden(0) {
			policy = t.joined(buf[:0], func(b []byte, i int) []byte { return appendPolicy(b, t.zones[i], t.asks[i].Rate) })
		}
		set(header, fieldPolicy, values[0:1:1], policy)
		set(header, fieldLimit, values[1:2:2], t.joined(buf[:0], func(b []byte, i int) []byte { return appendLimit(b, t.zones[i], &t.asks[i]) }))
	case headersLegacy:
		i := t.tightest()
		set(header, legacyLimit, values[0:1:1], strconv.FormatInt(t.quota(i), 10))
		set(header, legacyLeft, values[1:2:2], strconv.FormatInt(left(&t.asks[i]), 10))
		set(header, legacyReset, values[2:3:3], strconv.FormatInt(reset(&t.asks[i]), 10))
	}
}

func (t *turn) overridden(i int) bool {
	return t.zones[i].overrides != nil && t.asks[i].Rate != t.zones[i].config.Rate
}

// joined joins what each enforced zone has to say. Shadow zones have nothing to
// tell clients.
func (t *turn) joined(b []byte, member func(b []byte, i int) []byte) string {
	for i, z := range t.zones {
		if z.Shadow {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = member(b, i)
	}
	return string(b)
}

// tightest is the zone that refuses, or has least left.
func (t *turn) tightest() (best int) {
	for i := range t.asks {
		switch {
		case t.zones[i].Shadow:
		case t.zones[best].Shadow || left(&t.asks[i]) < left(&t.asks[best]):
			best = i
		}
	}
	return best
}

func (t *turn) quota(i int) int64 {
	if r := t.asks[i].Rate; r != nil {
		return r.N
	}
	return t.zones[i].Concurrency
}

// enforced reports whether a zone of the request is not a shadow.
func (t *turn) enforced() bool {
	for _, z := range t.zones {
		if !z.Shadow {
			return true
		}
	}
	return false
}

// set sets a field to one value whose slice is given. Slices are never shared
// between responses: handlers outside may change what is in them.
func set(header http.Header, name string, slot []string, value string) {
	if value == "" {
		return
	}
	slot[0] = value
	header[name] = slot
}

// fresh reports whether a response does not come from a cache: it has no Age, or
// that of a response that was just validated.
func fresh(header http.Header) bool {
	age := header[fieldAge]
	return len(age) == 0 || strings.TrimLeft(age[0], "0") == ""
}

// dropFields takes off what a stored response said of limits when it was stored.
func dropFields(header http.Header) {
	for _, name := range []string{fieldPolicy, fieldLimit, legacyLimit, legacyLeft, legacyReset} {
		delete(header, name)
	}
}
