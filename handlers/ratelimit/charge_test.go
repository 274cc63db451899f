package ratelimit

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestOnlyFailedLoginsAreCharged(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone failed {
		limit 3/1h
		charge status 401
	}`)}
	status := http.StatusOK
	s.next = func(w http.ResponseWriter, _ *http.Request) error {
		if status == http.StatusUnauthorized {
			return caddyhttp.Error(status, errors.New("wrong password"))
		}
		w.WriteHeader(status)
		return nil
	}
	if n := s.admitted(20, "/", alice); n != 20 {
		t.Fatalf("%d successful logins of 20", n)
	}
	status = http.StatusUnauthorized
	for range 10 {
		s.get("/", alice)
	}
	if s.served != 23 {
		t.Errorf("%d failed logins", s.served-20)
	}
}

func TestBytesAreCharged(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone bytes {
		limit 1kB/1h
		charge bytes
		debt 500
	}`)}
	s.next = func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.Copy(w, strings.NewReader(strings.Repeat("x", 400)))
		return err
	}
	if n := s.admitted(10, "/", alice); n != 3 { // 400, 800 and 1200: then it owes
		t.Errorf("%d responses", n)
	}
}

func TestBytesAreChargedThoughTheClientLeaves(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone aborted {
		limit 1kB/1h
		charge bytes
	}`)}
	s.next = func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.Copy(w, strings.NewReader(strings.Repeat("x", 1200)))
		panic(http.ErrAbortHandler) // as reverse_proxy does
	}
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			s.get("/", alice)
		}()
	}
	if s.served != 1 {
		t.Errorf("%d responses, of which the first had more bytes than the limit", s.served)
	}
}

func TestWhatWasSetAsideIsSpentAfterAPanic(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone panics {
		limit 3/1h
		charge status 401
	}`)}
	s.next = func(http.ResponseWriter, *http.Request) error { panic("a bug") }
	for range 5 {
		func() {
			defer func() { _ = recover() }()
			s.get("/", alice)
		}()
	}
	if s.served != 3 {
		t.Errorf("%d requests", s.served)
	}
}

func TestEachZoneReadsItsOwnCost(t *testing.T) {
	s := &site{t: t, handler: ready(t, `
		zone cost_a {
			limit 10/1h
			charge header X-Cost-A
		}
		zone cost_b {
			limit 1000/1h
			charge header X-Cost-B
		}
		zone cost_a_too {
			limit 100/1h
			charge header X-Cost-A
		}`)}
	s.next = func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("X-Cost-A", "2")
		w.Header().Set("X-Cost-B", "70")
		_, err := io.WriteString(w, "ok")
		return err
	}
	if w := s.do(http.MethodGet, "/", alice); w.Header().Get("X-Cost-A")+w.Header().Get("X-Cost-B") != "" {
		t.Error(w.Header())
	}
	for i, want := range []int64{2, 70, 2} {
		shared := s.handler.Zones[i].shared
		if u := shared.zone.Usage(s.handler.Zones[i].key.hashText(&shared.zone.Hasher, "192.0.2.1"), nil); u.Used != want {
			t.Errorf("zone %s was charged %d, not %d", shared.name, u.Used, want)
		}
	}
}

func TestUpstreamDeclaresItsCostWithinBounds(t *testing.T) {
	for declared, want := range map[string]int{"5": 2, "1000000": 1, "99999999999999999999999": 1, "-7": 10, "x": 10, "": 10, "0": 30} {
		h, end, err := provision(t, `zone declared {
			limit 10/1h
			charge header X-Cost max 10
		}`)
		if err != nil {
			t.Fatal(err)
		}
		s := &site{t: t, handler: h}
		s.next = func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("X-Cost", declared)
			w.WriteHeader(http.StatusOK)
			return nil
		}
		first := s.do(http.MethodGet, "/", alice)
		if first.Header().Get("X-Cost") != "" {
			t.Error("the client sees what the upstream declares")
		}
		if n := s.admitted(29, "/", alice) + 1; n != want {
			t.Errorf("declared %q: %d requests, not %d", declared, n, want)
		}
		end()
	}
}

func TestCostsByMatcher(t *testing.T) {
	s := &site{t: t, handler: ready(t, `zone costs {
		limit 10/1h
		cost 4 path /search
		cost 0 method OPTIONS
	}`)}
	if n := s.admitted(5, "/search", alice); n != 2 {
		t.Errorf("%d searches", n)
	}
	if n := s.admitted(5, "/", alice); n != 2 {
		t.Errorf("%d others", n)
	}
}
