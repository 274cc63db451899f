// Package traffic makes the audit events of a web application's traffic.
//
// What a record costs on disk depends on how much its members repeat, so the
// assumptions matter. They are those of the front proxy of one medium-sized
// application, and none of them is there to please a compressor:
//
//   - Requests come from sessions: one client with one address, source port,
//     browser and TLS connection. About 200 are active at a time, each makes
//     some 12 requests (geometric) and is then replaced. A tenth of them follow
//     one another at once, as assets follow a page.
//   - 5,000 clients, popular ones more often (Zipf, s = 1.1); 15 % have an IPv6
//     address. Source ports are uniform.
//   - 300 paths (Zipf, s = 1.2): pages, an API with numeric ids from 20,000
//     objects in a third of its calls, and static files with a content hash in
//     the name. 15 % of the pages and calls have a query string.
//   - 24 user agents with the shares of browsers, applications, crawlers and
//     probes. Probes ask for paths of their own and get 404.
//   - Request ids are random UUIDs of version 7. Every twentieth session, one
//     with a tracing client, sends a random W3C trace id with each request.
//   - Durations are log-normal around a median of the path, in nanoseconds; the
//     upstream's share of it is exact to the nanosecond too. Times are the
//     arrival's, exact to the nanosecond; arrivals are a Poisson process.
//   - Static files are served from the cache three times of four, then no
//     upstream is asked. Sizes of pages and answers are log-normal, those of
//     static files fixed. Three upstreams.
//   - 15 % of the sessions are logged in, as one of 800 users.
//   - TLS 1.3 for all but 2 %, resumed in 60 % of the sessions, mostly HTTP/2.
//
// A record of all this has some 750 bytes in its body. Figures about 600-byte
// records use the lean form: the listener speaks plain HTTP behind somebody
// else's TLS, and no limits or headers are configured.
package traffic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Instance is the name of the instance in the records.
const Instance = "edge-1"

const (
	sessions = 200
	clients  = 5000
	users    = 800
	objects  = 20000
)

// Generator makes events. It belongs to one goroutine.
type Generator struct {
	Lean bool // make records of about 600 bytes, as stored

	rnd    *rand.Rand
	paths  *rand.Zipf
	people *rand.Zipf
	open   []session
	last   int // session of the last event
}

// session is one client's connection.
type session struct {
	left   int
	ip     string
	port   string
	agent  agent
	tls    audit.TLS
	proto  string
	user   string
	traced bool
}

// New returns a generator. Equal seeds give equal traffic, but for what
// Next is told.
func New(seed uint64) *Generator {
	rnd := rand.New(rand.NewPCG(seed, 0x5eed)) //nolint:gosec // traffic need not be secret
	return &Generator{
		rnd: rnd, open: make([]session, sessions),
		paths:  rand.NewZipf(rnd, 1.2, 4, uint64(len(routes)-1)),
		people: rand.NewZipf(rnd, 1.1, 20, clients-1),
	}
}

// Next fills in the next event, which arrived at now.
func (g *Generator) Next(ev *audit.Event, now time.Time) {
	if g.rnd.IntN(10) > 0 {
		g.last = g.rnd.IntN(len(g.open))
	}
	s := &g.open[g.last]
	if s.left == 0 {
		g.begin(s)
	}
	s.left--
	*ev = audit.Event{
		Start: now, ID: g.id(now), Server: "srv0", Listener: "10.0.0.5:443",
		ClientIP: s.ip, ClientPort: s.port, TLS: s.tls, Proto: s.proto, Host: s.tls.ServerName,
		Agent: s.agent.name, User: s.user, Limit: audit.Decision{Outcome: "allow"},
		Profile: "strict", End: audit.EndComplete,
	}
	if s.user != "" {
		ev.AuthMethod = "session"
	}
	if s.traced {
		ev.Trace = fmt.Sprintf("%016x%016x", g.rnd.Uint64(), g.rnd.Uint64())
	}
	if g.Lean {
		ev.TLS, ev.Limit, ev.Profile = audit.TLS{}, audit.Decision{}, ""
	}
	if s.agent.probes {
		g.probe(ev)
		return
	}
	g.request(ev, routes[g.paths.Uint64()])
}

// Wait is the time until the next arrival at a rate of requests a second.
func (g *Generator) Wait(rate float64) time.Duration {
	return time.Duration(g.rnd.ExpFloat64() / rate * float64(time.Second))
}

