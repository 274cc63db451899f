package policy_test

import (
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
)

func compile(t testing.TB, c policy.Config) (*policy.Policy, *policy.Counters) {
	t.Helper()
	counters := &policy.Counters{}
	p, err := policy.Compile(c, counters)
	if err != nil {
		t.Fatal(err)
	}
	return p, counters
}

func request() audit.Event {
	return audit.Event{
		Start: time.Unix(1e9, 0), ID: audit.NewID(time.Unix(1e9, 0)), Method: "GET", Host: "www.example.com:443", Path: "/static/a.css",
		Query: "a=1", Agent: "curl", ClientIP: "192.0.2.7", ClientPort: "5000", User: "alice", AuthMethod: "basic",
		Status: 200, End: audit.EndComplete, Access: audit.Decision{Outcome: "allow", Rule: "r", Reason: "alice is staff"},
	}
}

// five is a policy as a site may have it.
var five = policy.Config{Rules: []policy.Rule{
	{Name: "health", Level: "none", Reason: "probes of the load balancer", Paths: []string{"/healthz"}, Clients: []string{"10.0.0.0/8"}, Methods: []string{"GET", "HEAD"}},
	{Name: "static", Level: "minimal", Paths: []string{"/static/*", "*.css"}, Statuses: []string{"2xx", "304"}},
	{Name: "admin", Level: "headers", Hosts: []string{"admin.example.com", "*.admin.example.com"}},
	{Name: "refused", Level: "headers", Outcomes: []string{"denied", "limited"}},
	{Name: "anonymous", Level: "metadata", User: "absent"},
}}

func TestEachMatcherDecides(t *testing.T) {
	for name, c := range map[string]struct {
		rule  policy.Rule
		event func(*audit.Event)
		want  bool
	}{
		"host":                {policy.Rule{Hosts: []string{"WWW.example.com"}}, nil, true},
		"host with dot":       {policy.Rule{Hosts: []string{"www.example.com"}}, func(e *audit.Event) { e.Host = "www.example.com." }, true},
		"other host":          {policy.Rule{Hosts: []string{"example.com"}}, nil, false},
		"suffix":              {policy.Rule{Hosts: []string{"*.example.com"}}, nil, true},
		"suffix, not itself":  {policy.Rule{Hosts: []string{"*.example.com"}}, func(e *audit.Event) { e.Host = "example.com" }, false},
		"suffix, not partly":  {policy.Rule{Hosts: []string{"*.example.com"}}, func(e *audit.Event) { e.Host = "badexample.com" }, false},
		"address":             {policy.Rule{Hosts: []string{"[::1]"}}, func(e *audit.Event) { e.Host = "[::1]:80" }, true},
		"path below":          {policy.Rule{Paths: []string{"/static/*"}}, nil, true},
		"path exactly":        {policy.Rule{Paths: []string{"/static"}}, nil, false},
		"path segment":        {policy.Rule{Paths: []string{"/*/a.css"}}, nil, true},
		"path part":           {policy.Rule{Paths: []string{"/st*c/*.css"}}, nil, true},
		"star in a segment":   {policy.Rule{Paths: []string{"/s*.css"}}, nil, false},
		"suffix of path":      {policy.Rule{Paths: []string{"*.css"}}, nil, true},
		"all paths":           {policy.Rule{Paths: []string{"/*"}}, nil, true},
		"root":                {policy.Rule{Paths: []string{"/"}}, nil, false},
		"escaped":             {policy.Rule{Paths: []string{"/admin/*"}}, func(e *audit.Event) { e.Path = "/static/..%2f%41dmin/x" }, true},
		"in capitals":         {policy.Rule{Paths: []string{"/static/*"}}, func(e *audit.Event) { e.Path = "/STATIC/x" }, true},
		"method":              {policy.Rule{Methods: []string{"POST", "GET"}}, nil, true},
		"other method":        {policy.Rule{Methods: []string{"POST"}}, nil, false},
		"status":              {policy.Rule{Statuses: []string{"200"}}, nil, true},
		"class":               {policy.Rule{Statuses: []string{"4xx"}}, nil, false},
		"range":               {policy.Rule{Statuses: []string{"100-200"}}, nil, true},
		"no status":           {policy.Rule{Statuses: []string{"2xx"}}, func(e *audit.Event) { e.Status = 0 }, false},
		"network":             {policy.Rule{Clients: []string{"192.0.2.0/24"}}, nil, true},
		"mapped address":      {policy.Rule{Clients: []string{"192.0.2.7"}}, func(e *audit.Event) { e.ClientIP = "::ffff:192.0.2.7" }, true},
		"other network":       {policy.Rule{Clients: []string{"2001:db8::/32"}}, nil, false},
		"no address":          {policy.Rule{Clients: []string{"0.0.0.0/0", "::/0"}}, func(e *audit.Event) { e.ClientIP = "" }, false},
		"user":                {policy.Rule{User: "present"}, nil, true},
		"no user":             {policy.Rule{User: "absent"}, nil, false},
		"denied":              {policy.Rule{Outcomes: []string{"denied"}}, func(e *audit.Event) { e.Access.Outcome = "deny" }, true},
		"not denied":          {policy.Rule{Outcomes: []string{"denied"}}, nil, false},
		"limited":             {policy.Rule{Outcomes: []string{"denied", "limited"}}, func(e *audit.Event) { e.Limit.Outcome = "limited" }, true},
		"all must hold":       {policy.Rule{Methods: []string{"GET"}, User: "absent"}, nil, false},
		"nothing is required": {policy.Rule{}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			ev := request()
			if c.event != nil {
				c.event(&ev)
			}
			c.rule.Name, c.rule.Level = "r", "headers"
			p, _ := compile(t, policy.Config{Rules: []policy.Rule{c.rule}})
			if got := p.Apply(&ev, nil, nil) == policy.Headers; got != c.want {
				t.Errorf("matched: %v", got)
			}
			if (ev.Rule == "r") != c.want || ev.Level == "" {
				t.Errorf("rule %q, level %q", ev.Rule, ev.Level)
			}
		})
	}
}

