package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// canary is the secret that is planted in the configuration.
const canary = "hunter2Canary"

// bare are listener wrappers without ours.
const bare = `[{"wrapper":"http_redirect"}]`

// change is what the tests compare of a config.change record.
type change struct {
	Kind    string
	Outcome string
	Source  string
	Mode    string
	Actor   struct{ Name, Known, How, Claim string }
	Method  string
	Path    string
	File    string
	Adapter string
	Ticket  string
	Reason  string
	Error   string
	Before  string
	After   string
	Diff    json.RawMessage
	Risks   []string
}

// adminCall is what the tests compare of an admin.call record.
type adminCall struct {
	Kind    string
	Actor   struct{ Name, Known, How, Claim string }
	Method  string
	Path    string
	Host    string
	Ticket  string
	Outcome string
	Status  int
	Error   string
}

// happened returns the records of changes and calls, and all records as they
// are.
func (h home) happened() (changes []change, calls []adminCall, all []string) {
	h.t.Helper()
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		all = append(all, string(b))
		var kind struct{ Kind string }
		if err := json.Unmarshal(b, &kind); err != nil {
			return err
		}
		switch kind.Kind {
		case "config.change":
			var c change
			if err := json.Unmarshal(b, &c); err != nil {
				return err
			}
			changes = append(changes, c)
		case "admin.call":
			var c adminCall
			if err := json.Unmarshal(b, &c); err != nil {
				return err
			}
			calls = append(calls, c)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return changes, calls, all
}

// changer is a server whose configuration is changed in every way there is.
type changer struct {
	t      *testing.T
	h      home
	p      *process
	socket string
	port   int // of the site
	deflt  int // of Caddy's default admin endpoint
	file   string
	seen   int // changes so far
	sent   int // calls so far that must be recorded
}

// config is the configuration, with parts put in. The canary is in twelve places.
func (c *changer) config(parts ...string) string {
	part := map[string]string{
		"soc2": `{"instance":"edge-1"}`, "wrappers": `[{"wrapper":"soc2"}]`, "dial": `127.0.0.1:9`, "body": "first", "handler": "static_response",
		"admin": fmt.Sprintf(`{"listen":"soc2unix/%s|0600","origins":["127.0.0.1"]}`, c.socket), "transport": `{"protocol":"http","tls":{}}`,
	}
	for i := 0; i+1 < len(parts); i += 2 {
		part[parts[i]] = parts[i+1]
	}
	soc2 := ""
	if part["soc2"] != "" {
		soc2 = `"soc2":` + part["soc2"] + `,`
	}
	return fmt.Sprintf(`{"admin":%s,"apps":{%s
		"tls":{"automation":{"policies":[{"subjects":["a.invalid"],"issuers":[{"module":"acme","ca":"https://127.0.0.1:9/","external_account":{"key_id":"%[3]s1","mac_key":"%[3]s2"}}],"on_demand":true}]}},
		"http":{"http_port":1,"servers":{"site":{"listen":["127.0.0.1:%[4]d"],"listener_wrappers":%[5]s,"routes":[
			{"@id":"greeting","handle":[{"handler":"%[6]s","body":"%[7]s","headers":{"X-Api-Key":["%[3]s3"],"Set-Cookie":["s=%[3]s4"]}}],"match":[{"path":["/a"]}]},
			{"match":[{"path":["/b"],"header":{"Authorization":["Bearer %[3]s5"]}}],"handle":[{"handler":"authentication","providers":{"http_basic":{"accounts":[{"username":"bob","password":"JDJhJDE0JGNhbmFyeTYgaHVudGVyMkNhbmFyeQ=="}]}}}]},
			{"match":[{"path":["/c"],"expression":"{http.request.header.X-Api-Key} != '%[3]s11'"}],"handle":[
				{"handler":"map","source":"{http.request.header.X-Api-Key}","destinations":["{who}"],"mappings":[{"input":"%[3]s12","outputs":["bob"]}]},
				{"handler":"headers","request":{"set":{"X-Secret-Token":["%[3]s7"],"X-Note":["password=%[3]s8"],"X-Url":["https://u:%[3]s9@127.0.0.1/?api_key=%[3]s10"]}}},
				{"handler":"reverse_proxy","transport":%[8]s,"upstreams":[{"dial":"%[9]s"}]}]}
		]}}}}}`, part["admin"], soc2, canary, c.port, part["wrappers"], part["handler"], part["body"], part["transport"], part["dial"])
}

// startChanger starts the server, with the default admin endpoint at a port of
// its own.
func startChanger(t *testing.T, args ...string) *changer {
	t.Helper()
	c := &changer{t: t, h: newHome(t), port: freePort(t), deflt: freePort(t)}
	dir, err := os.MkdirTemp("", "soc2-") // a short path: a socket's has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.socket, c.file = filepath.Join(dir, "a.sock"), filepath.Join(c.h.dir, "config.json")
	t.Setenv("CADDY_ADMIN", fmt.Sprintf("127.0.0.1:%d", c.deflt))
	c.save(c.config())
	c.run(args...)
	return c
}

func (c *changer) run(args ...string) {
	c.p = c.h.start("serving initial configuration", "caddy", append([]string{"run", "--config", c.file}, args...)...)
}

func (c *changer) save(config string) {
	c.t.Helper()
	tmp := c.file + ".new"
	if err := os.WriteFile(tmp, []byte(config), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(tmp, c.file); err != nil {
		c.t.Fatal(err)
	}
}

// client calls the admin endpoint at a Unix socket or an address.
func (c *changer) client(address string) *http.Client {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
}

// call calls the admin API on its socket and returns the status and the answer.
func (c *changer) call(method, path, body string, header ...string) (int, string) {
	c.t.Helper()
	return c.callAt(c.socket, "127.0.0.1", method, path, body, header...)
}

func (c *changer) callAt(address, host, method, path, body string, header ...string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+host+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.client(address).Do(r)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", method, path, err, c.p.text())
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	c.sent++
	return resp.StatusCode, string(b)
}

// next returns the one change that was recorded since the last call of it.
func (c *changer) next(what string) change {
	c.t.Helper()
	count := func() int { list, _, _ := c.h.happened(); return len(list) }
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 1500 {
		if count() > c.seen {
			break
		}
		<-tick.C
	}
	list, _, _ := c.h.happened()
	if len(list) != c.seen+1 {
		var got []string
		for _, x := range list[min(c.seen, len(list)):] {
			got = append(got, fmt.Sprintf("%s by %s (%s)", x.Outcome, x.Source, x.Error))
		}
		c.t.Fatalf("%s: %d records, want one: %s\n%s", what, len(list)-c.seen, got, c.p.text())
	}
	c.seen++
	return list[c.seen-1]
}

// want is what a step expects of its record.
type want struct {
	outcome, source, known string
	risks                  []string
	diff                   string // in it
	failure                string // in the error
}

func (c *changer) expect(what string, w want) change {
	c.t.Helper()
	got := c.next(what)
	if got.Outcome != w.outcome || got.Source != w.source || got.Actor.Known != w.known {
		c.t.Fatalf("%s: %s by %s, actor %s; want %+v (error %q)", what, got.Outcome, got.Source, got.Actor.Known, w, got.Error)
	}
	if w.known == "verified" && !strings.HasPrefix(got.Actor.Name, fmt.Sprintf("uid:%d", os.Getuid())) {
		c.t.Errorf("%s: actor %+v", what, got.Actor)
	}
	if !slices.Equal(got.Risks, w.risks) {
		c.t.Errorf("%s: risks %v, want %v", what, got.Risks, w.risks)
	}
	if !strings.Contains(string(got.Diff), w.diff) {
		c.t.Errorf("%s: diff %s, want %s in it", what, got.Diff, w.diff)
	}
	if !strings.Contains(got.Error, w.failure) || (w.failure == "") != (got.Error == "") {
		c.t.Errorf("%s: error %q, want %q in it", what, got.Error, w.failure)
	}
	if (got.Before == got.After) != (w.outcome == "unchanged" || string(got.Diff) == "[]") && got.After != "" && w.source != "unknown" {
		c.t.Errorf("%s: before %s, after %s, diff %s", what, got.Before, got.After, got.Diff)
	}
	return got
}

func TestEveryChangeOfTheConfigurationIsOneRecord(t *testing.T) {
	c := startChanger(t)
	started := c.expect("start", want{outcome: "applied", source: "start", known: "none"})
	if started.Before != "" || len(started.After) != 64 {
		t.Errorf("the first configuration: before %q, after %q", started.Before, started.After)
	}
	status := func(what string, got int, answer string, wanted int) {
		t.Helper()
		if got != wanted {
			t.Fatalf("%s: status %d, want %d: %s\n%s", what, got, wanted, answer, c.p.text())
		}
	}
	ok := func(what string) func(int, string) {
		return func(code int, answer string) { t.Helper(); status(what, code, answer, http.StatusOK) }
	}
	no := func(what string) func(int, string) {
		return func(code int, answer string) {
			t.Helper()
			if code < 400 {
				status(what, code, answer, http.StatusBadRequest)
			}
		}
	}

	if err := c.p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if got := c.expect("SIGUSR1", want{outcome: "applied", source: "signal", known: "none", diff: "[]"}); got.File != c.file {
		t.Errorf("file %q", got.File)
	}
	c.save(`{"apps":{"nope":{"password":"` + canary + `"}}}`)
	if err := c.p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	c.expect("SIGUSR1 with a bad file", want{outcome: "rejected", source: "signal", known: "none", risks: []string{"audit_removed", "admin_opened"}, failure: "unknown module: nope"})
	moved := c.next("the admin endpoint moved") // by Caddy, to the default
	if moved.Source != "unknown" || !slices.Equal(moved.Risks, []string{"admin_opened"}) || !strings.Contains(moved.Error, fmt.Sprintf("open, but not configured: [tcp/127.0.0.1:%d]", c.deflt)) {
		t.Errorf("the endpoint moved: %+v", moved)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", c.deflt)
	code, answer := c.callAt(addr, addr, "POST", "/load", c.config("body", "back"), "Soc2-Change-Actor", "uid:0(root)")
	status("load at the moved endpoint", code, answer, http.StatusOK)
	c.expect("load at the moved endpoint", want{outcome: "applied", source: "admin", known: "asserted", diff: `"value":"back"`})
	if back := c.next("the endpoint is back"); back.Source != "unknown" || len(back.Risks) > 0 {
		t.Errorf("the endpoint is back: %+v", back)
	}

	ok("patch")(c.call("PATCH", "/config/apps/http/servers/site/routes/0/handle/0/body", `"second"`,
		"Soc2-Change-Ticket", "CHG-42", "Soc2-Change-Reason", "a test\u202e", "Soc2-Change-Actor", "alice"))
	got := c.expect("patch", want{outcome: "applied", source: "admin", known: "verified", diff: `[{"op":"replace","path":"/apps/http/servers/site/routes/0/handle/0/body","value":"second"}]`})
	if got.Ticket != "CHG-42" || got.Reason != "a test" || got.Actor.Claim != "alice" || got.Method != "PATCH" || got.Actor.How != "peer" {
		t.Errorf("patch: %+v", got)
	}
	ok("put")(c.call("PUT", "/config/apps/http/servers/site/routes/0", `{"match":[{"path":["/new"]}],"handle":[{"handler":"static_response","body":"x","headers":{"Authorization":["`+canary+`"]}}]}`))
	c.expect("put", want{outcome: "applied", source: "admin", known: "verified", diff: `{"op":"add","path":"/apps/http/servers/site/routes/0"`})
	ok("delete")(c.call("DELETE", "/config/apps/http/servers/site/routes/0", ""))
	c.expect("delete", want{outcome: "applied", source: "admin", known: "verified", diff: `[{"op":"remove","path":"/apps/http/servers/site/routes/0"}]`})
	ok("post")(c.call("POST", "/config/apps/http/servers/site/routes", `{"match":[{"path":["/last"]}],"handle":[{"handler":"static_response"}]}`))
	c.expect("post", want{outcome: "applied", source: "admin", known: "verified", diff: `"path":"/apps/http/servers/site/routes/3"`})
	ok("patch by id")(c.call("PATCH", "/id/greeting/handle/0/body", `"third"`))
	if got = c.expect("patch by id", want{outcome: "applied", source: "admin", known: "verified", diff: `"value":"third"`}); got.Path != "/id/greeting/handle/0/body" {
		t.Errorf("path %q", got.Path)
	}
	no("patch of nothing")(c.call("PATCH", "/config/apps/http/nothing/x", `1`))
	c.expect("patch of nothing", want{outcome: "rejected", source: "admin", known: "verified", failure: "invalid traversal path"})
	no("no JSON")(c.call("PATCH", "/config/apps/http/servers/site/routes/0/handle/0/body", `{"password": `+canary))
	c.expect("no JSON", want{outcome: "rejected", source: "admin", known: "verified", failure: "decoding request body"})
	no("a part that does not load")(c.call("PUT", "/config/apps/http/servers/site/routes/0/handle/0/headers/Authorization", `"`+canary+`"`))
	c.expect("a part that does not load", want{outcome: "rejected", source: "admin", known: "verified", diff: `/headers/Authorization","value":"[secret `, failure: "cannot unmarshal"})
	no("unknown id")(c.call("DELETE", "/id/nobody", ""))
	c.expect("unknown id", want{outcome: "rejected", source: "admin", known: "verified", failure: "unknown object ID"})

	now := c.config("body", "fourth")
	ok("load")(c.call("POST", "/load", now))
	c.expect("load", want{outcome: "applied", source: "admin", known: "verified", diff: `"value":"fourth"`})
	ok("load the same")(c.call("POST", "/load", now))
	c.expect("load the same", want{outcome: "unchanged", source: "admin", known: "verified", diff: "[]"})
	ok("load the same by force")(c.call("POST", "/load", now, "Cache-Control", "must-revalidate"))
	c.expect("load the same by force", want{outcome: "applied", source: "admin", known: "verified", diff: "[]"})
	no("load with an unknown handler")(c.call("POST", "/load", c.config("body", "fifth", "handler", "nonsense")))
	c.expect("load with an unknown handler", want{outcome: "rejected", source: "admin", known: "verified", diff: `"value":"nonsense"`, failure: "nonsense"})
	no("load with a bad option")(c.call("POST", "/load", c.config("soc2", `{"instance":"edge-1","profile":"`+canary+`7"}`)))
	c.expect("load with a bad option", want{outcome: "rejected", source: "admin", known: "verified", diff: `"path":"/apps/soc2/profile","value":"[secret `, failure: "profile"})
	no("load a bad Caddyfile")(c.call("POST", "/load", "localhost {\n\tbasic_auth {\n\t\tbob "+canary+"\n\t}\n\t"+canary+" x\n}\n", "Content-Type", "text/caddyfile"))
	if got = c.expect("load a bad Caddyfile", want{outcome: "rejected", source: "admin", known: "verified", failure: "[secret "}); got.Adapter != "caddyfile" {
		t.Errorf("adapter %q", got.Adapter)
	}
	ok("new upstream")(c.call("POST", "/load", c.config("body", "fourth", "dial", "collector.example.com:443", "transport", `{"protocol":"http","tls":{"insecure_skip_verify":true}}`)))
	c.expect("new upstream", want{outcome: "applied", source: "admin", known: "verified", risks: []string{"upstream_verification_off", "upstream_external_new"}, diff: "collector.example.com"})
	ok("coverage removed")(c.call("POST", "/load", c.config("wrappers", bare)))
	c.expect("coverage removed", want{outcome: "applied", source: "admin", known: "verified", risks: []string{"audit_bypassed"}, diff: "wrapper"})

	c.save(c.config("body", "reloaded"))
	if code, out := c.h.run("caddy", "reload", "--config", c.file, "--address", "unix/"+c.socket); code != 0 {
		t.Fatalf("caddy reload: exit %d: %s", code, out)
	}
	c.sent++
	if got = c.expect("caddy reload", want{outcome: "applied", source: "reload", known: "verified", diff: `"value":"reloaded"`}); got.File != c.file || !strings.Contains(got.Actor.Name, "/exe:"+filepath.Join(bin, "caddy")) {
		t.Errorf("caddy reload: %+v", got)
	}

	pulled := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, c.config("body", "pulled"))
	}))
	defer pulled.Close()
	loader := fmt.Sprintf(`{"listen":"soc2unix/%s|0600","origins":["127.0.0.1"],"config":{"load":{"module":"http","url":%q},"load_delay":"200ms"}}`, c.socket, pulled.URL)
	ok("load a loader")(c.call("POST", "/load", c.config("admin", loader)))
	c.expect("load a loader", want{outcome: "applied", source: "admin", known: "verified", risks: []string{"admin_opened"}, diff: "load_delay"})
	c.expect("loader", want{outcome: "applied", source: "loader", known: "none", diff: `"value":"pulled"`})

	ok("load_only")(c.call("POST", "/load", c.config("soc2", `{"instance":"edge-1","changes":"load_only"}`)))
	c.expect("load_only", want{outcome: "applied", source: "admin", known: "verified", diff: "load_only"})
	for _, x := range [][2]string{{"PATCH", "/config/apps/http/servers/site/routes/0/handle/0/body"}, {"DELETE", "/config/"}, {"POST", "/id/greeting/handle"}, {"PUT", "/config/apps/x"}} {
		code, answer := c.call(x[0], x[1], `"no"`)
		if status(x[0], code, answer, http.StatusForbidden); !strings.Contains(answer, "/load") {
			t.Errorf("answer %s", answer)
		}
		if got := c.expect("a direct change", want{outcome: "rejected", source: "admin", known: "verified", failure: "load_only"}); got.Mode != "load_only" {
			t.Errorf("mode %q", got.Mode)
		}
	}
	no("a load that is rejected does not open the guard")(c.call("POST", "/load", c.config("handler", "nonsense")))
	c.expect("a load that is rejected", want{outcome: "rejected", source: "admin", known: "verified", risks: []string{"change_guard_removed"}, failure: "nonsense"})
	code, answer = c.call("PATCH", "/id/greeting/handle/0/body", `"no"`)
	status("still guarded", code, answer, http.StatusForbidden)
	c.expect("still guarded", want{outcome: "rejected", source: "admin", known: "verified", failure: "load_only"})

	no("app removed under its handlers")(c.call("POST", "/load", c.config("soc2", "")))
	c.expect("app removed under its handlers", want{outcome: "rejected", source: "admin", known: "verified", risks: []string{"audit_removed"}, failure: "needs the audit log"})
	ok("app removed")(c.call("POST", "/load", c.config("soc2", "", "wrappers", bare)))
	c.expect("app removed", want{outcome: "applied", source: "admin", known: "verified", risks: []string{"audit_removed", "audit_bypassed"}, diff: `{"op":"remove","path":"/apps/soc2"}`})
	ok("without a log")(c.call("GET", "/config/", ""))
	ok("app again")(c.call("POST", "/load", c.config("body", "again")))
	c.sent -= 1 // nothing records a call while there is no log; this load ends with one
	c.expect("app again", want{outcome: "applied", source: "admin", known: "verified", diff: `"path":"/apps/soc2"`})

	lastHash := c.lastHash()
	if code := c.p.stop(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit %d:\n%s", code, c.p.text())
	}
	c.save(c.config("body", "restarted"))
	c.run()
	if got = c.expect("restart", want{outcome: "applied", source: "start", known: "none", diff: `"value":"restarted"`}); got.Before != lastHash {
		t.Errorf("before %s, want %s", got.Before, lastHash)
	}
	c.p.stop(syscall.SIGTERM)
	c.h.verify()
	c.noCanary()
	if c.seen < 35 {
		t.Errorf("only %d changes", c.seen)
	}
}

