package soc2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	soc2 "github.com/caddy-soc2/caddy-soc2"
	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// checked is a server whose checks are watched.
type checked struct {
	t                        *testing.T
	dir, socket              string
	https, plain, bare, late int
	healthy                  atomic.Bool
	upstream                 string
	base                     any
	config                   any // that runs
	ticket                   string
}

// newChecked starts a server for which all checks that the test seeds pass.
func newChecked(t *testing.T) *checked {
	t.Helper()
	if runtime.GOOS != "linux" {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatal("Linux is needed, because SOC2_REQUIRE_ALL is set")
		}
		t.Skip("callers of the admin socket are known on Linux only")
	}
	dir, err := os.MkdirTemp("", "soc2") // short: it is the path of a socket too
	if err != nil {
		t.Fatal(err)
	}
	c := &checked{t: t, dir: dir, socket: dir + "/admin.sock", https: freePort(t), plain: freePort(t), bare: freePort(t), ticket: "CHG-1"}
	before := caddy.DefaultAdminListen
	t.Cleanup(func() {
		if caddy.DefaultAdminListen != before { // else nobody has to wait for those who still read it
			caddy.DefaultAdminListen = before
		}
	})
	t.Cleanup(func() { _ = caddy.Stop(); _ = os.RemoveAll(dir) })
	c.healthy.Store(true)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !c.healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(up.Close)
	c.upstream = strings.TrimPrefix(up.URL, "http://")
	c.base = c.document()
	c.config = c.base
	if err := caddy.Load(c.text(c.base), true); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *checked) document() any {
	text := strings.NewReplacer("DIR", c.dir, "SOCKET", c.socket, "HTTPS", fmt.Sprint(c.https), "PLAIN", fmt.Sprint(c.plain), "BARE", fmt.Sprint(c.bare), "UPSTREAM", c.upstream).Replace(`{
	"admin": {"listen": "soc2unix/SOCKET|0600", "origins": ["localhost"], "config": {"persist": false}},
	"storage": {"module": "file_system", "root": "DIR/caddy"},
	"logging": {"logs": {"default": {"level": "ERROR"}}},
	"apps": {
		"soc2": {"instance": "test", "data_dir": "DIR/soc2", "changes": "load_only", "checks": {"interval": "1s", "thresholds": {
			"TLS-001": {"floor": ["tls1.3"]}, "TLS-003": {"curves": ["x25519"]}, "TLS-002": {"window": ["2s"]}, "HTT-002": {"window": ["2s"]}, "HDR-001": {"window": ["2s"]}, "HDR-002": {"window": ["2s"]},
			"HDR-003": {"window": ["2s"]}, "HDR-004": {"window": ["2s"]}, "ADM-004": {"window": ["2s"]}, "ACC-001": {"paths": ["/admin/*"]}, "ACC-002": {"window": ["2s"]}, "ACC-003": {"window": ["2s"], "removed": ["mallory@2020-01-01"]},
			"CHG-001": {"window": ["2s"]}, "CHG-003": {"window": ["2s"], "pattern": ["^CHG-"]}, "CHG-004": {"window": ["30s"]}, "CHG-006": {"window": ["2s"], "most": ["0"]}, "UPS-002": {"window": ["4s"], "slo": ["99.9"]}
		}}},
		"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
		"tls": {"automation": {"policies": [{"subjects": ["localhost"], "issuers": [{"module": "internal"}]}]}},
		"http": {"http_port": PLAIN, "https_port": HTTPS, "servers": {
			"plain": {"listen": ["127.0.0.1:PLAIN"], "listener_wrappers": [{"wrapper": "soc2"}], "routes": [
				{"match": [{"path": ["/plain"]}], "handle": [{"handler": "static_response", "body": "plain"}], "terminal": true},
				{"handle": [{"handler": "static_response", "status_code": 308, "headers": {"Location": ["https://localhost:HTTPS/"]}}]}]},
			"site": {"automatic_https": {"disable_redirects": true}, "listen": ["127.0.0.1:HTTPS"], "listener_wrappers": [{"wrapper": "soc2"}, {"wrapper": "tls"}], "protocols": ["h1", "h2"], "tls_connection_policies": [{"protocol_min": "tls1.3"}], "routes": [
				{"match": [{"host": ["localhost"]}], "handle": [{"handler": "subroute", "routes": [
					{"match": [{"path": ["/admin/*"]}], "handle": [{"handler": "authentication", "providers": {"http_basic": {"accounts": [
						{"username": "mallory", "password": "$2a$04$NI44NXw3hjUlBOO2STWQOutcDY4e3K0EWPkNG6h5esFyWXBxeznn2"}]}}}]},
					{"handle": [{"handler": "request_body", "max_size": 1000000}, {"handler": "reverse_proxy",
						"health_checks": {"active": {"uri": "/healthz", "interval": "100ms"}}, "upstreams": [{"dial": "UPSTREAM"}, {"dial": "UPSTREAM"}]}]}
				]}], "terminal": true}]},
			"bare": {"automatic_https": {"disable_redirects": true}, "listen": ["127.0.0.1:BARE"], "protocols": ["h1", "h2"], "tls_connection_policies": [{"protocol_min": "tls1.3"}], "routes": [
				{"handle": [{"handler": "soc2_audit"}, {"handler": "static_response", "headers": {"Content-Type": ["text/html"], "Access-Control-Allow-Origin": ["https://evil.example"], "Access-Control-Allow-Credentials": ["true"]}, "body": "hello"}]}]}
		}}
	}
}`)
	doc, err := jsonpatch.Parse([]byte(text))
	if err != nil {
		c.t.Fatal(err)
	}
	return doc
}

