package changes

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes/risk"
	"github.com/caddy-soc2/caddy-soc2/happenings/peer"
)

// Endpoint compares where the admin API really listens with what the
// configuration that runs says. They differ, for example, after a load that was
// rejected: Caddy opens the admin endpoint of a configuration before it knows
// whether the rest of it works, closes the old one, and does not go back.
type Endpoint struct {
	State      string    `json:"state"` // as_configured, deviates, unknown
	Detail     string    `json:"detail,omitempty"`
	Configured []string  `json:"configured"`
	Unexpected []string  `json:"unexpected,omitempty"` // open, and not configured
	Missing    []string  `json:"missing,omitempty"`    // configured, and not open
	Checked    time.Time `json:"checked,omitzero"`
}

// The states of the endpoint.
const (
	stateAgrees   = "as_configured"
	stateDeviates = "deviates"
	stateUnknown  = "unknown"
)

// addresses holds those at which Caddy said it has opened an admin endpoint.
type addresses struct {
	mu   sync.Mutex
	list []string
}

// maxAddresses bounds it. The oldest go first.
const maxAddresses = 64

func (a *addresses) add(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if address == "" || slices.Contains(a.list, address) {
		return
	}
	a.list = append(a.list, address)
	if n := len(a.list) - maxAddresses; n > 0 {
		a.list = slices.Delete(a.list, 0, n)
	}
}

func (a *addresses) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

func (r *recorder) heardEndpoint(fields []zapcore.Field) { r.opened.add(textField(fields, "address")) }

// like reports whether two comparisons had one result.
func (e Endpoint) like(other Endpoint) bool {
	return e.State == other.State && slices.Equal(e.Unexpected, other.Unexpected) && slices.Equal(e.Missing, other.Missing)
}

// endpointSettle is how long an admin endpoint may take to open or to close
// after a change. Caddy closes the old one after it has answered.
const endpointSettle = 500 * time.Millisecond

// checkSoon compares the endpoint when it has settled after a change.
func (r *recorder) checkSoon() {
	if r.soon.Swap(true) {
		return
	}
	time.AfterFunc(endpointSettle, func() {
		r.soon.Store(false)
		r.checkEndpoint()
	})
}

// CheckEndpoint compares the endpoint with the configuration. A deviation, and
// its end, are recorded.
func CheckEndpoint() { process.checkEndpoint() }

// Look compares the endpoint with the configuration too, and records nothing. One
// that is open and not configured is given the time that closing takes.
func Look() Endpoint {
	running := process.running()
	if !running.known {
		return Endpoint{State: stateUnknown}
	}
	e := process.inspect(running.raw)
	if len(e.Unexpected) > 0 {
		time.Sleep(endpointSettle)
		e = process.inspect(process.running().raw)
	}
	return e
}

func (r *recorder) checkEndpoint() {
	install()
	r.checking.Lock()
	defer r.checking.Unlock()
	running := r.running()
	if key, _ := r.tools(); key == nil || !running.known {
		return
	}
	is := r.inspect(running.raw)
	r.mu.Lock()
	was := r.endpoint
	r.mu.Unlock()
	if is.State == stateDeviates && !is.like(was) {
		time.Sleep(endpointSettle) // an endpoint that is being closed is none that is left open
		running = r.running()      // which may be another by now
		is = r.inspect(running.raw)
	}
	r.mu.Lock()
	r.endpoint = is
	r.mu.Unlock()
	if is.like(was) {
		return
	}
	if is.State != stateDeviates && was.State != stateDeviates {
		return // the first look, or one that could not be taken
	}
	c := &audit.ConfigChange{
		Time: is.Checked, Outcome: applied, Source: sourceUnknown, Mode: mode(), Actor: audit.Actor{Known: knownNone},
		Path: "/admin", Error: is.Detail, Before: running.hash, After: running.hash,
	}
	if len(is.Unexpected) > 0 {
		c.Risks = []string{string(risk.AdminOpened)}
	}
	r.counters.change(c)
	write(c, true)
}

