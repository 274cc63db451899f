package changes

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/happenings/peer"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// configPath is the path of the whole configuration on the admin API.
const configPath = "/config/"

// stockHandlers finds Caddy's own handlers of the admin API.
//
// They are in a field of the handler of each admin server, which is no API:
// http.ServeMux under the name mux. What is read is checked for its type, so
// that another version of Caddy gives an error and nothing worse.
type stockHandlers struct {
	mu     sync.Mutex
	config http.Handler // of /config/, from any server of this process: all of them show the same
}

// muxOf returns the router of an admin server.
func muxOf(srv *http.Server) (*http.ServeMux, error) {
	if srv == nil || srv.Handler == nil {
		return nil, errors.New("the request is not from an admin server")
	}
	v := reflect.ValueOf(srv.Handler)
	if v.Kind() == reflect.Struct {
		if f := v.FieldByName("mux"); f.IsValid() && f.Type() == reflect.TypeFor[*http.ServeMux]() && !f.IsNil() {
			return (*http.ServeMux)(f.UnsafePointer()), nil
		}
	}
	return nil, fmt.Errorf("the admin API of this version of Caddy is a %T, whose handlers are not known", srv.Handler)
}

// probeMethod is a method that no pattern has, so that it finds the pattern
// without one.
const probeMethod = "SOC2-STOCK"

// find returns Caddy's handler for a request that came in through a gate.
func (s *stockHandlers) find(r *http.Request) (http.Handler, error) {
	srv, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	mux, err := muxOf(srv)
	if err != nil {
		return nil, err
	}
	s.learn(mux)
	h, _ := mux.Handler(&http.Request{Method: probeMethod, URL: r.URL, Host: r.Host})
	return h, nil
}

func (s *stockHandlers) learn(mux *http.ServeMux) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config != nil {
		return
	}
	h, pattern := mux.Handler(&http.Request{Method: probeMethod, URL: &url.URL{Path: configPath}})
	if pattern == configPath {
		s.config = h
	}
}

// read returns the configuration that runs. It waits for a load that is under
// way, so whoever loads must not call it.
func (s *stockHandlers) read() (any, error) {
	s.mu.Lock()
	h := s.config
	s.mu.Unlock()
	if h == nil {
		return nil, errors.New("no admin server was seen yet")
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, configPath, nil)
	if err != nil {
		return nil, err
	}
	w := &memory{header: http.Header{}}
	h.ServeHTTP(w, r)
	if w.status != 0 && w.status != http.StatusOK {
		return nil, fmt.Errorf("reading the configuration: status %d", w.status)
	}
	return jsonpatch.Parse(w.body.Bytes())
}

// memory is a response that stays in memory.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memory) Header() http.Header         { return m.header }
func (m *memory) WriteHeader(status int)      { m.status = status }
func (m *memory) Write(b []byte) (int, error) { return m.body.Write(b) }

// probe is the header by which a gate knows this process's own call.
const probeHeader = "Soc2-Probe"

// probeSecret is its value.
var probeSecret = func() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}()

// probePath is where it calls.
const probePath = "/soc2/v1/config/current"

// probeLimit is how long an admin server that is being started may take to
// answer.
const probeLimit = 3 * time.Second

// reach calls an admin endpoint of this process once, so that a gate sees its
// server. Nothing else gives access to it before somebody calls.
func (s *stockHandlers) reach(config any, fallback string) error {
	s.mu.Lock()
	known := s.config != nil
	s.mu.Unlock()
	if known {
		return nil
	}
	network, address, host, err := endpointOf(config, fallback)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+probePath, nil)
	if err != nil {
		return err
	}
	r.Header.Set(probeHeader, probeSecret)
	if enforced, _ := member(member(config, "admin"), "enforce_origin").(bool); enforced { // else one may be wrong
		r.Header.Set("Origin", originOf(config, host))
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("calling the admin endpoint %s: %w", address, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("calling the admin endpoint %s: status %d", address, resp.StatusCode)
	}
	return nil
}

