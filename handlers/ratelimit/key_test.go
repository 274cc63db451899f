package ratelimit

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestKeys(t *testing.T) {
	tls := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for _, c := range []struct {
		name, options string
		a, b          func(s *site) int // two requests
		same          bool
	}{
		{"two addresses", "", from("192.0.2.1:1"), from("192.0.2.2:1"), false},
		{"two ports", "", from("192.0.2.1:1"), from("192.0.2.1:2"), true},
		{"IPv4-mapped", "", from("192.0.2.1:1"), from("[::ffff:192.0.2.1]:1"), true},
		{"one /64", "", from("[2001:db8::1]:1"), from("[2001:db8::ffff:2]:1"), true},
		{"two /64", "", from("[2001:db8::1]:1"), from("[2001:db8:0:1::1]:1"), false},
		{"one /56", "ipv6_prefix 56", from("[2001:db8::1]:1"), from("[2001:db8:0:1::1]:1"), true},
		{"one /24", "ipv4_prefix 24", from("192.0.2.1:1"), from("192.0.2.250:1"), true},
		{"no addresses", "", from("@"), from("pipe"), true},
		{"header", "key header:X-Key", from(alice, header("X-Key", "a")), from(bob, header("X-Key", "a")), true},
		{"headers", "key header:X-Key", from(alice, header("X-Key", "a")), from(alice, header("X-Key", "b")), false},
		{"cookies", "key cookie:sid", from(alice, header("Cookie", "sid=1")), from(alice, header("Cookie", "a=b; sid=2")), false},
		{"host", "key host", from(alice, tls("a.example")), from(alice, tls("b.example")), false},
		{"spellings of a host", "key host", from(alice, tls("A.example.:8443")), from(alice, tls("a.EXAMPLE")), true},
		{"addresses as hosts", "key host", from(alice, tls("[2001:db8::1]:80")), from(alice, tls("[2001:db8::2]:80")), false},
		{"zone of an address", "key client_ip", from("[fe80::1%eth0]:1"), from("[fe80::1%eth1]:1"), true},
		{"placeholder", "key {http.request.header.X-Key}", from(alice, header("X-Key", "a")), from(alice, header("X-Key", "b")), false},
		{"compound", "key client_ip header:X-Key", from(alice, header("X-Key", "a")), from(bob, header("X-Key", "a")), false},
		{"the same compound", "key client_ip header:X-Key", from(alice, header("X-Key", "a")), from(alice, header("X-Key", "a")), true},
		{"parts stay apart", "key header:X-A header:X-B", from(alice, header("X-A", "ab"), header("X-B", "c")), from(alice, header("X-A", "a"), header("X-B", "bc")), false},
		{"global", "key global", from(alice), from(bob), true},
		{"empty keys", "key header:X-Key", from(alice), from(bob), true},
		{"empty keys skipped", "key header:X-Key\nempty_key skip", from(alice), from(alice), false},
		{"a megabyte", "key header:X-Key", from(alice, header("X-Key", strings.Repeat("x", 1<<20))), from(alice, header("X-Key", strings.Repeat("x", 1<<20-1)+"y")), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{t: t, handler: ready(t, "zone keys {\n limit 1/1h\n "+c.options+"\n}")}
			if c.a(s) != http.StatusOK {
				t.Fatal("the first was refused")
			}
			if refused := c.b(s) != http.StatusOK; refused != c.same {
				t.Errorf("the same key: %v", refused)
			}
		})
	}
}

func from(addr string, edit ...func(*http.Request)) func(s *site) int {
	return func(s *site) int { return s.get("/", addr, edit...) }
}

func TestEmptyKeysAreCountedAndCanBeRefused(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone empty {
		key header:X-Key
		empty_key refuse
		limit 5/1m
	}`)}
	if got := s.get("/", alice); got != http.StatusForbidden {
		t.Error(got)
	}
	c := &s.handler.Zones[0].shared.counts
	if c[countEmpty].Load() != 1 || c[countDenied].Load() != 1 {
		t.Error(c[countEmpty].Load(), c[countDenied].Load())
	}
}

func TestKeysAreShownInPartOnly(t *testing.T) {
	s := &site{t: t, handler: ready(t, "zone shown {\n limit 1/1h\n key header:X-Key\n show_keys\n}")}
	s.admitted(2, "/", alice, header("X-Key", strings.Repeat("é", 1<<19)))
	list := s.handler.Zones[0].shared.tracker.List(5)
	if len(list) != 1 || len(list[0].Name) > maxShown+len("…") || !utf8.ValidString(list[0].Name) {
		t.Errorf("%d keys", len(list))
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"client_ip", "header:X-Key", "cookie:a", "{http.request.host}-{http.vars.x}", "{", "}{", "{http.request.uri.path.0}", "{http.request.header.{x}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseKey([]string{s}, 0, 0)
		if err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = alice
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), &caddyhttp.Server{})
		kr := keyed{request: r}
		shown := k.show(&kr)
		if strings.Contains(s, "{file.") || strings.Contains(s, "{env.") {
			t.Fatalf("%q was taken: %q", s, shown)
		}
	})
}