// inspect looks at the sockets of this process.
func (r *recorder) inspect(config any) Endpoint {
	e := Endpoint{State: stateAgrees, Checked: time.Now(), Configured: []string{}}
	open, err := listening()
	if err != nil {
		e.State, e.Detail = stateUnknown, err.Error()
		return e
	}
	var wanted []where
	for _, address := range adminAddresses(config) {
		w := parseWhere(address)
		wanted = append(wanted, w)
		e.Configured = append(e.Configured, w.String())
		if !slices.ContainsFunc(open, w.covers) {
			e.Missing = append(e.Missing, w.String())
		}
	}
	for _, address := range listenAddresses(config) { // sites may use such a port too
		wanted = append(wanted, parseWhere(address))
	}
	for _, address := range append(r.opened.all(), caddy.DefaultAdminListen) {
		w := parseWhere(address)
		if slices.ContainsFunc(wanted, w.same) || slices.Contains(e.Unexpected, w.String()) {
			continue
		}
		if slices.ContainsFunc(open, w.covers) {
			e.Unexpected = append(e.Unexpected, w.String())
		}
	}
	slices.Sort(e.Unexpected)
	if len(e.Unexpected) > 0 || len(e.Missing) > 0 {
		e.State = stateDeviates
		e.Detail = "the admin endpoint is configured at [" + strings.Join(e.Configured, " ") + "]; not open: [" +
			strings.Join(e.Missing, " ") + "]; open, but not configured: [" + strings.Join(e.Unexpected, " ") + "]"
	} else {
		e.Detail = "the admin endpoint listens where it is configured"
	}
	return e
}

// adminAddresses returns where a configuration has admin endpoints.
func adminAddresses(config any) (list []string) {
	admin := member(config, "admin")
	if off, _ := member(admin, "disabled").(bool); !off {
		listen, _ := member(admin, "listen").(string)
		list = append(list, firstOf(caddy.NewReplacer().ReplaceAll(listen, ""), caddy.DefaultAdminListen))
	}
	if remote := member(admin, "remote"); remote != nil {
		listen, _ := member(remote, "listen").(string)
		list = append(list, firstOf(caddy.NewReplacer().ReplaceAll(listen, ""), caddy.DefaultRemoteAdminListen))
	}
	return list
}

// listenAddresses returns where the servers of a configuration listen: all
// members "listen" of its apps.
func listenAddresses(config any) (list []string) {
	var walk func(v any, depth int)
	walk = func(v any, depth int) {
		switch v := v.(type) {
		case map[string]any:
			for name, value := range v {
				if name == "listen" {
					list = append(list, textsOf(value)...)
				} else if depth < 16 {
					walk(value, depth+1)
				}
			}
		case []any:
			for _, item := range v {
				if depth < 16 {
					walk(item, depth+1)
				}
			}
		}
	}
	walk(member(config, "apps"), 0)
	return list
}

func textsOf(v any) (list []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, item := range v {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// where is the address of a listening socket.
type where struct {
	unix bool
	path string // of a Unix socket
	host string // IP, localhost, a name, or empty for all
	port uint16
}

func (w where) String() string {
	if w.unix {
		return "unix/" + w.path
	}
	return "tcp/" + net.JoinHostPort(w.host, strconv.Itoa(int(w.port)))
}

// parseWhere reads an address of Caddy. Of a range of ports it takes the first.
func parseWhere(address string) where {
	a, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", 0)
	if err != nil {
		return where{host: address}
	}
	if a.IsUnixNetwork() || a.Network == peer.Network {
		path, _, _ := strings.Cut(a.Host, "|")
		return where{unix: true, path: path}
	}
	return where{host: a.Host, port: uint16(a.StartPort)}
}

// covers reports whether a socket that is open is at this address. A name can
// be any of the machine's addresses.
func (w where) covers(open where) bool {
	if w.unix || open.unix {
		return w.unix && open.unix && w.path == open.path
	}
	if w.port != open.port {
		return false
	}
	ip, err := netip.ParseAddr(w.host)
	got, gotErr := netip.ParseAddr(open.host)
	switch {
	case gotErr != nil:
		return false
	case w.host == "localhost":
		return got.Unmap().IsLoopback()
	case w.host == "" || err == nil && ip.IsUnspecified():
		return got.IsUnspecified()
	case err == nil:
		return got.Unmap() == ip.Unmap()
	}
	return !got.IsUnspecified()
}

// same reports whether two addresses of configurations are one.
func (w where) same(other where) bool {
	if w == other {
		return true
	}
	if w.unix || other.unix || w.port != other.port {
		return false
	}
	loopback := func(h string) bool {
		ip, err := netip.ParseAddr(h)
		return h == "localhost" || err == nil && ip.IsLoopback()
	}
	every := func(h string) bool {
		ip, err := netip.ParseAddr(h)
		return h == "" || err == nil && ip.IsUnspecified()
	}
	return loopback(w.host) && loopback(other.host) || every(w.host) && every(other.host)
}
