package jwks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// idp is an issuer whose answers the test chooses.
type idp struct {
	*httptest.Server
	asked atomic.Int64 // for its keys

	mu     sync.Mutex
	keys   []jose.JSONWebKey
	status int
	issuer string // that it says to be
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{status: 200}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(p.status)
		if r.URL.Path == "/jwks" {
			p.asked.Add(1)
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: p.keys})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.issuer, "jwks_uri": p.URL + "/jwks"})
	}))
	p.issuer = p.URL
	p.rotate(t, "k1")
	t.Cleanup(p.Close)
	return p
}

func (p *idp) rotate(t *testing.T, kid string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []jose.JSONWebKey{{Key: &k.PublicKey, KeyID: kid, Use: "sig"}}
}

func (p *idp) answer(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

func newRemote(t *testing.T, p *idp) (*Remote, *atomic.Int64) {
	t.Helper()
	client, err := NewClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	clock := new(atomic.Int64)
	clock.Store(1_800_000_000)
	r := &Remote{Issuer: p.URL, Client: client, Now: func() time.Time { return time.Unix(clock.Load(), 0) }}
	r.Open()
	t.Cleanup(r.Close)
	return r, clock
}

func find(t *testing.T, r *Remote, kid string, want int) {
	t.Helper()
	keys, err := r.Find(t.Context(), kid, false)
	if err != nil || len(keys) != want {
		t.Fatalf("%d keys %q, want %d: %v", len(keys), kid, want, err)
	}
}

func TestUnknownNamesOfKeysAskTheIssuerOnlyNowAndThen(t *testing.T) {
	p := newIDP(t)
	r, clock := newRemote(t, p)
	find(t, r, "k1", 1)
	for i := range 1000 {
		find(t, r, fmt.Sprint("made-up-", i), 0)
	}
	if n := p.asked.Load(); n != 1 {
		t.Fatal("the issuer was asked", n, "times")
	}
	p.rotate(t, "k2")
	find(t, r, "k2", 0)
	clock.Add(11)
	find(t, r, "k2", 1)
	find(t, r, "k1", 0)
	if n := p.asked.Load(); n != 2 {
		t.Error("the issuer was asked", n, "times")
	}
}

func TestKeysAreUsedWhileTheIssuerIsAwayAndNotForEver(t *testing.T) {
	p := newIDP(t)
	r, clock := newRemote(t, p)
	find(t, r, "k1", 1)
	p.answer(500)
	for range 23 {
		clock.Add(3600)
		find(t, r, "k1", 1)
	}
	clock.Add(3601)
	if r.Current() != nil {
		t.Error("keys of a day ago are in force")
	}
	if _, err := r.Find(t.Context(), "k1", false); err == nil {
		t.Error("keys of a day ago are used")
	}
	p.answer(200)
	clock.Add(11)
	find(t, r, "k1", 1)
}

// TestTokensThatAreRememberedKeepTheKeysFresh asks as the cache of tokens does.
func TestTokensThatAreRememberedKeepTheKeysFresh(t *testing.T) {
	p := newIDP(t)
	r, clock := newRemote(t, p)
	find(t, r, "k1", 1)
	p.rotate(t, "k2")
	clock.Add(3600)
	if r.Current() == nil {
		t.Fatal("there are no keys")
	}
	r.running.Wait()
	if n := p.asked.Load(); n != 2 || len(r.Current().Find("k1")) > 0 {
		t.Errorf("the issuer was asked %d times, and a key that it took back is in force", n)
	}
}

// TestClosingDoesNotWaitForAnIssuerThatHangs holds that a reload goes on.
func TestClosingDoesNotWaitForAnIssuerThatHangs(t *testing.T) {
	p := newIDP(t)
	r, clock := newRemote(t, p)
	find(t, r, "k1", 1)
	asked := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { close(asked); <-q.Context().Done() }))
	defer hanging.Close()
	r.URL, r.Client.Timeout = hanging.URL, 0
	clock.Add(3600)
	find(t, r, "k1", 1)
	<-asked
	r.Close()
}

func TestManyWaitForOneAnswer(t *testing.T) {
	p := newIDP(t)
	r, _ := newRemote(t, p)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if keys, err := r.Find(t.Context(), "k1", false); err != nil || len(keys) != 1 {
				t.Error(keys, err)
			}
		})
	}
	all.Wait()
	if n := p.asked.Load(); n != 1 {
		t.Error("the issuer was asked", n, "times")
	}
}

func TestAnIssuerThatSaysToBeAnotherIsNotBelieved(t *testing.T) {
	p := newIDP(t)
	p.issuer = "https://evil.example"
	r, _ := newRemote(t, p)
	if _, err := r.Find(t.Context(), "k1", false); err == nil || !strings.Contains(err.Error(), "says to be the issuer") {
		t.Error(err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	p := newIDP(t)
	elsewhere := httptest.NewServer(http.RedirectHandler(p.URL+"/jwks", http.StatusFound))
	defer elsewhere.Close()
	r, _ := newRemote(t, p)
	r.URL = elsewhere.URL
	if _, err := r.Find(t.Context(), "k1", false); err == nil {
		t.Error("a redirect is followed")
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	for _, address := range []string{"", "idp.example", "http://idp.example", "http://127.0.0.1.evil.example", "ftp://127.0.0.1", "https://user:pw@idp.example", "https://idp.example/#x", "file:///etc/passwd"} {
		if CheckURL(address) == nil {
			t.Error(address, "is taken")
		}
	}
	for _, address := range []string{"https://idp.example/realms/x", "http://127.0.0.1:8080", "http://[::1]:1", "http://localhost"} {
		if err := CheckURL(address); err != nil {
			t.Error(err)
		}
	}
}

func TestKeySetsThatCannotBe(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(keys ...jose.JSONWebKey) string {
		b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, text := range map[string]string{
		"short RSA":   set(jose.JSONWebKey{Key: &small.PublicKey, KeyID: "1"}),
		"private":     set(jose.JSONWebKey{Key: ec, KeyID: "1"}),
		"secret":      `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"1"}]}`,
		"encryption":  set(jose.JSONWebKey{Key: &ec.PublicKey, KeyID: "1", Use: "enc"}),
		"nothing":     `{"keys":[]}`,
		"no set":      `[]`,
		"no JSON":     `keys`,
		"many":        `{"keys":[` + strings.Repeat(`{},`, 200) + `{}]}`,
		"unknown kty": `{"keys":[{"kty":"XYZ"}]}`,
	} {
		if _, err := Parse([]byte(text)); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"1"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if set, err := Parse(data); err == nil && len(set.Find("")) == 0 {
			t.Fatal("a set without a key")
		}
	})
}
