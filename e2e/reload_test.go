package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// admin is a server whose configuration is loaded through the admin API.
type admin struct {
	h             home
	p             *process
	https, http   int
	api, upstream string
}

func startAdmin(t *testing.T, upstream string) *admin {
	t.Helper()
	return newHome(t).startAdmin(upstream)
}

func (h home) startAdmin(upstream string) *admin {
	t := h.t
	t.Helper()
	a := &admin{h: h, https: freePort(t), http: freePort(t), upstream: upstream}
	a.api = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	name := filepath.Join(h.dir, "config.json")
	if err := os.WriteFile(name, []byte(a.config("", "first")), 0o600); err != nil {
		t.Fatal(err)
	}
	a.p = h.start("serving initial configuration", "caddy", "run", "--config", name)
	tlsReady(t, fmt.Sprintf("127.0.0.1:%d", a.https))
	return a
}

// config is a configuration that proxies to the upstream. soc2 is put into the
// app's options, and the instance makes each configuration another one. No
// connection to the upstream is kept: Caddy keeps those of old configurations
// open for minutes, which has nothing to do with the log.
func (a *admin) config(soc2, instance string) string {
	return fmt.Sprintf(`{
		"admin": {"listen": %q, "config": {"persist": false}},
		"apps": {
			"soc2": {"instance": %q %s},
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
			"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}},
			"http": {"http_port": %d, "grace_period": "5s", "servers": {"site": {
				"listen": ["127.0.0.1:%d"],
				"listener_wrappers": [{"wrapper": "soc2"}, {"wrapper": "tls"}],
				"routes": [{"match": [{"host": ["localhost"]}], "handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": %q}], "transport": {"protocol": "http", "keep_alive": {"enabled": false}}}]}]
			}}}
		}
	}`, a.api, instance, soc2, a.http, a.https, a.upstream)
}

// adminClient opens a connection for each request: a reload replaces the admin
// endpoint and breaks connections to the old one.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// load posts a configuration and returns the status. A connection that the old
// endpoint had not accepted yet may break too: then it is posted again.
func (a *admin) load(t *testing.T, config string) int {
	t.Helper()
	var err error
	for range 5 {
		var resp *http.Response
		resp, err = adminClient.Post("http://"+a.api+"/load", "application/json", strings.NewReader(config)) //nolint:noctx // loopback
		if err == nil {
			_ = resp.Body.Close()
			return resp.StatusCode
		}
	}
	t.Fatal(err)
	return 0
}

// bad returns a configuration that is rejected, after the soc2 app was
// provisioned or by it.
func (a *admin) bad(i int) string {
	switch i % 4 {
	case 0:
		return strings.Replace(a.config("", "bad"), `"handler": "reverse_proxy"`, `"handler": "nonsense"`, 1)
	case 1:
		return a.config(`, "profile": "paranoid"`, "bad")
	case 2:
		return a.config(`, "audit": {"dir": "/proc/nowhere"}`, "bad")
	default: // the app starts, the HTTP app cannot
		return strings.Replace(a.config("", "bad"), `"listen": ["127.0.0.1:`, `"listen": ["192.0.2.1:1", "127.0.0.1:`, 1)
	}
}

// TestFiftyReloadsUnderLoad reloads with a changed and with a rejected
// configuration in turn while requests run. Caddy closes connections of the old
// configuration, so some requests fail, as many as without soc2; those that are
// answered must be recorded.
func TestFiftyReloadsUnderLoad(t *testing.T) {
	a := startAdmin(t, startUpstream(t))
	acked := map[string]seen{}
	files := openFiles(t, a.p)
	l := startLoad(t, fmt.Sprintf("https://localhost:%d", a.https), acked)
	for i := range 50 {
		want, config := http.StatusOK, a.config("", fmt.Sprint("edge-", i))
		if i%2 == 1 {
			want, config = http.StatusBadRequest, a.bad(i/2)
		}
		before := l.count()
		if got := a.load(t, config); got != want {
			t.Fatalf("reload %d: status %d, want %d:\n%s", i, got, want, a.p.text())
		}
		atLeast(t, "answers after a reload", before+40, l.count) // the service goes on
	}
	l.stop()
	checkFiles(t, a.p, files)
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	requests, kinds := a.h.readLog()
	for id, s := range acked {
		if _, ok := requests[id]; !ok {
			t.Errorf("%+v is not recorded", s)
		}
	}
	if kinds["log.open"] != 1 || kinds["log.close"] != 1 {
		t.Errorf("the log was opened %d times and closed %d times", kinds["log.open"], kinds["log.close"])
	}
	t.Logf("50 reloads: %d requests acknowledged, %d failed %v, %d records", len(acked), l.failures(), l.errors, kinds["request"])
	t.Log("\n" + a.h.verify())
}

// checkFiles fails if the server keeps more files open than before. The
// connections of old configurations take a while to go.
func checkFiles(t *testing.T, p *process, before int) {
	t.Helper()
	const slack = 3
	now := 0
	for range 100 {
		if now = openFiles(t, p); now <= before+slack {
			return
		}
		time.Sleep(100 * time.Millisecond) // polling /proc
	}
	t.Errorf("%d open files after, %d before", now, before)
}

func openFiles(t *testing.T, p *process) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		needs(t, "/proc")
	}
	return len(list)
}

// TestRejectedReloadTouchesNothing loads every kind of rejected configuration
// into an idle server: the log must gain nothing but the records of the
// attempts and of the calls.
func TestRejectedReloadTouchesNothing(t *testing.T) {
	a := startAdmin(t, startUpstream(t))
	client := newClient(t, "HTTP/2.0")
	base := fmt.Sprintf("https://localhost:%d", a.https)
	if _, _, err := (call{method: "GET", path: "/small"}).do(t.Context(), client, base); err != nil {
		t.Fatal(err)
	}
	atLeast(t, "changes", 1, func() int { _, kinds := a.h.readLog(); return kinds["config.change"] })
	_, before := a.h.readLog()
	for i := range 4 {
		if got := a.load(t, a.bad(i)); got != http.StatusBadRequest {
			t.Errorf("configuration %d: status %d", i, got)
		}
	}
	_, after := a.h.readLog()
	after["config.change"] -= 4
	if after["admin.call"] < 4 { // one that the old endpoint broke off was made again
		t.Errorf("%d calls", after["admin.call"])
	}
	delete(after, "admin.call")
	if !maps.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	if _, _, err := (call{method: "GET", path: "/small"}).do(t.Context(), client, base); err != nil {
		t.Errorf("after the rejected reloads: %v", err)
	}
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	a.h.verify()
}