func TestFirstMatchWins(t *testing.T) {
	p, _ := compile(t, five)
	ev := request()
	ev.Host = "admin.example.com"
	if p.Apply(&ev, nil, nil) != policy.Minimal || ev.Rule != "static" {
		t.Errorf("%s by %q", ev.Level, ev.Rule)
	}
}

// TestWhatMattersIsRecorded: no rule takes detail from a denial or a failure.
func TestWhatMattersIsRecorded(t *testing.T) {
	for name, change := range map[string]func(*audit.Event){
		"denied":     func(e *audit.Event) { e.Access.Outcome = "deny" },
		"limited":    func(e *audit.Event) { e.Limit.Outcome = "limited" },
		"unknown":    func(e *audit.Event) { e.Access.Outcome = "some new outcome" },
		"failed":     func(e *audit.Event) { e.Status = 500 },
		"bad status": func(e *audit.Event) { e.Status = 999 },
		"login":      func(e *audit.Event) { e.Status = 401 },
		"forbidden":  func(e *audit.Event) { e.Status = 403 },
		"proxy":      func(e *audit.Event) { e.Status = 407 },
		"too many":   func(e *audit.Event) { e.Status = 429 },
		"panic":      func(e *audit.Event) { e.End = audit.EndPanicked },
		"dropped":    func(e *audit.Event) { e.End = audit.EndDropped },
	} {
		for _, level := range []string{"none", "minimal"} {
			p, counters := compile(t, policy.Config{Rules: []policy.Rule{{Name: "all", Level: level, Reason: "test"}}})
			ev := request()
			change(&ev)
			if got := p.Apply(&ev, nil, nil); got != policy.Metadata || ev.Level != "metadata" || ev.Rule != "all" || ev.Path == "" {
				t.Errorf("%s at %s: %v %+v", name, level, got, ev)
			}
			if n := counters.Take(); len(n) != 0 {
				t.Errorf("%s: counted as left out: %v", name, n)
			}
		}
	}
}

// TestNoSpellingHides: a path that a server may take for another one is not
// left out by the rule for the path that it looks like.
func TestNoSpellingHides(t *testing.T) {
	for _, path := range []string{
		"/static/../admin", "/static/%2e%2e/admin", "/static/..", "/static/./x", "/static//admin",
		`/static/..\admin`, "/static/%5c..%5cadmin", "/static/..;/admin", "/static/%252e%252e/admin", "//static/x", "/STATIC/x",
	} {
		for _, level := range []string{"none", "minimal"} {
			p, _ := compile(t, policy.Config{Rules: []policy.Rule{{Name: "static", Level: level, Reason: "test", Paths: []string{"/static/*"}}}})
			ev := request()
			ev.Path = path
			if got := p.Apply(&ev, nil, nil); got != policy.Metadata {
				t.Errorf("%s is recorded at %s", path, got)
			}
		}
	}
}

