package changes

import (
	"net"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/peer"
)

// callTable holds the calls of the admin API that Caddy has logged and no gate
// has taken yet, by goroutine. Those that no gate takes were refused before any
// handler, or go to one that has no gate.
type callTable struct {
	record *recorder
	mu     sync.Mutex
	open   map[uint64]*openCall
}

// openCall is a call of which the log line was seen.
type openCall struct {
	call  audit.AdminCall
	timer *time.Timer
}

const (
	// maxOpenCalls bounds the table. Further calls are recorded at once, without
	// their status.
	maxOpenCalls = 1024

	// settle is how long a gate or an error may take to claim a call.
	settle = 2 * time.Second
)

// The outcomes of a call.
const (
	outcomeAllowed = "allowed"
	outcomeDenied  = "denied"
	outcomeError   = "error"
)

// outcomeOf tells how a call ended by its status.
func outcomeOf(status int) string {
	switch {
	case status == 401 || status == 403:
		return outcomeDenied
	case status >= 400:
		return outcomeError
	}
	return outcomeAllowed
}

// heardCall takes a call that Caddy logs before it does anything else.
func (r *recorder) heardCall(fields []zapcore.Field) {
	header := headerField(fields)
	if header.Get(probeHeader) == probeSecret {
		return
	}
	c := audit.AdminCall{
		Time: time.Now(), Outcome: outcomeAllowed, Method: textField(fields, "method"), Host: textField(fields, "host"),
		Ticket: asserted(header, headerTicket, maxTicket), Reason: asserted(header, headerReason, maxReason),
	}
	uri := textField(fields, "uri")
	if u, err := url.ParseRequestURI(uri); err == nil {
		c.Path, c.Query = u.Path, u.RawQuery
	} else {
		c.Path = uri
	}
	c.Actor = audit.Actor{Known: knownNone, Address: textField(fields, "remote_ip"), Claim: asserted(header, headerActor, maxClaim)}
	if port := textField(fields, "remote_port"); port != "" {
		c.Actor.How, c.Actor.Address = "tcp", net.JoinHostPort(c.Actor.Address, port)
	}
	if cred, ok := peer.Known(c.Actor.Address); ok {
		c.Actor.Name, c.Actor.Known, c.Actor.How = cred.String(), knownVerified, "peer"
	} else if c.Actor.Claim != "" {
		c.Actor.Known = knownAsserted
	}
	r.calls.put(&c)
}

// heardError takes the error that Caddy answers a call with.
func (r *recorder) heardError(fields []zapcore.Field) {
	status, message := numberField(fields, "status_code"), errorField(fields)
	r.attemptsMu.Lock()
	gated := r.current() != nil
	r.attemptsMu.Unlock()
	if gated {
		return // its gate sees it
	}
	if c := r.calls.claim(goroutine()); c != nil {
		c.Status, c.Outcome, c.Error = status, outcomeOf(status), r.plainError(message)
		r.calls.write(c)
	}
}

// plainError takes the secrets of the configuration that runs out of an error.
func (r *recorder) plainError(message string) string {
	key, _ := r.tools()
	if key == nil || message == "" {
		return ""
	}
	secrets := key.NewSecrets()
	secrets.Add(r.running().secrets)
	return secrets.Scrub(message)
}

// write records a call that no gate has taken.
func (t *callTable) write(c *audit.AdminCall) {
	t.record.counters.call(c)
	write(c, false)
}

// put keeps a call of the goroutine that calls until it is claimed.
func (t *callTable) put(c *audit.AdminCall) {
	g := goroutine()
	if earlier := t.claim(g); earlier != nil {
		t.write(earlier)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= maxOpenCalls {
		t.write(c)
		return
	}
	if t.open == nil {
		t.open = map[uint64]*openCall{}
	}
	o := &openCall{call: *c}
	o.timer = time.AfterFunc(settle, func() {
		if t.remove(g, o) {
			t.write(&o.call)
		}
	})
	t.open[g] = o
}

func (t *callTable) remove(g uint64, o *openCall) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[g] != o {
		return false
	}
	delete(t.open, g)
	return true
}

// claim takes the call of a goroutine off the table.
func (t *callTable) claim(g uint64) *audit.AdminCall {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.open[g]
	if o == nil {
		return nil
	}
	delete(t.open, g)
	o.timer.Stop()
	return &o.call
}

// settleAll records the calls that nobody claimed. The process ends.
func (t *callTable) settleAll() {
	t.mu.Lock()
	open := t.open
	t.open = nil
	t.mu.Unlock()
	for _, o := range open {
		o.timer.Stop()
		t.write(&o.call)
	}
}
