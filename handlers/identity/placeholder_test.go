package identity

import (
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestNothingOfAnEarlierPrincipalIsLeft holds that where several handlers find
// somebody, what is known is known of the last.
func TestNothingOfAnEarlierPrincipalIsLeft(t *testing.T) {
	repl := caddy.NewReplacer()
	r := caddyhttp.PrepareRequest(httptest.NewRequest("GET", "https://app.example/", nil), repl, httptest.NewRecorder(), &caddyhttp.Server{})
	set(r, "http.auth.user", "alice", map[string]string{"method": "mtls", "roles": "admin", "mfa": "true", "issued_at": "1", "amr": "hwk,pin", "claim.tenant": "t1"})
	set(r, "http.auth.user", "robot", map[string]string{"method": "api_key", "claim.scope": "GET /"})
	for name, want := range map[string]string{
		"id": "robot", "method": "api_key", "claim.scope": "GET /", "roles": "", "mfa": "", "issued_at": "", "amr": "", "claim.tenant": "",
	} {
		if got, there := repl.GetString("http.auth.user." + name); got != want || there != (want != "") {
			t.Errorf("%s is %q (%v), want %q", name, got, there, want)
		}
	}
}

func TestPasswordsAreTakenOutWhereverTheyStand(t *testing.T) {
	p := &Provider{Accounts: &Accounts{}}
	r := httptest.NewRequest("GET", "https://app.example/", nil)
	r.Header["Authorization"] = []string{"Bearer x", "Basic YTpi"}
	p.strip(r)
	if list := r.Header["Authorization"]; len(list) != 1 || list[0] != "Bearer x" {
		t.Error(list)
	}
}
