package ratelimit

import (
	"encoding/json"
	"html"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// kind is why a request is refused, as its client is told.
type kind struct {
	status int
	uri    string // problem type
	title  string
	detail string
}

// The problem types are those of draft-ietf-httpapi-ratelimit-headers-11,
// section 6.
var (
	quotaExceeded = kind{
		http.StatusTooManyRequests, "https://iana.org/assignments/http-problem-types#quota-exceeded",
		"Too many requests", "This client has used up what it may ask for. Try again later.",
	}
	reducedCapacity = kind{
		http.StatusServiceUnavailable, "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
		"Busy", "The server has as much to do as it can. Try again later.",
	}
	abnormalUsage = kind{
		http.StatusTooManyRequests, "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
		"Shut out", "This client went on although it was refused, and is shut out for a while.",
	}
	denied = kind{
		http.StatusForbidden, "about:blank", "Forbidden", "This client is not served here.",
	}
)

func kindOf(v limiter.Verdict, shared bool) *kind {
	switch {
	case v == limiter.Banned:
		return &abnormalUsage
	case shared:
		return &reducedCapacity
	}
	return &quotaExceeded
}

// problemBody is the body for programs (RFC 9457).
func problemBody(k *kind, zones ...string) []byte {
	b, err := json.Marshal(struct {
		Type     string   `json:"type"`
		Title    string   `json:"title"`
		Status   int      `json:"status"`
		Detail   string   `json:"detail"`
		Violated []string `json:"violated-policies,omitempty"`
	}{k.uri, k.title, k.status, k.detail, zones})
	if err != nil {
		panic(err) // there is nothing in it that can fail
	}
	return append(b, '\n')
}

// pageBody is the body for people.
func pageBody(k *kind) []byte {
	title, detail := html.EscapeString(k.title), html.EscapeString(k.detail)
	return []byte("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">" +
		"<meta name=\"viewport\" content=\"width=device-width\"><title>" + title + "</title>\n<h1>" + title + "</h1>\n<p>" + detail + "</p></html>\n")
}

var (
	deniedProblem = newAnswer(problemBody(&denied))
	deniedPage    = newAnswer(pageBody(&denied))
)

// countOf is what a refusal is counted as.
var countOf = [...]int{limiter.OverRate: countQuota, limiter.OverConcurrency: countConcurrency, limiter.Banned: countBan}

// refuse answers a request that a zone refused. It allocates the values of the
// header fields, and nothing else: see limitFields.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, t *turn, now int64) error {
	first, several, retry := -1, false, int64(0)
	status := http.StatusServiceUnavailable
	for i, z := range t.zones {
		a := &t.asks[i]
		if a.Verdict == limiter.Allowed || z.Shadow {
			continue
		}
		z.shared.counts[countOf[a.Verdict]].Add(1)
		z.track(r, a, now)
		retry = max(retry, a.Retry())
		k := kindOf(a.Verdict, z.capacity)
		// What is wrong with the client matters more than what the server lacks.
		if first < 0 || status == http.StatusServiceUnavailable && k.status != status {
			several = several || first >= 0
			first, status = i, k.status
		} else {
			several = true
		}
	}
	z, v := t.zones[first], t.asks[first].Verdict
	note(r, audit.Decision{Outcome: "limited", Rule: z.Name, Reason: v.String()})

	header := w.Header()
	values := make([]string, 6)
	h.limitFields(header, t, values[:3])
	if retry == 0 { // until a request that is under way ends
		retry = 1
	}
	if s := seconds(retry); s > 0 {
		set(header, fieldRetry, values[3:4:4], strconv.FormatInt(s, 10))
	}
	page := wantsPage(r)
	body := z.policies.problem[v]
	switch {
	case page:
		body = z.policies.page[v]
	case several:
		body = newAnswer(problemBody(kindOf(v, z.capacity), t.violated()...))
	}
	send(w, status, body, page, values[4:])
	return nil
}

// violated are the names of the zones that refuse.
func (t *turn) violated() (names []string) {
	for i, z := range t.zones {
		if t.asks[i].Verdict != limiter.Allowed && !z.Shadow {
			names = append(names, z.Name)
		}
	}
	return names
}

// shut answers a request that no limit was asked about.
func (h *Handler) shut(w http.ResponseWriter, r *http.Request, z *Zone, why int) error {
	reason := "denied"
	if why == shutEmpty {
		reason = "empty key"
	}
	note(r, audit.Decision{Outcome: "limited", Rule: z.Name, Reason: reason})
	body, page := deniedProblem, wantsPage(r)
	if page {
		body = deniedPage
	}
	send(w, http.StatusForbidden, body, page, make([]string, 2))
	return nil
}

// send answers without an error for error routes to handle, so that a refusal
// stays cheap and stays a refusal. Each field costs, so there is no Cache-Control:
// no cache stores these statuses without one (RFC 6585, section 4, and RFC 9110,
// section 15.1).
func send(w http.ResponseWriter, status int, a answer, page bool, values []string) {
	header := w.Header()
	mediaType := "application/problem+json"
	if page {
		mediaType = "text/html; charset=utf-8"
	}
	set(header, "Content-Type", values[0:1:1], mediaType)
	set(header, "Content-Length", values[1:2:2], a.length)
	w.WriteHeader(status)
	_, _ = w.Write(a.body) // a client that has left is no error
}

// wantsPage reports whether a browser asks for a page.
func wantsPage(r *http.Request) bool {
	accept := r.Header["Accept"]
	return len(accept) > 0 && strings.Contains(accept[0], "text/html")
}