// id is a UUIDv7 from the generator's own source, so that runs can be repeated.
func (g *Generator) id(now time.Time) (id audit.ID) {
	id = audit.NewID(now)
	hi, lo := g.rnd.Uint64(), g.rnd.Uint64()
	id[6], id[7] = 0x70|byte(hi)&0x0f, byte(hi>>8)
	id[8] = 0x80 | byte(hi>>16)&0x3f
	for i := 9; i < 16; i++ {
		id[i] = byte(lo >> (8 * (i - 9)))
	}
	return id
}

// begin replaces a session that has ended.
func (g *Generator) begin(s *session) {
	*s = session{
		left: 1 + int(g.rnd.ExpFloat64()*11.5), ip: address(g.people.Uint64()),
		port: fmt.Sprint(1024 + g.rnd.IntN(64512)), agent: pickAgent(g.rnd.Float64()),
		proto: "HTTP/2.0", traced: g.rnd.IntN(20) == 0,
		tls: audit.TLS{
			Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768",
			ServerName: "app.example.com", ALPN: "h2", Resumed: g.rnd.IntN(10) < 6,
		},
	}
	if g.rnd.IntN(3) == 0 {
		s.tls.Group = "X25519"
	}
	if g.rnd.IntN(7) == 0 {
		s.tls.Cipher = "TLS_AES_256_GCM_SHA384"
	}
	if g.rnd.IntN(100) < 15 {
		s.user = fmt.Sprintf("user%d@example.com", g.rnd.IntN(users))
	}
	if s.agent.old {
		s.proto, s.tls.ALPN = "HTTP/1.1", "http/1.1"
	}
	if g.rnd.IntN(50) == 0 {
		s.tls.Version, s.tls.Cipher, s.tls.Group = "1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "P-256"
	}
}

// address is the n-th client's, scattered over the address space.
func address(n uint64) string {
	h := (n + 1) * 0x9e3779b97f4a7c15
	if h>>40%100 < 15 {
		return fmt.Sprintf("2001:db8:%x:%x::%x", h>>48, h>>32&0xffff, h&0xffff)
	}
	return fmt.Sprintf("%d.%d.%d.%d", 1+h>>56%223, h>>48&0xff, h>>40&0xff, h>>32&0xff)
}

// request is a request for a path of the application.
func (g *Generator) request(ev *audit.Event, r route) {
	ev.Method, ev.Path, ev.Status = r.method, r.path, 200
	if r.ids && g.rnd.IntN(3) == 0 {
		ev.Path += fmt.Sprintf("/%d", g.rnd.IntN(objects))
	}
	if !r.static && g.rnd.IntN(100) < 15 {
		ev.Query = queries[g.rnd.IntN(len(queries))]
	}
	ev.Bytes = r.bytes
	if !r.static {
		ev.Bytes = int64(float64(r.bytes) * math.Exp(0.5*g.rnd.NormFloat64()))
	}
	switch n := g.rnd.IntN(1000); {
	case n < 60 && r.static:
		ev.Status, ev.Bytes = 304, 0
	case n < 20:
		ev.Status, ev.Bytes = 302, 0
	case n < 35:
		ev.Status, ev.Bytes = 404, 1180
	case n < 45:
		ev.Status, ev.Bytes = 401, 92
	case n < 48:
		ev.Status, ev.Bytes, ev.Error = 502, 0, fmt.Sprintf("%09x", g.rnd.Uint64()>>28)
	case n < 55:
		ev.End = audit.EndAborted
		ev.Bytes = g.rnd.Int64N(ev.Bytes + 1)
	}
	upstream := time.Duration(float64(r.median) * math.Exp(0.6*g.rnd.NormFloat64()))
	own := time.Duration(float64(180*time.Microsecond) * math.Exp(0.4*g.rnd.NormFloat64()))
	if r.static && g.rnd.IntN(4) > 0 {
		ev.Cache, ev.Duration = "hit", own
		return
	}
	if r.static {
		ev.Cache = "miss"
	}
	ev.Duration = upstream + own
	ev.Upstream = audit.Upstream{Address: upstreams[g.rnd.IntN(len(upstreams))], Status: ev.Status, Latency: upstream}
}

// probe is a request of somebody who looks for what is not there.
func (g *Generator) probe(ev *audit.Event) {
	ev.Method, ev.Path, ev.Status, ev.Bytes = "GET", probes[g.rnd.IntN(len(probes))], 404, 1180
	ev.Duration = time.Duration(float64(400*time.Microsecond) * math.Exp(0.4*g.rnd.NormFloat64()))
}
