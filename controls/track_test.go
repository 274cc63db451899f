package controls

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// broken is the good server with a hole.
func broken(t *testing.T) *Snapshot {
	t.Helper()
	return snapshot(t, patched(t, good(t), []jsonpatch.Op{{Op: "add", Path: "/config/apps/http/servers/srv0/tls_connection_policies/1/insecure_secrets_log", Value: "/tmp/x"}}))
}

func find(records []*audit.CheckTransition, id string) *audit.CheckTransition {
	for _, r := range records {
		if r.Check == id {
			return r
		}
	}
	return nil
}

// TestExceptionLeavesTheResultAndExpires follows a failing check through the
// life of an exception.
func TestExceptionLeavesTheResultAndExpires(t *testing.T) {
	s := broken(t)
	settings := &Settings{Exceptions: []Exception{{Check: "TLS-004", Reason: "debugging CHG-9", Approver: "alice", Until: s.Time.Add(time.Hour)}}}
	if err := settings.Validate(s.Time); err != nil {
		t.Fatal(err)
	}
	r := Run(s, settings)
	f := r.Check("TLS-004")
	if f.Result != Fail || !f.Accepted() || f.Open() || r.Accepted != 1 || r.Worse(Critical) {
		t.Errorf("in force: %+v, accepted %d", f, r.Accepted)
	}
	if !r.Next().Equal(s.Time.Add(time.Hour)) && r.Next().After(s.Time.Add(time.Hour)) {
		t.Errorf("the next run is due %s, after the exception expires", r.Next())
	}
	var tracker Tracker
	if n := find(tracker.Apply(r), "TLS-004"); n == nil || !strings.Contains(n.Exception, "alice") || n.After != "fail" {
		t.Errorf("record: %+v", n)
	}
	began := s.Time
	s.Time = s.Time.Add(time.Hour)
	r = Run(s, settings)
	f = r.Check("TLS-004")
	if f.Result != Fail || f.Accepted() || !f.Exception.Expired || !f.Open() || !r.Worse(Critical) {
		t.Errorf("expired: %+v", f)
	}
	n := find(tracker.Apply(r), "TLS-004")
	if n == nil || n.Exception != "" || n.Before != "fail" || n.After != "fail" {
		t.Errorf("the end of the exception has the record %+v", n)
	}
	if !f.Failing.Equal(began) {
		t.Errorf("failing since %s, want %s", f.Failing, began)
	}
	for _, bad := range []Exception{
		{Check: "TLS-004", Approver: "a", Until: s.Time},
		{Check: "TLS-004", Reason: "r", Until: s.Time},
		{Check: "TLS-004", Reason: "r", Approver: "a"},
		{Check: "NOPE", Reason: "r", Approver: "a", Until: s.Time},
		{Check: "TLS-004", Reason: "r", Approver: "a", Until: s.Time.AddDate(9, 0, 0)},
	} {
		if err := (&Settings{Exceptions: []Exception{bad}}).Validate(s.Time); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestTransitionsAreExact runs checks again and again: only what changes has
// records, each begins where the one before ended, and once a day all have.
func TestTransitionsAreExact(t *testing.T) {
	var tracker Tracker
	fine, hole := snapshot(t, good(t)), broken(t)
	start := fine.Time
	run := func(s *Snapshot, at time.Time) []*audit.CheckTransition {
		s.Time = at
		r := Run(s, new(Settings))
		r.Trigger = TriggerInterval
		return tracker.Apply(r)
	}
	if n := len(run(fine, start)); n != 59 {
		t.Errorf("the first run has %d records", n)
	}
	if n := run(fine, start.Add(time.Minute)); len(n) != 0 {
		t.Errorf("nothing has changed, and there are %d records", len(n))
	}
	n := run(hole, start.Add(2*time.Minute))
	if len(n) != 1 || n[0].Check != "TLS-004" || n[0].Before != "pass" || n[0].After != "fail" || !n[0].Since.Equal(start) || !n[0].Time.Equal(start.Add(2*time.Minute)) {
		t.Fatalf("broken: %+v", n)
	}
	if tracker.Failing()["TLS-004"] != start.Add(2*time.Minute) {
		t.Errorf("failing: %v", tracker.Failing())
	}
	kept, err := tracker.Save()
	if err != nil {
		t.Fatal(err)
	}
	tracker = Tracker{}
	if err := tracker.Load(kept); err != nil {
		t.Fatal(err)
	}
	all := run(hole, start.Add(3*time.Minute)) // another process
	if n := find(all, "TLS-004"); len(all) != 59 || n.Before != "fail" || n.After != "fail" || !n.Since.Equal(start.Add(2*time.Minute)) {
		t.Errorf("after a restart: %d records, %+v", len(all), n)
	}
	n = run(fine, start.Add(4*time.Minute))
	if len(n) != 1 || n[0].After != "pass" || !n[0].Since.Equal(start.Add(2*time.Minute)) {
		t.Errorf("mended: %+v", n)
	}
	if n := run(fine, start.Add(25*time.Hour)); len(n) != 59 {
		t.Errorf("a day later there are %d records", len(n))
	}
	if err := tracker.Load([]byte("{")); err == nil {
		t.Error("a damaged file is taken")
	}
}

// TestRecordsOfTransitionsAreRead encodes and decodes the record of each check.
func TestRecordsOfTransitionsAreRead(t *testing.T) {
	var tracker Tracker
	r := Run(broken(t), new(Settings))
	r.Trigger = TriggerDemand
	for _, n := range tracker.Apply(r) {
		frame, err := segment.AppendFrame(nil, 0, 0, n.AppendBody(nil, "test"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := audit.Decode(segment.Record(frame))
		if err != nil {
			t.Fatal(err)
		}
		back, ok := got.Body.(*audit.CheckTransition)
		if !ok || back.Check != n.Check || back.After != n.After || back.Summary != n.Summary && len(back.Cut) == 0 || back.Definition != n.Definition {
			t.Errorf("%+v came back as %+v", n, got.Body)
		}
		if n.Definition == "" || len(n.Criteria) == 0 || !json.Valid(n.Evidence.Value) {
			t.Errorf("%+v", n)
		}
	}
}

// TestSARIFIsValid validates reports against the schema of SARIF 2.1.0.
func TestSARIFIsValid(t *testing.T) {
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(read(t, "sarif-schema-2.1.0.json")))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("sarif.json", schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	alone := broken(t)
	alone.Server = nil
	settings := &Settings{Exceptions: []Exception{{Check: "TLS-004", Reason: "why \u2028 <b>", Approver: "alice", Until: alone.Time.Add(time.Hour)}}}
	for name, r := range map[string]*Report{
		"broken": Run(broken(t), new(Settings)), "accepted": Run(broken(t), settings), "configuration": Run(alone, settings), "nothing": Run(&Snapshot{Time: alone.Time}, settings),
	} {
		for _, file := range []string{"", "deploy/Caddyfile", "/a b/ä#?%.json", `C:\x`} {
			var b bytes.Buffer
			if err := r.WriteSARIF(&b, file); err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(&b)
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled.Validate(doc); err != nil {
				t.Errorf("%s %q: %v", name, file, err)
			}
		}
	}
	var b bytes.Buffer
	if err := Run(broken(t), new(Settings)).WriteSARIF(&b, "Caddyfile"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ruleId": "TLS-004"`, `"uri": "Caddyfile"`, `insecure_secrets_log`, `"level": "error"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("SARIF has no %s", want)
		}
	}
}

// TestEvidenceHoldsNoSecrets looks for the secret of a configuration in all that
// is written of it.
func TestEvidenceHoldsNoSecrets(t *testing.T) {
	const secret = "s3cr3t-t0ken-0123456789"
	for _, f := range fixtures(t) {
		if f.Check != "ACC-005" {
			continue
		}
		r := Run(snapshot(t, patched(t, good(t), f.Break)), new(Settings))
		var b bytes.Buffer
		if err := r.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteSARIF(&b, "x"); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for _, hidden := range []string{secret, "hunter2hunter2", "Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT"} {
			if strings.Contains(b.String(), hidden) {
				t.Errorf("%s: the output has %s", f.Name, hidden)
			}
		}
	}
}

// TestTallyCountsWhatResponsesLack gives it requests and headers.
func TestTallyCountsWhatResponsesLack(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	whole := func() http.Header {
		return http.Header{
			"Strict-Transport-Security": {"max-age=63072000; includeSubDomains"}, "Content-Type": {"text/html; charset=utf-8"},
			"Content-Security-Policy": {"default-src 'self'; frame-ancestors 'none'"}, "X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"no-referrer"},
		}
	}
	event := func() *audit.Event {
		return &audit.Event{Start: at, TLS: audit.TLS{Version: "1.3"}, Method: "GET", Host: "a.example", Path: "/x", Status: 200, Server: "srv0"}
	}
	for _, c := range []struct {
		name   string
		want   SightingName // empty: nothing
		change func(ev *audit.Event, h http.Header)
	}{
		{"whole", "", func(*audit.Event, http.Header) {}},
		{"no HSTS", SeenNoHSTS, func(_ *audit.Event, h http.Header) { delete(h, "Strict-Transport-Security") }},
		{"short HSTS", SeenNoHSTS, func(_ *audit.Event, h http.Header) { h["Strict-Transport-Security"] = []string{"max-age=60"} }},
		{"HSTS that is no number", SeenNoHSTS, func(_ *audit.Event, h http.Header) { h["Strict-Transport-Security"] = []string{"max-age=x"} }},
		{"no CSP", SeenWeakPage, func(_ *audit.Event, h http.Header) { delete(h, "Content-Security-Policy") }},
		{"frames", SeenWeakPage, func(_ *audit.Event, h http.Header) { h["Content-Security-Policy"] = []string{"default-src 'self'"} }},
		{"frames by X-Frame-Options", "", func(_ *audit.Event, h http.Header) {
			h["Content-Security-Policy"], h["X-Frame-Options"] = []string{"default-src 'self'"}, []string{"DENY"}
		}},
		{"Server", SeenLeak, func(_ *audit.Event, h http.Header) { h["Server"] = []string{"x"} }},
		{"any origin", SeenCORS, func(_ *audit.Event, h http.Header) {
			h["Access-Control-Allow-Origin"], h["Access-Control-Allow-Credentials"] = []string{"*"}, []string{"true"}
		}},
		{"own origin", "", func(_ *audit.Event, h http.Header) {
			h["Access-Control-Allow-Origin"], h["Access-Control-Allow-Credentials"] = []string{"https://a.example"}, []string{"true"}
		}},
		{"any origin without credentials", "", func(_ *audit.Event, h http.Header) { h["Access-Control-Allow-Origin"] = []string{"*"} }},
		{"plain", SeenPlain, func(ev *audit.Event, _ http.Header) { ev.TLS = audit.TLS{} }},
		{"plain redirect", "", func(ev *audit.Event, _ http.Header) { ev.TLS, ev.Status = audit.TLS{}, 308 }},
		{"TLS 1.2", SeenTLS12, func(ev *audit.Event, _ http.Header) { ev.TLS.Version = "1.2" }},
		{"stranger", SeenStranger, func(ev *audit.Event, _ http.Header) { ev.Path = "/ADMIN/users" }},
		{"refused stranger", "", func(ev *audit.Event, _ http.Header) { ev.Path, ev.Status = "/admin/users", 401 }},
		{"somebody known", "", func(ev *audit.Event, _ http.Header) { ev.Path, ev.User = "/admin/users", "alice" }},
		{"limited", SeenLimited, func(ev *audit.Event, _ http.Header) { ev.Limit.Outcome, ev.Status = "limited", 429 }},
		{"private from the cache", SeenCached, func(ev *audit.Event, h http.Header) { ev.Cache, h["Cache-Control"] = "hit", []string{"private"} }},
		{"public from the cache", "", func(ev *audit.Event, h http.Header) { ev.Cache, h["Cache-Control"] = "hit", []string{"max-age=60"} }},
	} {
		told := 0
		tally := NewTally(at)
		tally.Notify = func() { told++ }
		ev, h := event(), whole()
		c.change(ev, h)
		tally.Request(ev, h)
		tally.Request(ev, h)
		var s Server
		tally.Facts(&s)
		want := 0
		if c.want != "" {
			want = 1
			if list := s.Traffic.Sightings[c.want]; len(list) != 1 || list[0].Count != 2 {
				t.Errorf("%s: %v", c.name, s.Traffic.Sightings)
			}
		}
		if len(s.Traffic.Sightings) != want || (told > 0) != (want > 0) || s.Traffic.Requests != 2 {
			t.Errorf("%s: %v, told %d times", c.name, s.Traffic.Sightings, told)
		}
	}
}

// TestTallyStaysSmall gives it more than it keeps.
func TestTallyStaysSmall(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tally := NewTally(at)
	for i := range 10_000 {
		at = at.Add(2 * time.Second)
		tally.See(SeenPlain, at, "x", 1)
		tally.Request(&audit.Event{Start: at, User: strings.Repeat("u", i%5000), TLS: audit.TLS{Version: "1.3"}, Status: 200}, nil)
		tally.Happened(&audit.ConfigChange{Time: at, Outcome: "applied"}, false)
		tally.Happened(&audit.Review{Time: at, Kind: audit.KindReviewDrill}, false)
		tally.Happened(&audit.Certificate{Time: at, Kind: audit.KindCertFailed, Names: []string{strings.Repeat("n", i)}}, false)
		tally.Happened(&audit.UpstreamChange{Time: at, Kind: []audit.Kind{audit.KindUpstreamUp, audit.KindUpstreamDown}[i%2], Address: "a"}, false)
	}
	var s Server
	tally.Facts(&s)
	list := s.Traffic.Sightings[SeenPlain]
	if len(list) > maxSightings || len(s.Traffic.Accounts) > maxAccounts || !s.Traffic.Full || len(s.Changes) > maxChanges || len(s.Reviews) > maxReviews || len(s.Names) > maxNames || len(s.Upstreams[0].Phases) > maxPhases {
		t.Errorf("%d sightings, %d accounts, %d changes, %d names", len(list), len(s.Traffic.Accounts), len(s.Changes), len(s.Names))
	}
	if !list[len(list)-1].Time.Equal(at) {
		t.Error("the newest is not there")
	}
}

// TestCertificatesAndUpstreamsAreFollowed gives records of both.
func TestCertificatesAndUpstreamsAreFollowed(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tally := NewTally(at)
	cert := func(kind audit.Kind, after time.Duration) {
		tally.Happened(&audit.Certificate{Time: at.Add(after), Kind: kind, Names: []string{"a.example"}, Error: "no"}, false)
	}
	state := func() Name {
		var s Server
		tally.Facts(&s)
		return s.Names["a.example"]
	}
	cert(audit.KindCertFailed, 0)
	cert(audit.KindCertFailed, time.Hour)
	if n := state(); !n.Failing.Equal(at) {
		t.Errorf("%+v", n)
	}
	cert(audit.KindCertRenewed, 2*time.Hour)
	if n := state(); n != (Name{}) {
		t.Errorf("obtained: %+v", n)
	}
	cert(audit.KindCertRevoked, 3*time.Hour)
	if n := state(); n.Revoked.IsZero() {
		t.Errorf("revoked: %+v", n)
	}
	for i, kind := range []audit.Kind{audit.KindUpstreamUp, audit.KindUpstreamUp, audit.KindUpstreamDown, audit.KindUpstreamUp} {
		tally.Happened(&audit.UpstreamChange{Time: at.Add(time.Duration(i) * time.Minute), Kind: kind, Server: "s", Address: "a:1"}, false)
	}
	var s Server
	tally.Facts(&s)
	if u := s.Upstreams[0]; u.Name != "s a:1" || u.State != "up" || len(u.Phases) != 2 || u.Phases[1].State != "down" || u.Phases[1].To.Sub(u.Phases[1].From) != time.Minute {
		t.Errorf("%+v", s.Upstreams)
	}
}

// TestSampleFindsCredentials looks at texts of records.
func TestSampleFindsCredentials(t *testing.T) {
	for text, want := range map[string]bool{
		"/reset?token": false, "/login?password=hunter22": true, "/x/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc": true, "/assets/3f2a9b8c7d6e5f4a3b2c1d0e9f8a7b6c.js": false,
		"AKIAIOSFODNN7EXAMPLE": true, "Bearer abcdefghijklmnop": true, "password=*": false, "Mozilla/5.0 (X11; Linux x86_64)": false, "ghp_0123456789abcdef0123": true, "/users/basic tutorial": false,
	} {
		var s Sample
		s.Look(7, &audit.Event{Path: text})
		if (len(s.Found) > 0) != want {
			t.Errorf("%s: %v", text, s.Found)
		}
		for _, f := range s.Found {
			if strings.Contains(f.What+f.Where, text) {
				t.Errorf("%s is in the evidence", text)
			}
		}
	}
}

// TestCriteriaAreWhole checks the mapping.
func TestCriteriaAreWhole(t *testing.T) {
	set := Criteria()
	if len(set.Criteria) != 61 {
		t.Errorf("%d criteria", len(set.Criteria))
	}
	seen := map[string]bool{}
	for _, c := range set.Criteria {
		if seen[c.ID] || c.Title == "" {
			t.Errorf("%s is there twice or has no title", c.ID)
		}
		seen[c.ID] = true
		switch {
		case c.Strength == NotAssessed:
			if c.Limits == "" || len(c.Checks()) > 0 || len(c.Collected) > 0 {
				t.Errorf("%s is not assessed, and %+v", c.ID, c)
			}
		case len(c.Collected) == 0 || len(c.Populations) == 0 || len(c.Focus) == 0 || c.Test == "":
			t.Errorf("%s is not whole: %+v", c.ID, c)
		}
	}
	state := func(list []CriterionState, id string) string {
		for _, s := range list {
			if s.ID == id {
				return s.State
			}
		}
		return ""
	}
	fine := set.States(Run(snapshot(t, good(t)), new(Settings)))
	bad := set.States(Run(broken(t), new(Settings)))
	none := set.States(nil)
	for _, c := range []struct{ got, want string }{
		{state(fine, "CC6.7"), EvidenceCollected},
		{state(bad, "CC6.7"), EvidenceExceptions},
		{state(none, "CC6.7"), EvidenceNone},
		{state(fine, "CC1.1"), EvidenceNot},
		{state(bad, "P8.1"), EvidenceNot},
		{state(fine, "CC4.1"), EvidenceCollected},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}

// FuzzRun gives checks any configuration.
func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"apps":{"http":{"servers":{"s":{"routes":[{"match":[{"path":["/a*"]}],"handle":[{"handler":"reverse_proxy"}]}]}}}}}`))
	f.Add([]byte(`{"admin":{"listen":"unix//x|07777"},"apps":{"soc2":{"audit":{"retain":"-1d"}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := jsonpatch.Parse(b)
		if err != nil {
			return
		}
		r := Run(&Snapshot{Time: time.Unix(1, 0), Config: doc}, new(Settings))
		for _, f := range r.Checks {
			if f.Result == "" || f.Summary == "" || strings.HasPrefix(f.Summary, mistake) {
				t.Errorf("%+v", f)
			}
		}
	})
}