func (c *checked) text(doc any) []byte {
	c.t.Helper()
	b, err := jsonpatch.Canonical(doc)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// load loads a configuration by the admin API and returns the status.
func (c *checked) load(doc any) int {
	c.t.Helper()
	socket := c.socket
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://localhost/load", bytes.NewReader(c.text(doc)))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.ticket != "" {
		req.Header.Set("Soc2-Change-Ticket", c.ticket)
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// apply loads the base with a patch.
func (c *checked) apply(patch string) {
	c.t.Helper()
	var ops []jsonpatch.Op
	if err := json.Unmarshal([]byte(patch), &ops); err != nil {
		c.t.Fatal(err)
	}
	doc, err := jsonpatch.Apply(c.base, ops)
	if err != nil {
		c.t.Fatal(err)
	}
	if status := c.load(doc); status != http.StatusOK {
		c.t.Fatalf("loading: status %d", status)
	}
	c.config = doc
}

func (c *checked) get(url string, version uint16, user string) int {
	c.t.Helper()
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: version, ServerName: "localhost"}},
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Host = "localhost"
	if user != "" {
		req.SetBasicAuth(user, "hiccup")
	}
	var resp *http.Response
	for range 2000 { // the certificate is issued in the background
		if resp, err = client.Do(req); err == nil {
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		wait(c.t, 5*time.Millisecond)
	}
	c.t.Fatal(err)
	return 0
}

// wait lets time pass between two looks at something that has no event.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func app(t *testing.T) *soc2.App {
	t.Helper()
	v, err := caddy.ActiveContext().AppIfConfigured("soc2")
	if err != nil {
		t.Fatal(err)
	}
	a, ok := v.(*soc2.App)
	if !ok {
		t.Fatalf("%T", v)
	}
	return a
}

// await waits for a result of a check, and returns how long after begin it was
// found.
func (c *checked) await(id string, begin time.Time, results ...controls.Result) time.Duration {
	c.t.Helper()
	var last *controls.Finding
	for deadline, n := time.Now().Add(30*time.Second), 1; time.Now().Before(deadline); n++ {
		if n%128 == 0 { // it may have come and gone while nobody looked
			if took, ok := c.told(id, begin, results); ok {
				return took
			}
		}
		if r := app(c.t).CheckReport(); r != nil {
			last = r.Check(id)
			for _, want := range results {
				if last.Result == want && !r.Time.Before(begin) {
					return last.Since.Sub(begin)
				}
			}
		}
		wait(c.t, 2*time.Millisecond)
	}
	c.t.Fatalf("%s is not %v after 30 s: %+v", id, results, last)
	return 0
}