func TestMinimalKeepsNothingPersonal(t *testing.T) {
	secret := "personal"
	var ev audit.Event
	fill(reflect.ValueOf(&ev).Elem(), secret)
	ev.Method, ev.Host, ev.Status, ev.Access.Outcome, ev.Limit.Outcome = "GET", "h", 200, "allow", "allow"
	p, _ := compile(t, policy.Config{Rules: []policy.Rule{{Name: "r", Level: "minimal"}}})
	before := ev
	p.Apply(&ev, nil, nil)
	for _, s := range []string{
		ev.Path, ev.Query, ev.Agent, ev.User, ev.AuthMethod, ev.ClientIP, ev.ClientPort, ev.Peer, ev.Conn, ev.Trace, ev.Lookup,
		ev.TLS.ServerName, ev.TLS.ClientCert, ev.Access.Reason, ev.Limit.Reason,
	} {
		if s != "" {
			t.Errorf("it keeps %q", s)
		}
	}
	if ev.RequestHeaders != nil || ev.ResponseHeaders != nil || ev.Personal != nil {
		t.Error("it keeps header fields")
	}
	if ev.ID != before.ID || ev.Method != "GET" || ev.Host != "h" || ev.Status != 200 || ev.Access.Outcome != "allow" || ev.Upstream != before.Upstream {
		t.Errorf("it loses what it should keep: %+v", ev)
	}
	ev, p.KeepClient = before, true
	if p.Apply(&ev, nil, nil); ev.ClientIP != secret || ev.Peer != "" {
		t.Error("the address that a pseudonym is to be made of is gone")
	}
}

// fill sets every text of a struct.
func fill(v reflect.Value, s string) {
	for _, f := range v.Fields() {
		switch {
		case !f.CanSet():
		case f.Kind() == reflect.String:
			f.SetString(s)
		case f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[time.Time]():
			fill(f, s)
		case f.Type() == reflect.TypeFor[[]audit.Header]():
			f.Set(reflect.ValueOf([]audit.Header{{Name: s, Value: s}}))
		case f.Type() == reflect.TypeFor[[]byte]():
			f.SetBytes([]byte(s))
		}
	}
}

