package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// TestHeadersCommandFindsWhatTheProxyMends asks an application without the
// proxy, and behind each profile.
func TestHeadersCommandFindsWhatTheProxyMends(t *testing.T) {
	upstream := applications(t, filepath.Join("graders", "node_modules", "swagger-ui-dist"))
	h := newHome(t)

	code, out := h.run("caddy", "soc2", "headers", "http://"+upstream+"/wordpress/", "--profile", "strict")
	for _, line := range []string{
		"answered 200 over HTTP/1.1", "over plaintext", "PROFILE STRICT", "Server leak", "Content-Security-Policy missing",
		"Set-Cookie weaker\n  - no SameSite\n  - no HttpOnly\n", "Apache/2.4.1", "nosniff",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q", line)
		}
	}
	if code != 1 || strings.Contains(out, "WP%20Cookie") {
		t.Errorf("exit %d:\n%s", code, out)
	}

	for _, profile := range []string{"baseline", "strict"} {
		addr := behind(t, profile, "", upstream)[0]
		code, out := h.run("caddy", "soc2", "headers", "https://"+addr+"/wordpress/", "--profile", profile, "--json")
		var report struct {
			Profile, Protocol, TLS string
			Status, Findings       int
			Fields                 []struct{ Field, State string }
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || report.Findings != 0 || len(report.Fields) < 8 ||
			report.Profile != profile || report.Status != 200 || report.Protocol != "HTTP/2.0" || report.TLS != "TLS 1.3" {
			t.Errorf("%s: exit %d, %v:\n%s", profile, code, err, out)
		}
	}
}

// TestHeadersCommandTellsMistakesFromFindings has each exit status, and a server
// that sends what acts on terminals.
func TestHeadersCommandTellsMistakesFromFindings(t *testing.T) {
	h := newHome(t)
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Server"] = []string{"a\u202eb"}
		http.Redirect(w, &http.Request{}, "https://example.com/x", http.StatusFound)
	}))
	defer odd.Close()
	tests := []struct {
		args []string
		code int
		says string
	}{
		{[]string{odd.URL}, 1, "It redirects to https://example.com/"},
		{[]string{odd.URL, "--profile", "lax"}, 2, `--profile "lax": there are baseline, strict and api`},
		{[]string{"ftp://example.com"}, 2, "is not an http or https URL"},
		{[]string{"example.com"}, 2, "is not an http or https URL"},
		{nil, 2, "see caddy soc2 headers --help"},
		{[]string{"https://localhost:1/"}, 3, "asking https://localhost:1/: "},
	}
	for _, test := range tests {
		code, out := h.run("caddy", append([]string{"soc2", "headers"}, test.args...)...)
		if code != test.code || !strings.Contains(out, test.says) || strings.ContainsAny(out, "\u202e") {
			t.Errorf("%q: exit %d: %q", test.args, code, out)
		}
	}
}
