package soc2_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	soc2 "github.com/caddy-soc2/caddy-soc2"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
)

func init() { caddy.RegisterModule(countingHash{}) }

// countingHash is a password hash that counts how often it is computed.
type countingHash struct{}

var hashesComputed atomic.Int64

func (countingHash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.hashes.counting", New: func() caddy.Module { return new(countingHash) }}
}

func (countingHash) Compare(_, plaintext []byte) (bool, error) {
	hashesComputed.Add(1)
	return string(plaintext) == "secret", nil
}

func (countingHash) Hash([]byte) ([]byte, error) { return []byte("hash"), nil }
func (countingHash) FakeHash() []byte            { return []byte("fake") }

var _ caddyauth.Comparer = countingHash{}

func counting(config string) string {
	return strings.ReplaceAll(config, `"algorithm":"bcrypt"`, `"algorithm":"counting"`)
}

func as(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

// TestLimitedClientCostsNoPasswordHash has the limiter written after basic_auth,
// before which it runs all the same.
func TestLimitedClientCostsNoPasswordHash(t *testing.T) {
	s := newSite(t)
	hash := base64.StdEncoding.EncodeToString([]byte("hash"))
	if err := s.loadEdited(`
	{
		GLOBAL
		soc2 {
			data_dir DATA
		}
	}
	SITE {
		basic_auth {
			alice `+hash+`
			bob   `+hash+`
		}
		soc2_rate_limit_user {
			zone hash_user {
				key principal
				limit 4/1h
			}
		}
		soc2_rate_limit {
			zone hash_client {
				limit 3/1h
				charge status 401
			}
		}
		respond "ok"
	}`, counting); err != nil {
		t.Fatal(err)
	}
	before := hashesComputed.Load()
	for range 3 {
		if got := s.get(s.url("/"), as("alice", "wrong")).status; got != http.StatusUnauthorized {
			t.Fatal(got)
		}
	}
	computed := hashesComputed.Load() - before
	for range 5 {
		if got := s.get(s.url("/"), as("alice", "secret")).status; got != http.StatusTooManyRequests {
			t.Fatal(got)
		}
	}
	if n := hashesComputed.Load() - before; n != computed || computed == 0 {
		t.Errorf("%d password hashes were computed for a limited client", n-computed)
	}
}

// TestPrincipalsAreLimitedAfterAuthentication also shows that requests which
// authentication refuses are charged to nobody.
func TestPrincipalsAreLimitedAfterAuthentication(t *testing.T) {
	s := newSite(t)
	hash := base64.StdEncoding.EncodeToString([]byte("hash"))
	if err := s.loadEdited(`
	{
		GLOBAL
		soc2 {
			data_dir DATA
		}
	}
	SITE {
		basic_auth {
			alice `+hash+`
			bob   `+hash+`
		}
		soc2_rate_limit_user {
			zone principals {
				key principal
				limit 2/1h
				override bob 4/1h
			}
		}
		respond "ok"
	}`, counting); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]int{"alice": 2, "bob": 4} {
		ok := 0
		for range 6 {
			if s.get(s.url("/"), as(user, "secret")).status == http.StatusOK {
				ok++
			}
		}
		if ok != want {
			t.Errorf("%s: %d requests, not %d", user, ok, want)
		}
	}
	if got := s.get(s.url("/")).status; got != http.StatusUnauthorized {
		t.Error(got)
	}
}

const limitedSite = `
	{
		GLOBAL
		soc2 {
			data_dir DATA
		}
	}
	SITE {
		handle /metrics {
			metrics
		}
		handle {
			soc2_rate_limit {
				zone recorded {
					limit 2/1h
					key header:X-Key
				}
			}
			respond "ok"
		}
	}
`

type limitRecord struct {
	Kind, Zone, Key, Limit, Mode, Reason string
	Pseudonym                            bool
	Allowed, Refused                     int64
}

