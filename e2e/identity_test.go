package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// portal is a site whose people log in at an OpenID provider. Both are real
// programs.
type portal struct {
	home
	site, issuer string
	caddy        *process
	provider     *process
	secrets      []string // seen by the browsers, and by nobody else
}

const clientSecret = "a-secret-that-must-never-be-seen"

func newPortal(t *testing.T) *portal {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		needs(t, "node")
	}
	if _, err := os.Stat("oidc/node_modules"); err != nil {
		needs(t, "npm ci in e2e/oidc")
	}
	https, http, idp := freePort(t), freePort(t), freePort(t)
	p := &portal{home: newHome(t), site: fmt.Sprintf("https://localhost:%d", https), issuer: fmt.Sprintf("http://127.0.0.1:%d", idp), secrets: []string{clientSecret}}
	p.startProvider(node, idp)

	key := make([]byte, 32)
	_, _ = rand.Read(key)
	p.write("session.keys", base64.StdEncoding.EncodeToString(key)+"\n")
	p.write("client.secret", clientSecret+"\n")
	config := p.write("Caddyfile", fmt.Sprintf(`{
	admin off
	skip_install_trust
	local_certs
	http_port %d
	default_bind 127.0.0.1
	soc2 {
		audit {
			checkpoint every 1s
		}
	}
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
}
%s {
	soc2_auth {
		oidc %s {
			client_id app
			client_secret_file %s
			scopes profile offline_access
			session_keys %s
			roles groups
			logout_file %s
			retry 1s
			grace 1h
		}
	}
	respond "user={http.auth.user.id} roles={http.auth.user.roles} method={http.auth.user.method} mfa={http.auth.user.mfa} cookie={http.request.header.Cookie}"
}
`, http, p.site, p.issuer, filepath.Join(p.dir, "client.secret"), filepath.Join(p.dir, "session.keys"), filepath.Join(p.dir, "logouts.json")))
	p.caddy = p.start("serving initial configuration", "caddy", "run", "--config", config)
	tlsReady(t, strings.TrimPrefix(p.site, "https://"))
	return p
}

func (p *portal) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *portal) startProvider(node string, port int) {
	p.t.Helper()
	const base = "/.soc2/auth/"
	idp := &process{t: p.t, ready: make(chan struct{}), ended: make(chan struct{})}
	idp.cmd = exec.Command(node, "provider.mjs", fmt.Sprint(port), p.site+base+"callback", p.site+base+"backchannel-logout", p.site+base+"logged-out")
	idp.cmd.Dir = "oidc"
	idp.cmd.Env = append(os.Environ(), "HOME="+p.dir, "NODE_TLS_REJECT_UNAUTHORIZED=0")
	out, err := idp.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	idp.cmd.Stderr = idp.cmd.Stdout
	if err := idp.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go idp.read(out, "ready")
	p.t.Cleanup(func() { _ = idp.cmd.Process.Kill(); <-idp.ended })
	select {
	case <-idp.ready:
	case <-time.After(time.Minute):
		p.t.Fatal("the provider does not start: " + idp.text())
	}
	p.provider = idp
}

// tell changes how the provider behaves, or asks it.
func (p *portal) tell(path string) string {
	p.t.Helper()
	res, err := http.Get(p.issuer + "/test/" + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return string(body)
}

// person is somebody with a browser.
type person struct {
	*portal
	name   string
	client *http.Client
}

func (p *portal) person(name string) *person {
	p.t.Helper()
	client := newClient(p.t, "HTTP/1.1")
	client.Jar, _ = cookiejar.New(nil)
	return &person{p, name, client}
}

// response is what a browser got.
type response struct {
	status   int
	location string
	body     string
	header   http.Header
}

// visit asks for a page, without following redirects.
func (s *person) visit(address string) response {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	return s.do(r)
}

func (s *person) do(r *http.Request) response {
	s.t.Helper()
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		if len(c.Value) > 20 {
			s.mu().Lock()
			s.secrets = append(s.secrets, c.Value)
			s.mu().Unlock()
		}
	}
	location := res.Header.Get("Location")
	if location != "" {
		u, err := r.URL.Parse(location)
		if err != nil {
			s.t.Fatal(err)
		}
		location = u.String()
	}
	return response{res.StatusCode, location, string(body), res.Header}
}

var portalMu sync.Mutex

func (p *portal) mu() *sync.Mutex { return &portalMu }

