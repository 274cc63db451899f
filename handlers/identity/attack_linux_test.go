package identity

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/apikey"
)

// BenchmarkLegitimateUnderAttack serves requests with an API key, alone and
// while 1,000 passwords a second are tried out, by one network or by as many as
// there are tries, for accounts whose hashes are bcrypt of cost 14. Compare
// cpu-ns/op, the processor time of the process for each request, which other
// programs change less than ns/op: in the long run, after what the gate lets
// through at once, the attack may cost a tenth.
func BenchmarkLegitimateUnderAttack(b *testing.B) {
	dir := b.TempDir()
	key, sum, err := apikey.New("robot")
	if err != nil {
		b.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), 14)
	if err != nil {
		b.Fatal(err)
	}
	keys, accounts := filepath.Join(dir, "keys"), filepath.Join(dir, "accounts")
	entry, _ := json.Marshal([]map[string]string{{"id": "robot", "hash": sum, "expires": "2100-01-01T00:00:00Z"}})
	if err := os.WriteFile(keys, entry, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(accounts, []byte("alice:"+string(hash)+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	p := &Provider{Clients: &Clients{File: keys}, Accounts: &Accounts{File: accounts}}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: b.Context()})
	defer cancel()
	if err := p.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Cleanup() }()
	for _, attack := range []string{"none", "one network", "a network each"} {
		b.Run(attack, func(b *testing.B) {
			stop := make(chan struct{})
			var running sync.WaitGroup
			if attack != "none" {
				running.Go(func() { guess(p, attack == "one network", stop, &running) })
			}
			before := processorTime(b)
			r := from("192.0.2.1")
			r.Header.Set("X-Api-Key", key)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					own := r.Clone(r.Context())
					if user, ok, err := p.Authenticate(httptest.NewRecorder(), own); !ok || user.ID != "robot" {
						b.Error(user, err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			close(stop)
			running.Wait()
		})
	}
}

func processorTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// from is a request of a client.
func from(address string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: address}))
}

// guess tries a thousand passwords a second.
func guess(p *Provider, one bool, stop chan struct{}, running *sync.WaitGroup) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		r := from("198.51.100.1")
		if !one {
			r = from(fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
		}
		r.SetBasicAuth(fmt.Sprint("user", n), rand.Text())
		running.Go(func() { _, _, _ = p.Authenticate(httptest.NewRecorder(), r) })
	}
}