// told looks for a record of a result since begin.
func (c *checked) told(id string, begin time.Time, results []controls.Result) (took time.Duration, found bool) {
	c.t.Helper()
	err := app(c.t).Log().Records().Newest(func(_ int64, record []byte) bool {
		r, err := audit.Decode(record)
		if err != nil || r.Time.Before(begin) {
			return false
		}
		n, ok := r.Body.(*audit.CheckTransition)
		if ok && n.Check == id && n.Before != n.After && !n.Time.Before(begin) && slices.Contains(results, controls.Result(n.After)) {
			took, found = n.Time.Sub(begin), true
		}
		return true
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return took, found
}

const (
	siteAt   = "/apps/http/servers/site"
	routesAt = siteAt + "/routes/0/handle/0/routes"
	proxyAt  = routesAt + "/1/handle/1"
)

// byConfig are violations that a change of the configuration brings, and the
// change back mends.
var byConfig = []struct{ check, patch string }{
	{"TLS-001", `[{"op":"replace","path":"` + siteAt + `/tls_connection_policies/0/protocol_min","value":"tls1.2"}]`},
	{"TLS-003", `[{"op":"add","path":"` + siteAt + `/tls_connection_policies/0/curves","value":["secp521r1"]}]`},
	{"TLS-004", `[{"op":"add","path":"` + siteAt + `/tls_connection_policies/0/insecure_secrets_log","value":"SECRETS"}]`},
	{"TLS-008", `[{"op":"add","path":"/apps/tls/automation/policies/1","value":{"subjects":["www.public-name.com"],"issuers":[{"module":"internal"}]}}]`},
	{"HTT-001", `[{"op":"remove","path":"/apps/http/servers/plain/routes/1"}]`},
	{"ADM-003", `[{"op":"add","path":"/admin/identity","value":{"identifiers":["localhost"],"issuers":[{"module":"internal"}]}},{"op":"add","path":"/admin/remote","value":{"listen":"127.0.0.1:LATE","access_control":[{"permissions":[{"paths":["/soc2/"]}]}]}}]`},
	{"CHG-005", `[{"op":"replace","path":"/apps/soc2/changes","value":"observe"}]`},
	{"AUD-001", `[{"op":"remove","path":"/apps/http/servers/bare/routes/0/handle/0"}]`},
	{"AUD-002", `[{"op":"add","path":"` + siteAt + `/logs","value":{"skip_hosts":["localhost"]}}]`},
	{"AUD-007", `[{"op":"add","path":"` + siteAt + `/logs","value":{"should_log_credentials":true}}]`},
	{"RET-001", `[{"op":"add","path":"/apps/soc2/audit","value":{"retain":"61d"}}]`},
	{"ACC-001", `[{"op":"remove","path":"` + routesAt + `/0"}]`},
	{"ACC-004", `[{"op":"add","path":"` + siteAt + `/trusted_proxies","value":{"source":"static","ranges":["0.0.0.0/0"]}}]`},
	{"ACC-005", `[{"op":"add","path":"` + proxyAt + `/headers","value":{"request":{"set":{"Authorization":["Bearer s3cr3t-t0ken-0123456789"]}}}}]`},
	{"EVD-001", `[{"op":"add","path":"` + routesAt + `/0","value":{"match":[{"path":["/.soc2/*"]}],"handle":[{"handler":"soc2_evidence","allow_unauthenticated":true}]}}]`},
	{"RLM-003", `[{"op":"remove","path":"` + routesAt + `/1/handle/0"}]`},
	{"UPS-001", `[{"op":"remove","path":"` + proxyAt + `/health_checks"}]`},
	{"UPS-003", `[{"op":"add","path":"` + proxyAt + `/transport","value":{"protocol":"http","tls":{"insecure_skip_verify":true}}}]`},
	{"UPS-004", `[{"op":"remove","path":"` + proxyAt + `/upstreams/1"}]`},
	{"ADM-001", `[{"op":"replace","path":"/admin/listen","value":"soc2unix/SOCKET|0666"}]`},
	{"CHG-004", `[{"op":"replace","path":"` + siteAt + `/tls_connection_policies/0/protocol_min","value":"tls1.2"}]`},
}

// TestViolationsAreFoundOnARunningServerAndClear seeds violations on a running
// server, by its admin API and by requests, waits until they are found, mends
// them and waits until they are gone. It logs how long each took.
func TestViolationsAreFoundOnARunningServerAndClear(t *testing.T) {
	c := newChecked(t)
	c.late = freePort(t)
	var worst time.Duration
	seed := func(id string, good []controls.Result, brk, mend func()) {
		t.Helper()
		c.await(id, time.Time{}, good...)
		begin := time.Now()
		brk()
		took := c.await(id, begin, controls.Fail)
		worst = max(worst, took)
		begin = time.Now()
		mend()
		cleared := c.await(id, begin, good...)
		t.Logf("%s: found %s after the change began, cleared %s after the fix", id, took.Round(time.Millisecond), cleared.Round(time.Millisecond))
	}
	pass := []controls.Result{controls.Pass, controls.NotApplicable}
	for _, v := range byConfig {
		patch := strings.NewReplacer("SECRETS", c.dir+"/secrets", "LATE", fmt.Sprint(c.late), "SOCKET", c.socket).Replace(v.patch)
		seed(v.check, pass, func() { c.apply(patch) }, func() { c.apply(`[]`) })
	}
	none := func() {}
	bare := func() { c.get(fmt.Sprintf("https://127.0.0.1:%d/", c.bare), 0, "") }
	c.get(fmt.Sprintf("https://127.0.0.1:%d/", c.https), 0, "")
	for _, id := range []string{"HDR-001", "HDR-002", "HDR-003", "HDR-004"} {
		seed(id, pass, bare, none)
	}
	seed("HTT-002", pass, func() { c.get(fmt.Sprintf("http://127.0.0.1:%d/plain", c.plain), 0, "") }, none)
	seed("TLS-002", pass, func() {
		c.apply(`[{"op":"remove","path":"/apps/http/servers/bare/tls_connection_policies/0/protocol_min"}]`)
		c.get(fmt.Sprintf("https://127.0.0.1:%d/", c.bare), tls.VersionTLS12, "")
	}, func() { c.apply(`[]`) })
	seed("ACC-002", pass, func() {
		c.apply(`[{"op":"remove","path":"` + routesAt + `/0"}]`)
		if status := c.get(fmt.Sprintf("https://127.0.0.1:%d/admin/x", c.https), 0, ""); status != 200 {
			t.Fatal(status)
		}
	}, func() { c.apply(`[]`) })
	grace := `[{"op":"add","path":"/apps/http/grace_period","value":"5s"}]`
	seed("CHG-003", pass, func() { c.ticket = ""; c.apply(grace); c.ticket = "CHG-2" }, none)
	seed("CHG-001", pass, func() { // by another part of the process: nobody knows who
		if err := caddy.Load(c.text(c.base), true); err != nil {
			t.Fatal(err)
		}
	}, none)
	seed("CHG-006", pass, func() {
		if status := c.load(map[string]any{"admin": c.config.(map[string]any)["admin"], "apps": map[string]any{"nope": map[string]any{}}}); status == 200 {
			t.Fatal("a configuration with an app that does not exist was loaded")
		}
	}, none)
	seed("UPS-002", pass, func() { c.healthy.Store(false) }, func() { c.healthy.Store(true) })
	key := filepath.Join(c.dir, "soc2", "keys", "log.key")
	seed("ENV-002", pass, func() { chmod(t, key, 0o644) }, func() { chmod(t, key, 0o600) })
	t.Logf("the slowest was found after %s", worst.Round(time.Millisecond))
	c.compareTransitions()
}

func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// compareTransitions compares the records of each check with one another: each
// begins where the one before ended, and the last is what the report says.
func (c *checked) compareTransitions() {
	c.t.Helper()
	report, err := app(c.t).RunChecks(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	last := map[string]*audit.CheckTransition{}
	_, err = app(c.t).Log().Records().Scan(0, func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		if err != nil {
			return err
		}
		n, ok := r.Body.(*audit.CheckTransition)
		if !ok {
			return nil
		}
		if was := last[n.Check]; was != nil && (was.After != n.Before || n.Time.Before(was.Time)) {
			c.t.Errorf("%s: %s → %s at %s comes after %s → %s at %s", n.Check, n.Before, n.After, n.Time, was.Before, was.After, was.Time)
		}
		if n.Definition != controls.Checks().Check(n.Check).SHA256 {
			c.t.Errorf("%s: definition %s", n.Check, n.Definition)
		}
		last[n.Check] = n
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range report.Checks {
		if n := last[f.ID]; n == nil || n.After != string(f.Result) {
			c.t.Errorf("%s is %s, and its last record is %+v", f.ID, f.Result, n)
		}
	}
}
