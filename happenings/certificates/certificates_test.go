package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// book is a log that keeps what it is given.
type book struct {
	mu   sync.Mutex
	log  *audit.Log
	list []audit.Certificate
}

func (b *book) Hold() bool      { return true }
func (b *book) Release()        {}
func (b *book) Log() *audit.Log { return b.log }

func (b *book) Write(r audit.Body, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := r.(*audit.Certificate)
	if !ok {
		return errors.New("no certificate")
	}
	b.list = append(b.list, *c)
	return nil
}

// take returns the records since it was called last.
func (b *book) take() (kinds []string, list []audit.Certificate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list, b.list = b.list, nil
	for _, c := range list {
		kinds = append(kinds, string(c.Kind))
	}
	return kinds, list
}

func newCert(t testing.TB, serial int64, from, to time.Time, names ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "x"}, DNSNames: names, NotBefore: from, NotAfter: to,
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bench is a monitor over a cache that tests fill.
type bench struct {
	*Monitor
	book  *book
	mu    sync.Mutex
	here  []held
	files map[string][]byte
}

func newBench(w *watcher, thresholds ...time.Duration) *bench {
	b := &bench{book: &book{log: new(audit.Log)}, files: map[string][]byte{}}
	b.renew(w, thresholds...)
	return b
}

// renew makes the monitor of another configuration.
func (b *bench) renew(w *watcher, thresholds ...time.Duration) {
	m := &Monitor{watcher: w, book: func() ledger.Book { return b.book }, now: time.Now, wake: make(chan struct{}, 1), scrub: changes.Scrub}
	for _, d := range thresholds {
		m.options.Expiring = append(m.options.Expiring, caddy.Duration(d))
	}
	_ = m.options.SetDefaults()
	m.gather = func(context.Context) []held {
		b.mu.Lock()
		defer b.mu.Unlock()
		return append([]held(nil), b.here...)
	}
	m.load = func(_ context.Context, path string) ([]byte, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if f, ok := b.files[path]; ok {
			return f, nil
		}
		return nil, fs.ErrNotExist
	}
	b.Monitor = m
}

func (b *bench) holds(list ...held) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.here = list
}

func (b *bench) emit(name string, data map[string]any) {
	e, _ := caddy.NewEvent(caddy.Context{}, name, data)
	if err := b.Handle(context.Background(), e); err != nil {
		panic(err)
	}
}

func inUse(c *x509.Certificate, managed bool) held {
	return held{leaf: c, managed: managed, source: sourceCache}
}

const day = 24 * time.Hour

func TestCertificateThatNoEventAnnouncedIsLoadedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watcher
		b := newBench(&w)
		c := newCert(t, 7, time.Now(), time.Now().Add(90*day), "a.example")
		b.holds(inUse(c, false))
		b.Start()
		b.emit(eventStarted, nil)
		time.Sleep(3 * time.Second)
		kinds, list := b.book.take()
		if fmt.Sprint(kinds) != "[cert.loaded]" || list[0].Source != sourceCache || list[0].Managed || list[0].Serial != "07" || list[0].KeyType != "ecdsa-p256" {
			t.Errorf("%+v", list)
		}
		first := b.Monitor
		b.renew(&w) // a reload
		b.Start()
		b.emit(eventStarted, nil)
		first.Stop()
		time.Sleep(5 * time.Hour)
		if kinds, _ := b.book.take(); len(kinds) != 0 {
			t.Errorf("a reload and some hours later: %v", kinds)
		}
		b.Stop()
	})
}

// TestErrorOfAnIssuerShowsNoCredentials: DNS providers put them into what they
// call.
func TestErrorOfAnIssuerShowsNoCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(new(watcher))
		b.Start()
		b.emit(eventFailed, map[string]any{
			"identifier": "a.example", "issuers": []string{"ca"},
			"error": errors.New(`presenting for challenge: Get "https://user:canary@dns.example/zones?api_key=canary": status 403`),
		})
		b.Stop()
		_, list := b.book.take()
		if len(list) != 1 || strings.Contains(list[0].Error, "canary") || !strings.HasSuffix(list[0].Error, "status 403") {
			t.Errorf("%+v", list)
		}
	})
}

func TestAnnouncedCertificateIsNotLoadedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(new(watcher))
		c := newCert(t, 7, time.Now(), time.Now().Add(90*day), "a.example")
		b.files["certificates/ca/a.crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		b.Start()
		b.emit(eventStarted, nil)
		for range 2 {
			b.emit(eventFailed, map[string]any{"identifier": "a.example", "renewal": true, "issuers": []string{"x", "ca"}, "error": errors.New("no"), "remaining": time.Hour})
		}
		b.emit(eventRevoked, map[string]any{"subjects": []string{"a.example"}, "reason": 1, "revoked_at": time.Unix(1e9, 0)})
		b.holds(inUse(c, true))
		b.emit(eventObtained, map[string]any{"identifier": "a.example", "renewal": true, "issuer": "ca", "certificate_path": "certificates/ca/a.crt", "private_key_path": "secret.key", "csr_pem": []byte("secret")})
		b.emit(eventManaged, map[string]any{"sans": []string{"a.example"}})
		time.Sleep(2 * time.Hour)
		kinds, list := b.book.take()
		if fmt.Sprint(kinds) != "[cert.failed cert.failed cert.revoked cert.renewed]" {
			t.Fatal(kinds)
		}
		if f := list[1]; f.Attempt != 2 || f.Issuer != "ca" || f.Error != "no" || f.Remaining != time.Hour {
			t.Errorf("failed: %+v", f)
		}
		if r := list[3]; r.Attempt != 3 || !r.Forced || r.Issuer != "ca" || r.Serial != "07" {
			t.Errorf("renewed: %+v", r)
		}
		b.watcher.mu.Lock()
		f := b.watcher.inventory.figures
		b.watcher.mu.Unlock()
		if f.Failed != 2 || f.Renewed != 1 || f.Revoked != 1 || f.Loaded != 0 {
			t.Errorf("%+v", f)
		}
		for _, c := range list {
			if text := string(c.AppendBody(nil, "")); strings.Contains(text, "secret") {
				t.Errorf("secret in %s", text)
			}
		}
		b.Stop()
	})
}

// TestCertificateIsSeenBeforeItIsAnnounced sweeps while a certificate is stored
// and its event is still to come, and between its event and its record.
func TestCertificateIsSeenBeforeItIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(new(watcher))
		c := newCert(t, 7, time.Now(), time.Now().Add(90*day), "a.example")
		b.files["a.crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		b.holds(held{leaf: c, managed: true, source: sourceStorage})
		gather := b.gather
		var before atomic.Pointer[func()] // what happens before the next look
		b.gather = func(ctx context.Context) []held {
			if f := before.Swap(nil); f != nil {
				(*f)()
			}
			return gather(ctx)
		}
		b.Start()
		b.emit(eventStarted, nil)
		time.Sleep(announceTime)
		b.emit(eventObtained, map[string]any{"identifier": "a.example", "issuer": "ca", "certificate_path": "a.crt"})
		time.Sleep(2 * announceTime)

		next := newCert(t, 8, time.Now(), time.Now().Add(90*day), "a.example")
		b.mu.Lock()
		b.files["a.crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: next.Raw})
		b.mu.Unlock()
		renew := func() {
			b.holds(inUse(next, true))
			b.emit(eventObtained, map[string]any{"identifier": "a.example", "renewal": true, "issuer": "ca", "certificate_path": "a.crt"})
		}
		before.Store(&renew)
		b.emit(eventManaged, map[string]any{"sans": []string{"a.example"}})
		time.Sleep(2 * time.Hour)
		if kinds, _ := b.book.take(); fmt.Sprint(kinds) != "[cert.obtained cert.renewed]" {
			t.Error(kinds)
		}

		b.holds(inUse(next, true), held{leaf: newCert(t, 9, time.Now(), time.Now().Add(90*day), "b.example"), managed: true, source: sourceStorage})
		b.emit(eventManaged, map[string]any{"sans": []string{"a.example"}})
		time.Sleep(2 * announceTime)
		if kinds, _ := b.book.take(); fmt.Sprint(kinds) != "[cert.loaded]" {
			t.Errorf("stored by another server: %v", kinds)
		}
		b.Stop()
	})
}

