package e2e_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// answering is a way to get a response from the stage that all protocols have.
type answering struct {
	method, path string
	header       http.Header
	body         string
	status       int
}

var answers = []answering{
	{path: "/ok", status: 200},
	{path: "/named", status: 203},
	{path: "/empty", status: 204},
	{path: "/files/file.txt", header: http.Header{"Range": {"bytes=2-4"}}, status: 206},
	{path: "/moved", status: 301},
	{path: "/files/file.txt", header: http.Header{"If-Modified-Since": {"Fri, 31 Dec 2100 23:59:59 GMT"}}, status: 304},
	{path: "/private", status: 401},
	{path: "/forbidden", status: 410},
	{path: "/missing", status: 404},
	{path: "/files/none", status: 404},
	{path: "/nowhere", status: -404}, // by the profile
	{method: "POST", path: "/files/file.txt", status: 405},
	{method: strings.Repeat("M", 33), path: "/ok", status: 405},
	{method: "POST", path: "/limited", body: "01234567890123456789", status: 413},
	{path: "/files/file.txt", header: http.Header{"Range": {"bytes=99-"}}, status: 416},
	{path: "/broken", status: 500},
	{path: "/busy", status: 503},
	{method: "HEAD", path: "/files/file.txt", status: 200},
	{method: "OPTIONS", path: "/ok", status: 200},
	{method: "TRACE", path: "/ok", status: 405},
	{path: "/zipped", header: http.Header{"Accept-Encoding": {"gzip"}}, status: 200},
	{method: "POST", path: "/up/echo", body: "body", status: 200},
	{path: "/up/hints", status: 200},
	{path: "/up/trailers", header: http.Header{"Te": {"trailers"}}, status: 200},
	{path: "/up/status/418", status: 418},
	{path: "/intercepted/status/418", status: 406},
	{path: "/up/status/500", status: 500},
	{path: "/dead", status: 502},
	{path: "/up/nonsense", status: 502},
	{path: "/up/silence", status: 502},
	{path: "/impatient/hang", status: 504},
	{path: "/up/until-close", status: 200},
}

// needed are the fields that every response of a profile has, over TLS.
var needed = map[string]map[string]string{
	"baseline": {
		"Strict-Transport-Security": "max-age=31536000", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN",
		"X-Permitted-Cross-Domain-Policies": "none", "Referrer-Policy": "strict-origin-when-cross-origin",
	},
	"strict": {
		"Strict-Transport-Security": "max-age=63072000; includeSubDomains", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"X-Permitted-Cross-Domain-Policies": "none", "Referrer-Policy": "no-referrer",
	},
	"api": {
		"Strict-Transport-Security": "max-age=63072000; includeSubDomains", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"X-Permitted-Cross-Domain-Policies": "none", "Referrer-Policy": "no-referrer",
	},
}

// TestEveryAnswerHasTheHeadersOverEachProtocol gets responses in all the ways
// in which a running server can answer, over HTTP/1.1, HTTP/2 and HTTP/3. Every
// required field is there exactly once, and no forbidden one is.
func TestEveryAnswerHasTheHeadersOverEachProtocol(t *testing.T) {
	for _, profile := range []string{"baseline", "strict", "api"} {
		t.Run(profile, func(t *testing.T) {
			s := startStageWith(newHome(t), profile)
			base := strings.Replace("https://"+s.secure, "127.0.0.1", "localhost", 1)
			seen := 0
			for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
				client := newClient(t, proto)
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				for _, a := range answers {
					a.check(t, client, base, proto, profile)
					seen++
				}
			}
			t.Logf("%d responses", seen)
		})
	}
}

func (a answering) check(t *testing.T, client *http.Client, base, proto, profile string) {
	t.Helper()
	name := fmt.Sprintf("%s %.6s %s", proto, a.method, a.path)
	req, err := http.NewRequestWithContext(t.Context(), a.method, base+a.path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, a.header)
	resp, err := client.Do(req)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // its trailers
	status := a.status
	if status < 0 { // what no route answers
		status = map[string]int{"strict": 404}[profile]
		if status == 0 {
			status = 200
		}
	}
	if resp.StatusCode != status || resp.Proto != proto {
		t.Errorf("%s: status %d over %s, want %d", name, resp.StatusCode, resp.Proto, status)
	}
	for field, value := range needed[profile] {
		if got := resp.Header.Values(field); !slices.Equal(got, []string{value}) {
			t.Errorf("%s: %s %q, want %q", name, field, got, value)
		}
	}
	for _, h := range []http.Header{resp.Header, resp.Trailer} {
		for _, field := range []string{"Server", "Via", "X-Powered-By", "X-Aspnet-Version", "X-Generator"} {
			if got := h.Values(field); got != nil {
				t.Errorf("%s: %s %q", name, field, got)
			}
		}
	}
	a.checkPolicies(t, name, profile, resp)
}

// checkPolicies looks at the fields that depend on what the response is.
func (a answering) checkPolicies(t *testing.T, name, profile string, resp *http.Response) {
	t.Helper()
	if resp.StatusCode == http.StatusNotModified {
		return // updates what is stored
	}
	h := resp.Header
	page := h.Get("Content-Type") == "" || strings.HasPrefix(h.Get("Content-Type"), "text/html")
	once := []string{"Cross-Origin-Resource-Policy"}
	if profile != "baseline" || page {
		once = append(once, "Content-Security-Policy")
	}
	if profile != "baseline" {
		once = append(once, "Cache-Control")
	}
	if page && profile != "api" {
		once = append(once, "Cross-Origin-Opener-Policy", "Permissions-Policy")
	}
	if page && profile == "strict" {
		once = append(once, "Cross-Origin-Embedder-Policy", "X-DNS-Prefetch-Control")
	}
	for _, field := range once {
		if got := h.Values(field); len(got) != 1 || got[0] == "" {
			t.Errorf("%s: %s %q, want one", name, field, got)
		}
	}
}
