package soc2_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const evidenceSite = `
	{
		GLOBAL
		soc2 {
			data_dir DATA
		}
	}
	SITE {
		handle /.soc2/* {
			soc2_evidence {
				allow_unauthenticated
			}
		}
		respond "ok"
	}
`

// followSite asks for all records and those that come.
func (s *site) followSite() *bufio.Reader {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url("/.soc2/v1/log/records?from=0&follow=1"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("status %d", resp.StatusCode)
	}
	lines := bufio.NewReader(resp.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		s.t.Fatal(err)
	}
	return lines
}

// within fails the test if f takes longer than a server that waits for a
// request would be allowed to.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		t.Fatalf("%s waits for a request that follows the log", what)
	}
}

// TestFollowedRecordsComeThroughTheServer reads the log behind all the handlers
// of a site, of which one withholds the ends of responses.
func TestFollowedRecordsComeThroughTheServer(t *testing.T) {
	s := newSite(t)
	if err := s.load(evidenceSite); err != nil {
		t.Fatal(err)
	}
	lines := s.followSite()
	for range 3 {
		id := s.get(s.url("/")).header.Get("X-Request-Id")
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if id != "" && strings.Contains(line, id) {
				break
			}
		}
	}
}

func TestFollowersDoNotKeepTheServerFromStopping(t *testing.T) {
	s := newSite(t)
	if err := s.load(evidenceSite); err != nil {
		t.Fatal(err)
	}
	lines := s.followSite()
	within(t, "a reload", func() {
		if err := s.load(evidenceSite + "\n# again\n"); err != nil {
			t.Error(err)
		}
	})
	within(t, "the old configuration", func() { _, _ = io.Copy(io.Discard, lines) })
	lines = s.followSite()
	within(t, "stopping", func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	within(t, "the client", func() { _, _ = io.Copy(io.Discard, lines) })
}