// callback goes through the provider's pages and returns the address at the
// site that the provider then sends the browser to.
func (s *person) callback(address string) string {
	s.t.Helper()
	for range 12 {
		if strings.HasPrefix(address, s.site) {
			return address
		}
		if strings.Contains(address, "/interaction/") && !strings.Contains(address, "?") {
			address += "?user=" + s.name
		}
		a := s.visit(address)
		if a.location == "" {
			s.t.Fatalf("the provider stops at %s: %d %s\n%s", address, a.status, a.body, s.provider.text())
		}
		address = a.location
	}
	s.t.Fatal("the provider redirects without end")
	return ""
}

// login logs in and returns the page, and the address of the callback.
func (s *person) login(path string) (response, string) {
	s.t.Helper()
	a := s.visit(s.site + path)
	if a.status != http.StatusFound || !strings.HasPrefix(a.location, s.issuer+"/auth?") {
		s.t.Fatalf("no redirect to the provider: %+v\n%s", a, s.caddy.text())
	}
	back := s.callback(a.location)
	u, _ := url.Parse(back)
	s.secrets = append(s.secrets, u.Query().Get("code"))
	return s.visit(back), back
}

// session is the cookie of the session.
func (s *person) session() string { return s.cookies("__Host-soc2_session_") }

// cookies are those of the site whose names begin so.
func (s *person) cookies(prefix string) string {
	var list []string
	u, _ := url.Parse(s.site)
	for _, c := range s.client.Jar.Cookies(u) {
		if strings.HasPrefix(c.Name, prefix) {
			list = append(list, c.Name+"="+c.Value)
		}
	}
	return strings.Join(list, "; ")
}

// bare asks with cookies of its own.
func (s *person) bare(address, cookie string) response {
	s.t.Helper()
	r, _ := http.NewRequest(http.MethodGet, address, nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Cookie", cookie)
	own := *s
	own.client = newClient(s.t, "HTTP/1.1")
	return own.do(r)
}

func (a response) want(t *testing.T, status int, body string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, body) {
		t.Fatalf("%d %q %s, want %d %q", a.status, a.body, a.location, status, body)
	}
}

