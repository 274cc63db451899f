package controls

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// TestRoutesThatInvokeOneAnotherWithoutEndAreUnknown gives named routes that a
// check could follow in 2^40 ways.
func TestRoutesThatInvokeOneAnotherWithoutEndAreUnknown(t *testing.T) {
	var named []string
	for i := range 40 {
		named = append(named, fmt.Sprintf(`"n%d":{"handle":[{"handler":"invoke","name":"n%d"},{"handler":"invoke","name":"n%d"}]}`, i, i+1, i+1))
	}
	doc, err := jsonpatch.Parse([]byte(`{"apps":{"soc2":{},"http":{"servers":{"s":{"listen":[":1"],"named_routes":{` + strings.Join(named, ",") + `,"p":{"handle":[{"handler":"reverse_proxy"}]}},
		"routes":[{"handle":[{"handler":"invoke","name":"n0"}]},{"handle":[{"handler":"soc2_audit"},{"handler":"invoke","name":"p"}]}]}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	r := Run(&Snapshot{Time: time.Unix(1, 0), Config: doc}, new(Settings))
	for _, id := range []string{"AUD-001", "ACC-001", "RLM-001", "RLM-003"} {
		if f := r.Check(id); f.Result != Unknown {
			t.Errorf("%s: %s: %s", id, f.Result, f.Summary)
		}
	}
}

// TestPatternsOverlap compares pairs in both orders.
func TestPatternsOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"/admin/*", "/admin/x", true},
		{"/admin/*", "/ADMIN/public/*", true},
		{"/admin/*", "/a*", true},
		{"/admin/*", "*.php", true},
		{"/admin/*", "*", true},
		{"/admin/*", "/administrator", false},
		{"/admin", "/admin", true},
		{"/admin", "/admin/*", false},
		{"/admin", "/login", false},
		{"/a/*/b", "/a/x/c", false},
		{"/a/*/b", "*/b", true},
		{"*x*", "/axb", true},
		{"*x*", "/ab", false},
		{"/[ab]dmin", "/admin", true},
		{"", "*", true},
	} {
		if got, other := overlap(c.a, c.b), overlap(c.b, c.a); got != c.want || other != c.want {
			t.Errorf("%q %q: %v, the other way %v", c.a, c.b, got, other)
		}
	}
}

// TestStrangersAreSeenHoweverTheyWriteThePath counts requests for a protected
// path in spellings that Caddy's matcher takes for it.
func TestStrangersAreSeenHoweverTheyWriteThePath(t *testing.T) {
	settings := &Settings{Thresholds: map[string]map[string][]string{"ACC-001": {"paths": {"/admin/*"}}}}
	for _, c := range []struct {
		path   string
		status int
		want   int
	}{
		{"/admin/x", 200, 1},
		{"/%61dmin/x", 200, 1},
		{"/ADMIN/x", 206, 1},
		{"//admin//x", 200, 1},
		{"/a/../admin/x", 200, 1},
		{"/./admin/x", 200, 1},
		{"/admin/socket", http.StatusSwitchingProtocols, 1},
		{"/admin/x", 401, 0},
		{"/admin%2fx", 200, 1},
		{"/public/x", 200, 0},
		{"/admin/../public", 200, 0},
	} {
		tally := NewTally(time.Unix(1, 0))
		tally.Set(settings)
		tally.Request(&audit.Event{Start: time.Unix(2, 0), Method: "GET", Path: c.path, Status: c.status, TLS: audit.TLS{Version: "1.3"}}, nil)
		var s Server
		tally.Facts(&s)
		if n := len(s.Traffic.Sightings[SeenStranger]); n != c.want {
			t.Errorf("%d %s: %d sightings", c.status, c.path, n)
		}
	}
}

// TestMethodsOfClientsAreNotKept sends one that is no word.
func TestMethodsOfClientsAreNotKept(t *testing.T) {
	tally := NewTally(time.Unix(1, 0))
	tally.Set(&Settings{Thresholds: map[string]map[string][]string{"ACC-001": {"paths": {"/admin/*"}}}})
	tally.Request(&audit.Event{Start: time.Unix(2, 0), Method: strings.Repeat("X", 1<<20), Path: "/admin/x", Server: "s", Status: 200, TLS: audit.TLS{Version: "1.3"}}, nil)
	var s Server
	tally.Facts(&s)
	if list := s.Traffic.Sightings[SeenStranger]; len(list) != 1 || list[0].What != "another method on s" {
		t.Errorf("%.100v", list)
	}
}

// TestManySightingsDoNotHideAnother has one caller call once, and another one
// for hours.
func TestManySightingsDoNotHideAnother(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tally := NewTally(at)
	tally.See(SeenKnownCaller, at, "mallory", 1)
	for i := range 10_000 {
		tally.See(SeenKnownCaller, at.Add(time.Duration(i+1)*time.Second), "prometheus", 1)
	}
	var s Server
	tally.Facts(&s)
	list := s.Traffic.Sightings[SeenKnownCaller]
	if len(list) > maxSightings || list[0].What != "mallory" || list[len(list)-1].What != "prometheus" {
		t.Errorf("%d, the first %+v", len(list), list[0])
	}
	for i := range 10_000 { // things of as many kinds are bounded all the same
		tally.See(SeenPlain, at.Add(time.Duration(i)*time.Second), fmt.Sprint(i), 1)
	}
	tally.Facts(&s)
	if n := len(s.Traffic.Sightings[SeenPlain]); n > maxSightings {
		t.Errorf("%d", n)
	}
}

// TestManyChangesDoNotHideOne makes a change that weakens something, and then as
// many as are kept.
func TestManyChangesDoNotHideOne(t *testing.T) {
	s := snapshot(t, good(t))
	tally := NewTally(s.Time)
	change := func(after string, risks ...string) {
		tally.Happened(&audit.ConfigChange{Time: s.Time.Add(-time.Hour), Outcome: outcomeApplied, Source: "load", Before: "b", After: after, Actor: audit.Actor{Known: knownVerified}, Ticket: "T", Risks: risks}, false)
	}
	change("weak", "audit_removed")
	for range maxChanges {
		change("weak2")
	}
	tally.ReadBack(s.Time.AddDate(-1, 0, 0))
	var facts Server
	tally.Facts(&facts)
	s.Server.Changes, s.Server.ChangesFrom = facts.Changes, facts.ChangesFrom
	r := Run(s, new(Settings))
	for _, id := range []string{"CHG-001", "CHG-003", "CHG-004", "CHG-006"} {
		if f := r.Check(id); f.Result != Unknown {
			t.Errorf("%s: %s: %s", id, f.Result, f.Summary)
		}
	}
}

// TestUpstreamsThatComeAndGoStayBounded names one address after another.
func TestUpstreamsThatComeAndGoStayBounded(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tally := NewTally(at)
	tally.Happened(&audit.UpstreamChange{Time: at, Kind: audit.KindUpstreamDown, Address: "stays"}, false)
	for i := range 3 * maxUpstreams {
		address := fmt.Sprint("pod", i)
		tally.Happened(&audit.UpstreamChange{Time: at.Add(time.Duration(i) * time.Second), Kind: audit.KindUpstreamUp, Address: address}, false)
		tally.Happened(&audit.UpstreamChange{Time: at.Add(time.Duration(i+1) * time.Second), Kind: audit.Kind("upstream." + stateGone), Address: address}, false)
	}
	var s Server
	tally.Facts(&s)
	stays := false
	for _, u := range s.Upstreams {
		stays = stays || u.Name == "stays"
	}
	if len(s.Upstreams) > maxUpstreams || !stays {
		t.Errorf("%d upstreams; the one that is down is there: %v", len(s.Upstreams), stays)
	}
}

// TestRecordsThatTheLogDidNotTakeAreMadeAnew has the log refuse them once.
func TestRecordsThatTheLogDidNotTakeAreMadeAnew(t *testing.T) {
	var tracker Tracker
	fine, hole := snapshot(t, good(t)), broken(t)
	run := func(s *Snapshot, at time.Time) []*audit.CheckTransition {
		s.Time = at
		return tracker.Apply(Run(s, new(Settings)))
	}
	start := fine.Time
	run(fine, start)
	run(hole, start.Add(time.Minute))
	tracker.Untold()
	n := find(run(hole, start.Add(2*time.Minute)), "TLS-004")
	if n == nil || n.After != "fail" || !n.Since.Equal(start.Add(time.Minute)) {
		t.Errorf("%+v", n)
	}
	if n := run(hole, start.Add(3*time.Minute)); len(n) != 0 {
		t.Errorf("%d records of what the log has", len(n))
	}
	if n := run(hole, start.AddDate(-1, 0, 0)); len(n) != len(Checks().Checks) {
		t.Errorf("the clock was set back by a year, and there are %d records", len(n))
	}
}

// TestThresholdsThatMatchNothingAreRefused tries values with which a check would
// pass whatever it sees.
func TestThresholdsThatMatchNothingAreRefused(t *testing.T) {
	for _, words := range []string{"TLS-001 floor 1.3", "TLS-001 TLS1.3", "CHG-003 pattern CHG-(", "ACC-001 paths admin/*", "RLM-001 paths login", "ACC-003 removed mallory", "ACC-003 removed mallory@yesterday", "ACC-003 removed @2026-01-31"} {
		if err := new(Settings).Set(strings.Fields(words)); err == nil {
			t.Errorf("%s: no error", words)
		}
	}
	for _, words := range []string{"TLS-001 tls1.3", "CHG-003 ^CHG-[0-9]+$", "ACC-001 *.php /a", "ACC-003 removed mallory@example.com@2026-01-31"} {
		if err := new(Settings).Set(strings.Fields(words)); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
}

// TestModesOfSocketsAreReadAsCaddyDoes gives modes with more than nine bits.
func TestModesOfSocketsAreReadAsCaddyDoes(t *testing.T) {
	for text, want := range map[string]uint64{"unix//a": 0o200, "unix//a|0600": 0o600, "unix//a|1777": 0o777, "soc2unix//a|100222": 0o222, "unix//a|x": 0o777} {
		if mode, ok := isUnix(text); !ok || mode != want {
			t.Errorf("%s: %o", text, mode)
		}
	}
}

// TestCredentialsBelowAnyNameOfAServerAreFound names servers like places that
// are harmless.
func TestCredentialsBelowAnyNameOfAServerAreFound(t *testing.T) {
	for _, name := range []string{"s", "ca", "client_authentication", "tls"} {
		doc, err := jsonpatch.Parse([]byte(`{"apps":{"http":{"servers":{"` + name + `":{"routes":[{"handle":[{"handler":"reverse_proxy","headers":{"request":{"set":{"Authorization":["Bearer s3cr3t-t0ken-0123456789"]}}}}]}]}}}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if f := Run(&Snapshot{Time: time.Unix(1, 0), Config: doc}, new(Settings)).Check("ACC-005"); f.Result != Fail {
			t.Errorf("%s: %s: %s", name, f.Result, f.Summary)
		}
	}
}