func TestConfigErrorsNameRuleAndField(t *testing.T) {
	rule := func(change func(*policy.Rule)) policy.Config {
		r := policy.Rule{Name: "static", Level: "metadata", Methods: []string{"GET"}}
		change(&r)
		return policy.Config{Rules: []policy.Rule{r}}
	}
	redact := func(r policy.Redact) policy.Config { return policy.Config{Redact: r} }
	for want, c := range map[string]policy.Config{
		`rule 1 "": name:`:                rule(func(r *policy.Rule) { r.Name = "" }),
		`rule 1 "a b": name:`:             rule(func(r *policy.Rule) { r.Name = "a b" }),
		`rule 1 "static": level "all"`:    rule(func(r *policy.Rule) { r.Level = "all" }),
		`reason: the level none needs`:    rule(func(r *policy.Rule) { r.Level = "none"; r.Reason = " " }),
		`reason: it has 257`:              rule(func(r *policy.Rule) { r.Reason = strings.Repeat("x", 257) }),
		`hosts: "https://x"`:              rule(func(r *policy.Rule) { r.Hosts = []string{"https://x"} }),
		`hosts: "*"`:                      rule(func(r *policy.Rule) { r.Hosts = []string{"*"} }),
		`hosts: "x:80"`:                   rule(func(r *policy.Rule) { r.Hosts = []string{"x:80"} }),
		`paths: "static"`:                 rule(func(r *policy.Rule) { r.Paths = []string{"static"} }),
		`paths: "/a%20b"`:                 rule(func(r *policy.Rule) { r.Paths = []string{"/a%20b"} }),
		`methods: "get"`:                  rule(func(r *policy.Rule) { r.Methods = []string{"get"} }),
		`statuses: "0xx"`:                 rule(func(r *policy.Rule) { r.Statuses = []string{"0xx"} }),
		`statuses: "500-400"`:             rule(func(r *policy.Rule) { r.Statuses = []string{"500-400"} }),
		`clients: "10.0.0.1/8"`:           rule(func(r *policy.Rule) { r.Clients = []string{"10.0.0.1/8"} }),
		`clients: "localhost"`:            rule(func(r *policy.Rule) { r.Clients = []string{"localhost"} }),
		`clients: "::ffff:0:0/90"`:        rule(func(r *policy.Rule) { r.Clients = []string{"::ffff:0:0/90"} }),
		`user: "alice"`:                   rule(func(r *policy.Rule) { r.User = "alice" }),
		`outcomes: "allowed"`:             rule(func(r *policy.Rule) { r.Outcomes = []string{"allowed"} }),
		`rule 2 "a": name: another`:       {Rules: []policy.Rule{{Name: "a", Level: "metadata", User: "absent"}, {Name: "a", Level: "metadata"}}},
		`so rule "b" after it never`:      {Rules: []policy.Rule{{Name: "a", Level: "metadata"}, {Name: "b", Level: "metadata"}}},
		`redact: headers: ""`:             redact(policy.Redact{Headers: []string{""}}),
		`redact: show_query: "a*"`:        redact(policy.Redact{ShowQuery: []string{"a*"}}),
		`redact: path_segments: "/reset"`: redact(policy.Redact{PathSegments: []string{"/reset"}}),
		`{**} must be the last`:           redact(policy.Redact{PathSegments: []string{"/a/{**}/b"}}),
		`path_segments: "a/{*}"`:          redact(policy.Redact{PathSegments: []string{"a/{*}"}}),
		`patterns: 1 "(": error parsing`:  redact(policy.Redact{Patterns: []policy.Pattern{{Regexp: "("}}}),
		`matches the empty text`:          redact(policy.Redact{Patterns: []policy.Pattern{{Regexp: "a*"}}}),
		`in: "body"`:                      redact(policy.Redact{Patterns: []policy.Pattern{{Regexp: "a", In: []string{"body"}}}}),
	} {
		if _, err := policy.Compile(c, &policy.Counters{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestEveryOmittedRequestIsInOneCount(t *testing.T) {
	now := time.Unix(1000, 0)
	counters := &policy.Counters{Now: func() time.Time { return now }}
	c := policy.Config{Rules: []policy.Rule{
		{Name: "a", Level: "none", Reason: "probes", Methods: []string{"HEAD"}},
		{Name: "b", Level: "none", Reason: "assets"},
	}}
	first, err := policy.Compile(c, counters)
	if err != nil {
		t.Fatal(err)
	}
	second, err := policy.Compile(c, counters) // a reload
	if err != nil {
		t.Fatal(err)
	}
	const workers, each = 4, 5000
	var got int64
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			p := [...]*policy.Policy{first, second}[i%2]
			for range each {
				ev := request()
				p.Apply(&ev, nil, nil)
			}
		})
	}
	for range 100 {
		for _, o := range counters.Take() {
			got += o.Count
		}
	}
	wg.Wait()
	now = now.Add(time.Minute)
	last := counters.Take()
	for _, o := range last {
		got += o.Count
		if o.Rule != "b" || o.Reason != "assets" || !o.To.Equal(now) {
			t.Errorf("%+v", o)
		}
	}
	if got != workers*each {
		t.Errorf("%d are counted of %d", got, workers*each)
	}
	if again := counters.Take(); len(again) != 0 {
		t.Errorf("counted twice: %v", again)
	}
}

func TestCountsThatCouldNotBeRecordedComeBack(t *testing.T) {
	now := time.Unix(1000, 0)
	counters := &policy.Counters{Now: func() time.Time { return now }}
	p, err := policy.Compile(policy.Config{Rules: []policy.Rule{{Name: "a", Level: "none", Reason: "r"}}}, counters)
	if err != nil {
		t.Fatal(err)
	}
	omit := func() {
		ev := request()
		p.Apply(&ev, nil, nil)
		now = now.Add(time.Second)
	}
	omit()
	counters.Return(counters.Take())
	omit()
	want := []policy.Omitted{{Rule: "a", Reason: "r", Count: 2, From: time.Unix(1000, 0), To: time.Unix(1002, 0)}}
	if got := counters.Take(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	omit()
	if got := counters.Take(); got[0].Count != 1 || !got[0].From.Equal(time.Unix(1002, 0)) {
		t.Errorf("%+v", got)
	}
}

func TestDecidingAllocatesNothing(t *testing.T) {
	p, _ := compile(t, five)
	for _, path := range []string{"/healthz", "/static/x.js", "/", "/a/long/path/to/some/thing"} {
		for _, ip := range []string{"10.1.2.3", "2001:db8::1"} {
			ev := request()
			n := testing.AllocsPerRun(100, func() {
				ev.Path, ev.ClientIP, ev.Query = path, ip, "a=1&b=2"
				p.Apply(&ev, nil, nil)
			})
			if n != 0 {
				t.Errorf("%s from %s: %v allocations", path, ip, n)
			}
		}
	}
}

func BenchmarkApply(b *testing.B) {
	p, _ := compile(b, five)
	ev := request()
	for b.Loop() {
		ev.Path, ev.ClientIP, ev.User = "/a/long/path/to/some/thing", "192.0.2.1", ""
		p.Apply(&ev, nil, nil)
	}
}

func BenchmarkApplyHeaders(b *testing.B) {
	p, _ := compile(b, policy.Config{Rules: []policy.Rule{{Name: "h", Level: "headers"}}})
	h := http.Header{"Accept": {"*/*"}, "Cookie": {"a=1; b=2"}, "User-Agent": {"curl/8"}, "Referer": {"https://example.com/?q=x"}, "Accept-Encoding": {"gzip"}}
	ev := request()
	for b.Loop() {
		ev.Redacted = ev.Redacted[:0]
		p.Apply(&ev, h, h)
	}
}