// TestLoginAtAnOpenIDProvider is what people and attackers do with a login at the
// npm package oidc-provider.
func TestLoginAtAnOpenIDProvider(t *testing.T) {
	p := newPortal(t)
	alice := p.person("alice")
	var used string
	t.Run("login returns to the page", func(t *testing.T) {
		a, back := alice.login("/page?x=1")
		used = back
		if a.status != http.StatusSeeOther || a.location != p.site+"/page?x=1" {
			t.Fatalf("%+v\n%s", a, p.caddy.text())
		}
		alice.visit(a.location).want(t, 200, "user=alice roles=staff,admin method=oidc mfa=true cookie=")
		if body := alice.visit(a.location).body; strings.Contains(body, "__Host-soc2") {
			t.Error("the upstream gets the cookie of the session: ", body)
		}
	})
	t.Run("a cookie is for the host, for TLS and for no script", func(t *testing.T) {
		a := p.person("bob").visit(p.site + "/")
		for _, c := range a.header["Set-Cookie"] {
			if !strings.HasPrefix(c, "__Host-") || !strings.Contains(c, "; Path=/;") || !strings.Contains(c, "HttpOnly; Secure; SameSite=Lax") || strings.Contains(c, "Domain") {
				t.Error(c)
			}
		}
	})
	t.Run("a callback works once", func(t *testing.T) {
		alice.visit(used).want(t, 403, "")
		bob := p.person("bob")
		back := bob.callback(bob.visit(p.site + "/").location)
		copied := bob.cookies("__Host-soc2_login_")
		bob.visit(back).want(t, 303, "")
		bob.bare(back, copied).want(t, 403, "") // who copied all that the browser had
	})
	t.Run("a code works once", func(t *testing.T) {
		mallory := p.person("mallory")
		begun := mallory.visit(p.site + "/")
		old, _ := url.Parse(used)
		fresh, _ := url.Parse(begun.location)
		q := old.Query()
		q.Set("state", fresh.Query().Get("state"))
		old.RawQuery = q.Encode()
		mallory.visit(old.String()).want(t, 403, "")
	})
	t.Run("a state that was altered, or is another browser's, is refused", func(t *testing.T) {
		bob := p.person("bob")
		back := bob.callback(bob.visit(p.site + "/").location)
		u, _ := url.Parse(back)
		q := u.Query()
		state := q.Get("state")
		q.Set("state", state[:len(state)-1]+map[bool]string{true: "B", false: "A"}[strings.HasSuffix(state, "A")])
		u.RawQuery = q.Encode()
		bob.visit(u.String()).want(t, 403, "")
		p.person("victim").visit(back).want(t, 403, "") // fixation of somebody else's login
	})
	t.Run("an answer of another issuer is refused", func(t *testing.T) {
		bob := p.person("bob")
		back := bob.callback(bob.visit(p.site + "/").location)
		bob.visit(strings.Replace(back, url.QueryEscape(p.issuer), "https%3A%2F%2Fevil.example", 1)).want(t, 400, "")
	})
	t.Run("an ID token of another login is refused", func(t *testing.T) {
		token := p.tell("last_id_token")
		p.secrets = append(p.secrets, token)
		p.tell("id_token?token=" + token)
		a, _ := p.person("bob").login("/")
		p.tell("id_token?token=")
		a.want(t, 403, "")
	})
	t.Run("a session begins anew at each login", func(t *testing.T) {
		bob := p.person("bob")
		u, _ := url.Parse(p.site)
		name, value, _ := strings.Cut(alice.session(), "=")
		bob.client.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value[:len(value)-4] + "AAAA", Path: "/", Secure: true}})
		a, _ := bob.login("/")
		a.want(t, 303, "")
		if bob.session() == alice.session() || strings.HasSuffix(bob.session(), "AAAA") {
			t.Error("the session is that which was planted")
		}
		bob.visit(p.site+"/").want(t, 200, "user=bob roles=staff ")
	})
	t.Run("no redirect leads elsewhere", func(t *testing.T) {
		for _, path := range []string{
			"/.soc2/auth/login?to=https://evil.example/", "/.soc2/auth/login?to=//evil.example/", `/.soc2/auth/login?to=/%5Cevil.example/`,
			"/.soc2/auth/login?to=/%09/evil.example/", "//evil.example/", "//evil.example/%2e%2e", "/.soc2/auth/login?to=javascript:alert(1)",
		} {
			bob := p.person("bob")
			a, _ := bob.login(path)
			if a.status != 303 || a.location != p.site+"/" {
				t.Errorf("%s leads to %s (%d)", path, a.location, a.status)
			}
		}
	})
	t.Run("a session is refreshed, with new roles, for many requests at once", func(t *testing.T) {
		old := alice.session()
		p.tell("groups?user=alice&groups=staff")
		until := time.Now().Add(30 * time.Second)
		for !strings.Contains(alice.visit(p.site+"/").body, "roles=staff method") {
			if time.Now().After(until) {
				t.Fatal("the roles are those from before: " + alice.visit(p.site+"/").body)
			}
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { alice.bare(p.site+"/", old).wants(t, 200, "roles=staff method") })
		}
		all.Wait()
	})
	t.Run("the provider's keys may change", func(t *testing.T) {
		p.tell("rotate")
		until := time.Now().Add(30 * time.Second)
		for {
			a, _ := p.person("bob").login("/")
			if a.status == 303 {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("%+v\n%s", a, p.caddy.text())
			}
		}
	})
	t.Run("sessions outlive an outage of the provider", func(t *testing.T) {
		p.tell("away?on=1")
		defer p.tell("away?on=0")
		until := time.Now().Add(30 * time.Second)
		for !strings.Contains(p.caddy.text(), "gave no answer") {
			alice.visit(p.site+"/").want(t, 200, "user=alice")
			if time.Now().After(until) {
				t.Fatal("the provider was not asked")
			}
		}
		alice.visit(p.site+"/").want(t, 200, "user=alice")
	})
	t.Run("a logout of this site ends the session, also for who copied the cookie", func(t *testing.T) {
		copied := alice.session()
		r, _ := http.NewRequest(http.MethodGet, p.site+"/.soc2/auth/logout", nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		alice.do(r).want(t, 403, "")
		a := alice.visit(p.site + "/.soc2/auth/logout")
		if a.status != 303 || !strings.HasPrefix(a.location, p.issuer+"/session/end?") || alice.session() != "" {
			t.Fatalf("%+v %s", a, alice.session())
		}
		if a := alice.bare(p.site+"/", copied); a.status != 302 {
			t.Errorf("the copied cookie: %+v", a)
		}
	})
	t.Run("a logout at the provider ends the session", func(t *testing.T) {
		bob := p.person("bob")
		a, _ := bob.login("/")
		a.want(t, 303, "")
		bob.visit(p.site+"/").want(t, 200, "user=bob")
		page := bob.visit(p.issuer + "/session/end")
		xsrf := regexp.MustCompile(`name="xsrf" value="([0-9a-f]+)"`).FindStringSubmatch(page.body)
		if xsrf == nil {
			t.Fatal(page.body)
		}
		form := url.Values{"xsrf": {xsrf[1]}, "logout": {"yes"}}
		r, _ := http.NewRequest(http.MethodPost, p.issuer+"/session/end/confirm", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		bob.do(r)
		until := time.Now().Add(30 * time.Second)
		for bob.visit(p.site+"/").status != 302 {
			if time.Now().After(until) {
				t.Fatalf("bob is still logged in\n%s\n%s", p.provider.text(), p.caddy.text())
			}
		}
	})
	t.Run("a request that is no navigation is not redirected", func(t *testing.T) {
		r, _ := http.NewRequest(http.MethodGet, p.site+"/api", nil)
		p.person("x").do(r).want(t, 401, "")
	})
	p.recordsSay(t)
}

// wants is want for goroutines.
func (a response) wants(t *testing.T, status int, body string) {
	if a.status != status || !strings.Contains(a.body, body) {
		t.Errorf("%d %q, want %d %q", a.status, a.body, status, body)
	}
}

// recordsSay checks that each refusal has its reason in the log, and that nothing
// secret is in any output.
func (p *portal) recordsSay(t *testing.T) {
	t.Helper()
	p.caddy.stop(syscall.SIGTERM)
	p.verify()
	seen := map[string]bool{}
	var all strings.Builder
	_, err := records.Dir{FS: os.DirFS(p.logDir())}.Scan(0, func(_ int64, b []byte) error {
		all.Write(b)
		var r struct {
			Access struct{ Outcome, Rule, Reason string }
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		seen[r.Access.Reason] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{
		"no_credentials", "oidc_login", "oidc_state", "oidc_state_used", "oidc_code_refused", "oidc_issuer", "oidc_nonce",
		"oidc_session_forged", "oidc_session_logged_out", "oidc_logout", "oidc_logout_cross_site", "oidc_backchannel_logout",
	} {
		if !seen[reason] {
			t.Errorf("no record has the reason %s", reason)
		}
	}
	output := all.String() + p.caddy.text()
	slices.Sort(p.secrets)
	for _, secret := range slices.Compact(p.secrets) {
		if secret != "" && strings.Contains(output, secret) {
			t.Errorf("%.12s… is in the log or in the output", secret)
		}
	}
}

// TestAPersonLogsInWithABrowser is the login as a person sees it, in a headless
// Chromium.
func TestAPersonLogsInWithABrowser(t *testing.T) {
	var chromium string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		needs(t, "chromium")
	}
	p := newPortal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser.mjs", chromium, p.site, "alice")
	cmd.Dir = "oidc"
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "XDG_CACHE_HOME="+p.dir)
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s\n%s", err, errors.String(), p.caddy.text(), p.provider.text())
	}
	var seen struct {
		URL, Body, Script, Asked, Out, After, Again string
		Left                                        int
		Cookies                                     []struct {
			Name, SameSite, Path string
			Secure, HTTPOnly     bool
		}
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatal(err, string(out))
	}
	if seen.URL != p.site+"/page?x=1" || !strings.Contains(seen.Body, "user=alice roles=staff,admin") {
		t.Errorf("after the login: %s %s", seen.URL, seen.Body)
	}
	if len(seen.Cookies) != 1 || !seen.Cookies[0].Secure || !seen.Cookies[0].HTTPOnly || seen.Cookies[0].SameSite != "Lax" || seen.Cookies[0].Path != "/" || seen.Script != "" {
		t.Errorf("cookies: %+v, to scripts: %q", seen.Cookies, seen.Script)
	}
	if !strings.HasPrefix(seen.Asked, p.issuer+"/session/end") || seen.Out != p.site+"/.soc2/auth/logged-out" || !strings.Contains(seen.After, "logged out") || seen.Left != 0 {
		t.Errorf("the logout: %s, %s, %q, %d cookies left", seen.Asked, seen.Out, seen.After, seen.Left)
	}
	if !strings.HasPrefix(seen.Again, p.issuer+"/interaction/") {
		t.Errorf("after the logout the page is at %s", seen.Again)
	}
}