// endpointOf returns where the admin endpoint of a configuration is, and a host
// that it takes calls for.
func endpointOf(config any, fallback string) (network, address, host string, err error) {
	admin := member(config, "admin")
	if disabled, _ := member(admin, "disabled").(bool); disabled {
		return "", "", "", errors.New("the admin endpoint is disabled")
	}
	listen, _ := member(admin, "listen").(string)
	if listen = caddy.NewReplacer().ReplaceAll(listen, ""); listen == "" {
		listen = fallback
	}
	a, err := caddy.ParseNetworkAddressWithDefaults(listen, "tcp", 2019)
	if err != nil {
		return "", "", "", err
	}
	network, address, host = a.Network, a.JoinHostPort(0), "127.0.0.1"
	switch {
	case a.Network == peer.Network || a.IsUnixNetwork():
		network = "unix"
		address, _, _ = strings.Cut(a.Host, "|")
	case a.IsFdNetwork():
		return "", "", "", errors.New("the admin endpoint is an inherited socket")
	default:
		if ip := net.ParseIP(a.Host); a.Host == "" || ip != nil && ip.IsUnspecified() {
			address = net.JoinHostPort("127.0.0.1", fmt.Sprint(a.StartPort))
		}
		host = a.JoinHostPort(0)
	}
	if list, ok := member(admin, "origins").([]any); ok && len(list) > 0 {
		if origin, ok := list[0].(string); ok {
			if u, err := url.Parse(origin); err == nil && u.Host != "" {
				origin = u.Host
			}
			host = origin
		}
	}
	return network, address, host, nil
}

// originOf returns an origin from which the admin endpoint of a configuration
// takes calls: the first of its origins, or the host itself.
func originOf(config any, host string) string {
	if list, ok := member(member(config, "admin"), "origins").([]any); ok && len(list) > 0 {
		if origin, ok := list[0].(string); ok && strings.Contains(origin, "://") {
			return origin
		}
	}
	return "http://" + host
}

func member(v any, name string) any {
	o, _ := v.(map[string]any)
	return o[name]
}

// effective returns the configuration that runs, from Caddy itself or, where
// there is no admin endpoint, from the copy that Caddy saves on disk. attempted
// is the one that was loaded, as far as it could be seen, and since when that
// began.
func (r *recorder) effective(attempted any, since time.Time) (any, error) {
	if attempted != nil {
		_ = r.stock.reach(attempted, caddy.DefaultAdminListen) // read says that nothing was reached
	}
	config, err := r.stock.read()
	if err == nil {
		return config, nil
	}
	if saved := autosaved(attempted, since); saved != nil {
		return saved, nil
	}
	if attempted != nil {
		return attempted, nil
	}
	return nil, err
}

// autosaved returns the configuration that Caddy saved, if it did so since the
// load began and if the apps in it are those that were attempted.
func autosaved(attempted any, since time.Time) any {
	if persist, ok := member(member(member(attempted, "admin"), "config"), "persist").(bool); ok && !persist {
		return nil
	}
	info, err := os.Stat(caddy.ConfigAutosavePath)
	if err != nil || info.ModTime().Before(since.Add(-time.Second)) { // file systems round
		return nil
	}
	b, err := os.ReadFile(caddy.ConfigAutosavePath)
	if err != nil {
		return nil
	}
	saved, err := jsonpatch.Parse(b)
	if err != nil {
		return nil
	}
	if attempted != nil && len(jsonpatch.Diff(member(withoutIDs(saved), "apps"), member(attempted, "apps"))) > 0 {
		return nil
	}
	return saved
}

// attemptedOf returns the configuration that a context is for, before its apps
// are provisioned: Caddy drops what it has provisioned. The storage and the
// writers of logs are dropped by then. It is nil if it cannot be seen.
func attemptedOf(ctx caddy.Context) any {
	config := configOf(ctx)
	if config == nil {
		return nil
	}
	b, err := json.Marshal(config)
	if err != nil {
		return nil
	}
	doc, err := jsonpatch.Parse(b)
	if err != nil {
		return nil
	}
	return doc
}

// withoutIDs returns a configuration without the members "@id", as Caddy does
// before it loads one.
func withoutIDs(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := make(map[string]any, len(v))
		for name, value := range v {
			if name != "@id" {
				o[name] = withoutIDs(value)
			}
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = withoutIDs(item)
		}
		return list
	}
	return v
}
