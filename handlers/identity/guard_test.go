package identity

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/lockout"
)

func client6(address string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: address}))
}

// TestWhoHasManyNetworksIsLockedOutToo holds that changing the network within
// what one customer of a provider has gives only so many tries.
func TestWhoHasManyNetworksIsLockedOutToo(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	g := &guard{
		table: lockout.New(1024, clock, nil), realm: "r", now: clock,
		policy: lockout.Policy{Failures: 5, NetworkFailures: 2, Window: time.Minute, Duration: time.Minute, Longest: time.Hour},
	}
	g.Succeeded(client6("2001:db8:1:ffff::1"), "alice")
	tries := 0
	for n := range 1000 {
		r := client6(fmt.Sprintf("2001:db8:1:%x::1", n))
		name := fmt.Sprint("user-", n)
		if g.Locked(r, name) > 0 {
			continue
		}
		tries++
		g.Failed(r, name)
	}
	if tries != 2*wideFactor {
		t.Error(tries, "passwords were tried")
	}
	for address, want := range map[string]bool{"2001:db8:1:8000::1": true, "2001:db8:2::1": false, "192.0.2.1": false, "": false} {
		if locked := g.Locked(client6(address), "bob") > 0; locked != want {
			t.Errorf("%q is locked out: %v", address, locked)
		}
	}
	if g.Locked(client6("2001:db8:1:ffff::1"), "alice") > 0 {
		t.Error("who lately logged in from there is locked out")
	}
	if n := g.table.Unlock(lockout.Network, "2001:db8:1::/48"); n != 1 || g.Locked(client6("2001:db8:1:8000::1"), "bob") > 0 {
		t.Error(n, "locks ended")
	}
}