// TestCertificateIsTheOneOfItsEvent renews a certificate before what waits is
// recorded.
func TestCertificateIsTheOneOfItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(new(watcher))
		for serial := range int64(3) {
			c := newCert(t, serial+1, time.Now(), time.Now().Add(90*day), "a.example")
			b.files["a.crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
			b.holds(inUse(c, true))
			b.emit(eventObtained, map[string]any{"identifier": "a.example", "renewal": serial > 0, "issuer": "ca", "certificate_path": "a.crt"})
		}
		b.Start()
		b.emit(eventStarted, nil)
		time.Sleep(2 * time.Hour)
		b.Stop()
		kinds, list := b.book.take()
		if fmt.Sprint(kinds) != "[cert.obtained cert.renewed cert.renewed]" {
			t.Fatal(kinds)
		}
		for i, r := range list {
			if want := fmt.Sprintf("%02x", i+1); r.Serial != want {
				t.Errorf("%s of %s, want %s", r.Kind, r.Serial, want)
			}
		}
	})
}

func TestEachThresholdIsRecordedOnceWhenItIsPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watcher
		b := newBench(&w, 14*day, day)
		begin := time.Now()
		c := newCert(t, 7, begin, begin.Add(90*day), "a.example")
		b.holds(inUse(c, false))
		b.Start()
		b.emit(eventStarted, nil)
		time.Sleep(76*day - time.Minute)
		b.book.take()
		time.Sleep(2 * time.Minute)
		kinds, list := b.book.take()
		if fmt.Sprint(kinds) != "[cert.expiring]" || list[0].Remaining > 14*day || list[0].Remaining < 14*day-time.Minute {
			t.Errorf("14 days before: %v %+v", kinds, list)
		}
		for range 3 {
			first := b.Monitor
			b.renew(&w, 14*day, day)
			b.Start()
			b.emit(eventStarted, nil)
			first.Stop()
			time.Sleep(time.Hour)
		}
		time.Sleep(12*day + 20*time.Hour)
		if kinds, _ := b.book.take(); len(kinds) != 0 {
			t.Errorf("between: %v", kinds)
		}
		time.Sleep(2 * time.Hour)
		if kinds, _ := b.book.take(); fmt.Sprint(kinds) != "[cert.expiring]" {
			t.Errorf("a day before: %v", kinds)
		}
		time.Sleep(2 * day)
		if kinds, _ := b.book.take(); fmt.Sprint(kinds) != "[cert.expired]" {
			t.Errorf("at the end: %v", kinds)
		}
		b.Stop()
	})
}

func TestThresholdsAreShortForShortLives(t *testing.T) {
	life := func(d time.Duration) *x509.Certificate {
		return &x509.Certificate{NotBefore: time.Unix(0, 0), NotAfter: time.Unix(0, 0).Add(d)}
	}
	for _, c := range []struct {
		life    time.Duration
		managed bool
		want    string
	}{
		{90 * day, true, "[336h0m0s 24h0m0s]"},
		{90 * day, false, "[336h0m0s 24h0m0s]"},
		{6 * day, false, "[48h0m0s 24h0m0s]"},
		{6 * day, true, "[24h0m0s]"},
		{12 * time.Hour, true, "[2h0m0s]"},
	} {
		if got := fmt.Sprint(effective([]time.Duration{day, 14 * day}, held{leaf: life(c.life), managed: c.managed})); got != c.want {
			t.Errorf("%v, managed %v: %s, want %s", c.life, c.managed, got, c.want)
		}
	}
}

