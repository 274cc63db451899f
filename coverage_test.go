package soc2_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestHandlersByHandJoinTheRecord places soc2_audit and soc2_headers by hand
// wherever a Caddyfile allows on a covered server. Each request has one record,
// with what was sent.
func TestHandlersByHandJoinTheRecord(t *testing.T) {
	s := newSite(t)
	err := s.load(`
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
&(shared) {
	route {
		soc2_audit
		soc2_headers api
		respond "named"
	}
}
&(failing) {
	route {
		soc2_audit
		error "named" 410
	}
}
SITE {
	route /audit-first {
		soc2_audit
		soc2_headers strict
		respond "a"
	}
	route /headers-first {
		soc2_headers strict
		soc2_audit
		respond "bb"
	}
	route /twice {
		soc2_audit
		soc2_audit
		soc2_headers api
		soc2_headers strict
		respond "three"
	}
	route /nested {
		soc2_audit
		route {
			soc2_headers strict
			route {
				soc2_audit
				respond "dddd"
			}
		}
	}
	invoke /named shared
	invoke /named-error failing
	route /error {
		soc2_headers strict
		soc2_audit
		error "no" 403
	}
	route /late {
		soc2_audit
		respond 204
	}
	handle_errors 403 410 {
		soc2_headers api
		soc2_audit
		route {
			soc2_audit
			respond "page {http.error.status_code}" 451
		}
	}
}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, profile string
		status        int
		bytes         int64
	}{
		{"/audit-first", "strict", 200, 1},
		{"/headers-first", "strict", 200, 2},
		{"/twice", "strict", 200, 5},
		{"/nested", "strict", 200, 4},
		{"/named", "api", 200, 5},
		{"/named-error", "api", 451, 8},
		{"/error", "api", 451, 8},
		{"/late", "", 204, 0},
	} {
		t.Run(c.path, func(t *testing.T) { checkRecord(t, s, s.get(s.url(c.path)), c.status, c.bytes, c.profile) })
	}
	if n := len(s.requests()); n != 8 {
		t.Errorf("%d records for 8 requests", n)
	}
	s.verify()
}

// TestSubroutesJoinTheRecord has error routes of a subroute, which JSON alone
// can say, and which the error chain of the server never sees.
func TestSubroutesJoinTheRecord(t *testing.T) {
	s := newSite(t)
	sub := `{"handler":"subroute","routes":[{"handle":[{"handler":"soc2_audit"},{"handler":"error","status_code":"404"}]}],
		"errors":{"routes":[{"match":[{"path":["/mended"]}],"handle":[{"handler":"soc2_audit"},{"handler":"soc2_headers","profile":"strict"},{"handler":"static_response","status_code":"203","body":"mended"}]},
			{"match":[{"path":["/worse"]}],"handle":[{"handler":"soc2_audit"},{"handler":"error","status_code":"507"}]}]}}`
	config := fmt.Sprintf(`{"admin":{"disabled":true,"config":{"persist":false}},"storage":{"module":"file_system","root":%q},
		"apps":{"soc2":{"instance":"test","data_dir":%q,"profile":"strict"},
		"http":{"http_port":%d,"servers":{"one":{"listen":["127.0.0.1:%d"],"automatic_https":{"disable":true},
		"listener_wrappers":[{"wrapper":"soc2"},{"wrapper":"tls"}],"routes":[{"handle":[%s]}]}}}}}`,
		filepath.Join(s.data, "caddy"), filepath.Join(s.data, "soc2"), freePort(t), s.http, sub)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		status int
		bytes  int64
	}{
		{"/mended", 203, 6}, {"/worse", 507, 0}, {"/neither", 404, 0},
	} {
		checkRecord(t, s, s.get(fmt.Sprintf("http://localhost:%d%s", s.http, c.path)), c.status, c.bytes, "strict")
	}
	s.verify()
}

// TestUnmatchedRequests asks for what no route answers. Stock Caddy sends an
// empty 200; so does the baseline.
func TestUnmatchedRequests(t *testing.T) {
	for options, want := range map[string]struct{ host, path, page int }{
		"profile baseline":                  {200, 200, 200},
		"profile strict":                    {404, 404, 418},
		"profile strict\n\t\tunmatched 200": {200, 200, 200},
		"profile api\n\t\tunmatched 421":    {421, 421, 421},
	} {
		t.Run(options, func(t *testing.T) {
			s := newSite(t)
			err := s.load(`
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
		` + options + `
	}
}
SITE {
	header X-Site yes
	respond /empty 200
	respond /answered "ok"
	route /wrapped {
		encode gzip
	}
	route /page {
		header X-Site no
	}
	handle_errors 404 {
		@page path /page
		respond @page "the site's page" 418
	}
}
`)
			if err != nil {
				t.Fatal(err)
			}
			profile := strings.Fields(options)[1]
			check := func(path string, status, bytes int) {
				t.Helper()
				checkRecord(t, s, s.get(s.url(path)), status, int64(bytes), profile)
			}
			got := s.get(s.url("/"), func(r *http.Request) { r.Host = "other.example" })
			checkRecord(t, s, got, want.host, 0, profile)
			check("/none", want.path, 0)
			check("/wrapped", want.path, 0)
			check("/empty", 200, 0)
			check("/answered", 200, 2)
			check("/page", want.page, map[int]int{418: 15}[want.page])
			s.verify()
		})
	}
}

// errorLine is what two lines of the log http.log.error are compared by.
type errorLine struct {
	Level, Logger, Msg string
	Status             int
	Request            struct {
		Method, Host, URI string
		Headers           map[string][]string
	}
	ErrorID string `json:"err_id"`
	Trace   string `json:"err_trace"`
	Err     string `json:"error"`
	ID      string `json:"request_id"`
}

// errorsOf loads a Caddyfile, makes a request to each path of each host and
// returns the lines of the log of errors.
func errorsOf(t *testing.T, stock bool, sites string) (lines []string) {
	t.Helper()
	s := newSite(t)
	s.stock = stock
	err := s.load(`
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
	log {
		output file "ROOT/errors.log"
		include http.log.error
		level INFO
	}
}
` + sites)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/error", "/dead", "/teapot", "/plain", "/rewritten/x"} {
		s.get(s.url(path+"?token=1"), func(r *http.Request) {
			r.Header.Set("Cookie", "secret=1")
			r.Header.Set("X-Mine", "1")
		})
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(s.data, "errors.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var l errorLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Trace != "" && l.ErrorID == "" || stock != (l.ID == "") {
			t.Errorf("no id: %s", sc.Text())
		}
		l.ErrorID, l.ID, l.Request.Host = "", "", ""
		lines = append(lines, fmt.Sprintf("%+v", l))
	}
	slices.Sort(lines)
	return lines
}

// TestErrorsAreLoggedAsByCaddy holds the log http.log.error of a covered server
// against that of the same server without soc2: the same lines, as often, in
// the same loggers. Sites with error routes have none there, with either.
func TestErrorsAreLoggedAsByCaddy(t *testing.T) {
	const body = `
	request_header X-Upstream-Key secret
	request_header -X-Mine
	error /error "oops" 500
	error /teapot "short" 418
	reverse_proxy /dead 127.0.0.1:1
	rewrite /rewritten/* /elsewhere
	error /elsewhere "gone" 503
	respond /plain "ok"
`
	for name, c := range map[string]struct {
		sites string
		lines int
	}{
		"plain":              {"SITE {" + body + "}", 3},
		"own error routes":   {"SITE {" + body + "\n\thandle_errors 404 {\n\t\trespond x\n\t}\n}", 0},
		"logger of the host": {"SITE {" + body + "\n\tlog mine\n}", 3},
		"two loggers":        {"SITE {" + body + "\n\tlog mine\n\tlog_name one two\n}", 6},
		"another host's":     {"SITE {" + body + "}\nother.example {\n\tlog mine\n}", 3},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := errorsOf(t, true, c.sites), errorsOf(t, false, c.sites)
			if !slices.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if len(got) != c.lines || strings.Contains(fmt.Sprint(got), "secret") {
				t.Errorf("%d lines, want %d: %s", len(got), c.lines, strings.Join(got, "\n"))
			}
		})
	}
}