func (s *site) limits() (list []limitRecord) {
	s.t.Helper()
	dir := records.Dir{FS: os.DirFS(s.dir())}
	if _, err := dir.Scan(0, func(_ int64, b []byte) error {
		var r limitRecord
		if err := json.Unmarshal(b, &r); err == nil && strings.HasPrefix(r.Kind, "limit.") {
			list = append(list, r)
		} else if err != nil && strings.Contains(string(b), `"kind":"limit.`) {
			return err
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return list
}

func TestBeginAndEndOfLimitingAreRecorded(t *testing.T) {
	s := newSite(t)
	if err := s.load(limitedSite); err != nil {
		t.Fatal(err)
	}
	for range 7 {
		s.get(s.url("/"), func(r *http.Request) { r.Header.Set("X-Key", "mallory") })
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if len(s.limits()) > 0 {
			break
		}
		<-tick.C
	}
	// A configuration without the limit ends it.
	if err := s.load(strings.ReplaceAll(limitedSite, "zone recorded", "zone another")); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		if len(s.limits()) > 1 {
			break
		}
		<-tick.C
	}
	list := s.limits()
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	begin, end := list[0], list[1]
	if begin.Kind != "limit.begin" || begin.Zone != "recorded" || begin.Limit != "2/1h" || begin.Mode != "gcra" || begin.Reason != "quota" {
		t.Errorf("%+v", begin)
	}
	if end.Kind != "limit.end" || end.Refused != 5 || end.Key != begin.Key || !end.Pseudonym || strings.Contains(end.Key, "mallory") {
		t.Errorf("%+v", end)
	}
	_ = caddy.Stop()
	s.verify()
}

// TestLimitingEndsWhenTheProcessExits stops while a key is refused; the parts of
// a configuration stop in any order.
func TestLimitingEndsWhenTheProcessExits(t *testing.T) {
	for range 5 {
		s := newSite(t)
		if err := s.load(limitedSite); err != nil {
			t.Fatal(err)
		}
		for range 7 {
			s.get(s.url("/"))
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		s.closed()
		var kinds []string
		for _, r := range s.limits() {
			kinds = append(kinds, fmt.Sprint(r.Kind, r.Refused))
		}
		if got := strings.Join(kinds, " "); got != "limit.begin0 limit.end5" {
			t.Error(got)
		}
		s.verify()
	}
}

// TestSnapshotIsNotReplacedByWhatNeverRan validates a configuration, as a command
// does beside a running server.
func TestSnapshotIsNotReplacedByWhatNeverRan(t *testing.T) {
	s := newSite(t)
	if err := s.load(strings.ReplaceAll(limitedSite, "key header:X-Key", "persist")); err != nil {
		t.Fatal(err)
	}
	snapshots := func() (n int) {
		_ = filepath.WalkDir(s.data, func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() && strings.Contains(path, filepath.Join("soc2", "limits")) {
				n++
			}
			return nil
		})
		return n
	}
	s.stop()
	if n := snapshots(); n != 0 {
		t.Fatalf("%d snapshots without a request", n)
	}
	if err := s.load(strings.ReplaceAll(limitedSite, "key header:X-Key", "persist")); err != nil {
		t.Fatal(err)
	}
	s.get(s.url("/"))
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := snapshots(); n != 1 {
		t.Errorf("%d snapshots", n)
	}
}

func TestStatusHasTheZones(t *testing.T) {
	s := newSite(t)
	if err := s.load(strings.ReplaceAll(limitedSite, "limit 2/1h", "limit 2/1h\nshadow")); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if got := s.get(s.url("/")).status; got != http.StatusOK {
			t.Fatal(got)
		}
	}
	want := evidence.Limit{Zone: "recorded", Limit: "2/1h", Mode: "shadow", Allowed: 2, WouldRefuse: 3}
	if got := new(soc2.App).Limits(); len(got) != 1 || got[0] != want {
		t.Errorf("%+v", got)
	}
}

func TestScrapeSizeDoesNotDependOnTraffic(t *testing.T) {
	s := newSite(t)
	if err := s.load(limitedSite); err != nil {
		t.Fatal(err)
	}
	scrape := func() (lines int, all string) {
		resp, err := s.client.Get(s.url("/metrics"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "caddy_soc2_limit_") {
				lines++
				all += line
			}
		}
		return lines, all
	}
	before, _ := scrape()
	for i := range 200 {
		for range 3 {
			s.get(s.url("/"), func(r *http.Request) { r.Header.Set("X-Key", fmt.Sprint(i)) })
		}
	}
	after, text := scrape()
	if before != after || before == 0 {
		t.Errorf("%d series before, %d after", before, after)
	}
	for _, want := range []string{
		`caddy_soc2_limit_decisions_total{decision="allowed",mode="gcra",zone="recorded"} 400`,
		`caddy_soc2_limit_decisions_total{decision="quota",mode="gcra",zone="recorded"} 200`,
		`caddy_soc2_limit_keys{zone="recorded"} 200`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestSpentBudgetsSurviveARestart(t *testing.T) {
	s := newSite(t)
	config := strings.ReplaceAll(limitedSite, "key header:X-Key", "persist\nban after 3 for 1h")
	if err := s.load(config); err != nil {
		t.Fatal(err)
	}
	if a, b, c := s.get(s.url("/")).status, s.get(s.url("/")).status, s.get(s.url("/")).status; a != 200 || b != 200 || c != 429 {
		t.Fatal(a, b, c)
	}
	s.stop() // nothing of the zone is left in the process
	if err := s.load(config); err != nil {
		t.Fatal(err)
	}
	if got := s.get(s.url("/")).status; got != http.StatusTooManyRequests {
		t.Errorf("status %d after a restart", got)
	}
}