func TestStoredCertificateOfASiteThatIsGoneDoesNotExpire(t *testing.T) {
	v, now := inventory{}, time.Now()
	stored := func(c *x509.Certificate) held { return held{leaf: c, managed: true, source: sourceStorage} }
	fresh, old := newCert(t, 1, now.Add(-89*day), now.Add(day), "a"), newCert(t, 2, now.Add(-90*day), now.Add(-day), "b")
	if list, next := v.sweep([]held{stored(fresh), stored(old)}, []time.Duration{14 * day}, now); len(list) != 0 || !next.Equal(now.Add(announceTime)) {
		t.Errorf("may be announced yet: %+v, next sweep %s", list, next)
	}
	list, _ := v.sweep([]held{stored(fresh), stored(old)}, []time.Duration{14 * day}, now.Add(announceTime))
	if len(list) != 1 || list[0].Kind != audit.KindCertLoaded || list[0].Source != sourceStorage {
		t.Errorf("%+v", list)
	}
	for range forgetAfter + 1 {
		v.sweep(nil, nil, now)
	}
	if len(v.known) != 0 {
		t.Error("a certificate that is nowhere is followed")
	}
}

func TestManyFailuresAreRecordedAsANumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(new(watcher))
		b.Start()
		b.emit(eventStarted, nil)
		time.Sleep(time.Minute)
		for i := range 1000 { // an attacker chooses the names
			b.emit(eventFailed, map[string]any{"identifier": fmt.Sprintf("n%d.example", i), "error": errors.New("no")})
		}
		time.Sleep(5 * time.Second)
		_, list := b.book.take()
		if len(list) != maxFailures+1 || !strings.HasPrefix(list[maxFailures].Error, fmt.Sprint(1000-maxFailures, " more")) {
			t.Errorf("%d records, the last %+v", len(list), list[len(list)-1])
		}
		b.Stop()
	})
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestEventDataOfUnexpectedTypesIsLeftOut(t *testing.T) {
	strange := []any{
		nil, 7, "text",
		[]any{1, "a", nil},
		map[string]any{"a": 1},
		(*nilError)(nil), make(chan int), func() {},
		certmagic.Certificate{},
		(*certmagic.Certificate)(nil), &certmagic.Certificate{Certificate: tls.Certificate{}}, []string(nil), make([]string, 5000), time.Duration(-1),
		time.Time{},
		struct{}{},
	}
	keys := []string{"identifier", "subjects", "sans", "issuer", "issuers", "certificate_path", "renewal", "remaining", "error", "certificate", "reason", "revoked_at"}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(new(watcher))
		b.Start()
		b.emit(eventStarted, map[string]any{"identifier": 1})
		for _, name := range Events() {
			b.emit(name, nil)
			for _, v := range strange {
				data := map[string]any{}
				for _, k := range keys {
					data[k] = v
				}
				b.emit(name, data)
			}
		}
		time.Sleep(time.Hour)
		b.Stop()
		_, list := b.book.take()
		for _, c := range list {
			if len(c.Names) > maxNames || len(c.Error) > maxError {
				t.Errorf("%d names, %d bytes of error", len(c.Names), len(c.Error))
			}
			if _, err := audit.Decode(append(append([]byte(`{"v":1,"seq":0,"pos":0,`), c.AppendBody(nil, "e")...), '}')); err != nil {
				t.Error(err)
			}
		}
		if len(list) == 0 {
			t.Error("nothing is recorded")
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	b := newBench(new(watcher))
	for range maxQueue + 10 {
		b.emit(eventFailed, map[string]any{"identifier": "a"})
	}
	if len(b.queue) != maxQueue || b.lost != 10 {
		t.Errorf("%d events wait, %d were lost", len(b.queue), b.lost)
	}
	var names []string
	for i := range maxKnown + 10 {
		names = append(names, fmt.Sprint(i))
	}
	b.watcher.names.add(names, true)
	if n := len(b.watcher.names.list); n != maxKnown {
		t.Errorf("%d names are kept", n)
	}
}

func FuzzLeaf(f *testing.F) {
	c := newCert(f, 1, time.Unix(0, 0), time.Unix(1, 0), "a")
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, chain []byte) {
		c, err := leaf(chain)
		if (c == nil) == (err == nil) {
			t.Fatal(c, err)
		}
		if c != nil {
			r := describe(c, time.Unix(0, 0))
			if len(r.AppendBody(nil, "")) == 0 {
				t.Error("an empty record")
			}
		}
	})
}
