package wire

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// The bounds of what Counts holds, whatever clients do. A key takes less than
// 512 bytes, so all of it stays below 2 MiB.
const (
	// MaxPrefixes is how many keys of a period may tell client networks apart.
	// Beyond it the network is left out.
	MaxPrefixes = 1024

	// MaxKeys is how many keys a period may have before only layer and reason
	// are told apart.
	MaxKeys = 2048

	maxExample = 160
)

// The prefixes under which clients are counted. A /48 is what a site is commonly
// assigned (RFC 6177): under IPv6 a single host may choose among the 2^64
// addresses of a /64, and a single customer among the /64s of its assignment.
const (
	prefix4 = 24
	prefix6 = 48
)

// All are the counts of this process. They outlive configurations, so that a
// reload loses none.
var All = &Counts{}

// Counts adds up what was refused, or answered without a handler. The zero
// value is ready for use.
type Counts struct {
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	mu       sync.Mutex // guards the fields below
	tallies  map[key]*tally
	prefixes int // keys with a prefix
	late     []*streams
	totals   [layers][reasons]int64
}

type key struct {
	listener string
	layer    Layer
	reason   Reason
	prefix   netip.Prefix
	status   int
}

type tally struct {
	count    int64
	from, to time.Time
	example  string
}

// Total is how often something was counted since the process began.
type Total struct {
	Layer  Layer
	Reason Reason
	Count  int64
}

// Add counts n times a reason. The client's address may be the zero Addr, the
// status 0 and the example empty. The example is stored without its control
// characters and shortened.
func (c *Counts) Add(listener string, layer Layer, reason Reason, client netip.Addr, status int, n int64, example string) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals[layer][reason] += n
	c.add(key{listener, layer, reason, network(client), status}, tally{n, now, now, example})
}

// add adds a tally to the key, or to a coarser one if there are too many.
func (c *Counts) add(k key, t tally) {
	if c.tallies == nil {
		c.tallies = make(map[key]*tally)
	}
	have := c.tallies[k]
	if have == nil && k.prefix.IsValid() && c.prefixes >= MaxPrefixes {
		k.prefix = netip.Prefix{}
		have = c.tallies[k]
	}
	if have == nil && len(c.tallies) >= MaxKeys {
		k = key{layer: k.layer, reason: k.reason}
		have = c.tallies[k]
	}
	if have != nil {
		have.plus(t)
		return
	}
	t.example = printable(t.example)
	c.tallies[k] = &t
	if k.prefix.IsValid() {
		c.prefixes++
	}
}

func (t *tally) plus(o tally) {
	t.count += o.count
	if o.from.Before(t.from) {
		t.from = o.from
	}
	if o.to.After(t.to) {
		t.to = o.to
	}
	if t.example == "" {
		t.example = printable(o.example)
	}
}

// Take returns what was counted since the last Take, as records. HTTP/2
// connections that have just ended wait for a later one, unless it is the last.
func (c *Counts) Take(last bool) []audit.ProtocolError {
	now := c.now()
	for _, s := range c.settled(now, last) {
		s.settle()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tallies) == 0 {
		return nil
	}
	list := make([]audit.ProtocolError, 0, len(c.tallies))
	for k, t := range c.tallies {
		list = append(list, audit.ProtocolError{
			Time: now, Listener: k.listener, Layer: k.layer.String(), Reason: k.reason.String(),
			Prefix: prefixText(k.prefix), Status: k.status,
			Count: t.count, From: t.from, To: t.to, Example: t.example,
		})
	}
	c.tallies, c.prefixes = nil, 0
	return list
}

// Return puts records back that the log did not take.
func (c *Counts) Return(list []audit.ProtocolError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range list {
		r := &list[i]
		k := key{listener: r.Listener, layer: layerOf(r.Layer), reason: reasonOf(r.Layer, r.Reason), status: r.Status}
		k.prefix, _ = netip.ParsePrefix(r.Prefix) // or none
		c.add(k, tally{r.Count, r.From, r.To, r.Example})
	}
}

// Totals returns what was counted since the process began. There are at most as
// many totals as layers times reasons.
func (c *Counts) Totals() []Total {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Total
	for l := range layers {
		for r := range reasons {
			if n := c.totals[l][r]; n != 0 {
				list = append(list, Total{l, r, n})
			}
		}
	}
	return list
}

// maxLate is how many ended HTTP/2 connections wait for their last handlers to
// begin. Beyond it they are counted at once.
const maxLate = 1024

// settleAfter is when all handlers of an ended HTTP/2 connection have begun.
const settleAfter = time.Second

// keep keeps the streams of a connection that ended until all their handlers
// have begun. It reports false if too many are kept.
func (c *Counts) keep(s *streams) bool {
	s.ended = c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.late) >= maxLate {
		return false
	}
	c.late = append(c.late, s)
	return true
}

// settled takes out those that were kept long enough, or all.
func (c *Counts) settled(now time.Time, all bool) (list []*streams) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.late[:0]
	for _, s := range c.late {
		if all || now.Sub(s.ended) >= settleAfter {
			list = append(list, s)
		} else {
			kept = append(kept, s)
		}
	}
	clear(c.late[len(kept):])
	c.late = kept
	return list
}

func (c *Counts) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// network is the network that a client is counted under.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := prefix6
	if a.Is4() {
		bits = prefix4
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address
	}
	return p
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// printable is the text in printable ASCII, and not too long.
func printable(s string) string {
	cut := len(s) > maxExample
	if cut {
		s = s[:maxExample]
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if cut {
		s += "..."
	}
	return s
}

func layerOf(name string) Layer {
	for l, n := range layerNames {
		if n == name {
			return Layer(l)
		}
	}
	return TCP
}

// reasonOf finds a reason by its name. One name belongs to two layers.
func reasonOf(layer, name string) Reason {
	if name == "malformed" && layer == "tls" {
		return MalformedTLS
	}
	for r, n := range reasonNames {
		if n == name && Reason(r) != MalformedTLS {
			return Reason(r)
		}
	}
	return Other
}