// lastHash is that of the last configuration that was applied.
func (c *changer) lastHash() string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.h.dir, "caddy", "soc2", "changes", "last"))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// noCanary fails the test if the secret is in any record, or in any file of
// the app's data.
func (c *changer) noCanary() {
	c.t.Helper()
	_, _, all := c.h.happened()
	for _, r := range all {
		if strings.Contains(strings.ToLower(r), "canary") {
			c.t.Errorf("the secret is in the log: %s", r)
		}
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(c.h.dir, "caddy", "soc2"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		if bytes.Contains(bytes.ToLower(b), []byte("canary")) {
			c.t.Errorf("the secret is in %s", name)
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			c.t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
		return nil
	})
	if err != nil || files < 6 {
		c.t.Errorf("%d files, %v", files, err)
	}
}

func TestFileWatcherAndEndpointThatIsOff(t *testing.T) {
	c := startChanger(t, "--watch")
	c.expect("start", want{outcome: "applied", source: "start", known: "none"})
	c.save(c.config("body", "watched"))
	if got := c.expect("file changed", want{outcome: "applied", source: "file", known: "none", diff: `"value":"watched"`}); got.File != c.file {
		t.Errorf("file %q", got.File)
	}
	c.save(c.config("handler", "nonsense"))
	c.expect("file changed to nonsense", want{outcome: "rejected", source: "file", known: "none", diff: "nonsense", failure: "nonsense"})
	c.save(c.config("admin", `{"disabled":true}`))
	c.expect("admin off", want{outcome: "applied", source: "file", known: "none", diff: `{"op":"add","path":"/admin/disabled","value":true}`})
	c.save(c.config("admin", `{"disabled":true}`, "body", "unseen"))
	c.expect("change without an endpoint", want{outcome: "applied", source: "file", known: "none", diff: `"value":"unseen"`})
	c.save(c.config("admin", `{"disabled":true}`, "soc2", "", "wrappers", bare))
	c.expect("app removed without an endpoint", want{outcome: "applied", source: "file", known: "none", risks: []string{"audit_removed", "audit_bypassed"}, diff: `/apps/soc2`})
	c.p.stop(syscall.SIGTERM)
	c.h.verify()
	c.noCanary()
}

func TestEveryCallOfTheAdminAPIIsOneRecord(t *testing.T) {
	c := startChanger(t)
	type step struct {
		method, path, host string
		status             int // of the answer
		recorded           int // 0: no gate, so the record does not know it
		outcome            string
	}
	steps := []step{
		{"GET", "/config/", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/config/apps/http", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/config/nothing/x", "127.0.0.1", 400, 400, "error"},
		{"GET", "/id/greeting", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/id/nobody", "127.0.0.1", 404, 404, "error"},
		{"OPTIONS", "/config/", "127.0.0.1", 405, 405, "error"},
		{"GET", "/load", "127.0.0.1", 405, 405, "error"},
		{"POST", "/adapt", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/stop", "127.0.0.1", 405, 405, "error"},
		{"GET", "/soc2/v1/status", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/soc2/v1/limits", "127.0.0.1", 200, 200, "allowed"},
		{"POST", "/soc2/v1/limits/none/ban", "127.0.0.1", 404, 404, "error"},
		{"GET", "/soc2/v1/config/current", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/soc2/v1/config/changes", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/soc2/v1/config/changes/0", "127.0.0.1", 404, 404, "error"},
		{"GET", "/soc2/v1/access/matrix", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/soc2/v1/access/principals", "127.0.0.1", 200, 200, "allowed"},
		{"POST", "/soc2/v1/access/matrix", "127.0.0.1", 405, 405, "error"},
		{"GET", "/soc2/v1/report", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/soc2/v1/config/versions/none", "127.0.0.1", 404, 404, "error"},
		{"GET", "/metrics", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/reverse_proxy/upstreams", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/debug/vars", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/debug/pprof/cmdline", "127.0.0.1", 200, 200, "allowed"},
		{"GET", "/debug/pprof/", "127.0.0.1", 200, 0, "allowed"},
		{"GET", "/nowhere", "127.0.0.1", 404, 0, "allowed"},
		{"BREW", "/config/", "127.0.0.1", 405, 405, "error"},
		{"GET", "/config/", "evil.example", 403, 403, "denied"},
		{"POST", "/load", "evil.example", 403, 403, "denied"},
	}
	for _, s := range steps {
		if code, answer := c.callAt(c.socket, s.host, s.method, s.path, "{}", "Soc2-Change-Actor", "mallory"); code != s.status {
			t.Fatalf("%s %s: status %d, want %d: %s", s.method, s.path, code, s.status, answer)
		}
	}
	atLeast(t, "calls", len(steps), func() int { _, calls, _ := c.h.happened(); return len(calls) })
	if code, answer := c.call("POST", "/stop", ""); code != 200 {
		t.Fatalf("stop: %d %s", code, answer)
	}
	<-c.p.ended
	_, calls, _ := c.h.happened()
	if len(calls) != len(steps)+1 {
		t.Fatalf("%d calls, want %d: %+v", len(calls), len(steps)+1, calls)
	}
	for _, s := range steps {
		i := slices.IndexFunc(calls, func(x adminCall) bool {
			return x.Method == s.method && x.Path == s.path && x.Host == s.host && x.Status == s.recorded && x.Outcome == s.outcome
		})
		if i < 0 {
			t.Errorf("%s %s at %s is not recorded with status %d, %s: %+v", s.method, s.path, s.host, s.recorded, s.outcome, calls)
			continue
		}
		if a := calls[i].Actor; a.Known != "verified" || a.How != "peer" || !strings.Contains(a.Name, fmt.Sprintf("/pid:%d/", os.Getpid())) || a.Claim != "mallory" {
			t.Errorf("%s %s: actor %+v", s.method, s.path, a)
		}
		calls = slices.Delete(calls, i, i+1)
	}
	if calls[0].Path != "/stop" || calls[0].Outcome != "allowed" {
		t.Errorf("%+v", calls)
	}
	c.h.verify()
	c.noCanary()
}
