package reports

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

var at = time.Date(2026, 11, 21, 3, 4, 5, 0, time.UTC)

// collector is a handler with a clock, whose records are kept here.
type collector struct {
	Handler
	clock   time.Time
	records []*audit.BrowserReport
}

func newCollector(t testing.TB, h Handler) *collector {
	t.Helper()
	c := &collector{clock: at}
	c.Rate, c.Groups, c.Interval = h.Rate, h.Groups, h.Interval
	c.now = func() time.Time { return c.clock }
	c.write = func(r *audit.BrowserReport) error {
		c.records = append(c.records, r)
		return nil
	}
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	return c
}

// post sends a body and returns the status.
func (c *collector) post(media, body string) int {
	r := httptest.NewRequest(http.MethodPost, "https://shop.example.com/reports", strings.NewReader(body))
	r.Header.Set("Content-Type", media)
	return c.serve(r)
}

func (c *collector) serve(r *http.Request) int {
	rec := httptest.NewRecorder()
	if err := c.ServeHTTP(rec, r, nil); err != nil {
		return err.(caddyhttp.HandlerError).StatusCode //nolint:errorlint // it is what the handler makes
	}
	return rec.Code
}

func violation(page, directive, blocked string) string {
	return fmt.Sprintf(`{"type":"csp-violation","age":1,"url":%q,"user_agent":"x","body":{"documentURL":%q,"effectiveDirective":%q,"blockedURL":%q,"disposition":"report","sample":"secret"}}`,
		page, page, directive, blocked)
}

func TestReportsThatAreAlikeAreOneRecord(t *testing.T) {
	c := newCollector(t, Handler{})
	first := violation("https://shop.example.com/cart?token=secret#x", "script-src-elem", "https://cdn.example.net/a.js?k=secret")
	second := violation("https://shop.example.com/other", "script-src-elem", "https://cdn.example.net/b.js")
	if status := c.post("application/reports+json; charset=utf-8", "["+first+","+second+"]"); status != 204 {
		t.Fatal(status)
	}
	c.clock = at.Add(time.Second)
	old := `{"csp-report":{"document-uri":"https://shop.example.com/cart","blocked-uri":"https://cdn.example.net","violated-directive":"script-src-elem 'self'","disposition":"report"}}`
	if status := c.post("application/csp-report", old); status != 204 {
		t.Fatal(status)
	}
	c.clock = at.Add(time.Minute)
	c.flush()
	want := []*audit.BrowserReport{{
		Time: c.clock, Host: "shop.example.com", Type: "csp-violation", Directive: "script-src-elem", Blocked: "https://cdn.example.net",
		Disposition: "report", Page: "/cart", Count: 3, From: at, To: at.Add(time.Second),
	}}
	if !reflect.DeepEqual(c.records, want) {
		t.Errorf("%+v", c.records)
	}
	c.records = nil
	if c.flush(); c.records != nil {
		t.Error("counts were recorded twice")
	}
}

func TestReportsAreReduced(t *testing.T) {
	tests := []struct{ blocked, want string }{
		{"inline", "inline"},
		{"https://user:secret@CDN.example/path?secret", "https://cdn.example"},
		{"data:text/html,secret", "data"},
		{"blob", "blob"},
		{"", ""},
		{"not a <url>", "other"},
		{"https://" + strings.Repeat("a", 300) + "/", "other"},
		{"%zz", "other"},
		{`https://a"><script>.example/`, "other"},
		{"https://%e2%80%aegnp.example/", "other"}, // turns the direction of text
		{"https://%ff.example/", "other"},
		{"https://b\u00fccher.example/", "other"}, // browsers send punycode
		{"https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443"},
		{"wss://xn--bcher-kva.example:8080", "wss://xn--bcher-kva.example:8080"},
	}
	for _, test := range tests {
		c := newCollector(t, Handler{})
		c.post(typeReports, "["+violation("https://shop.example.com/", "img-src", test.blocked)+"]")
		c.flush()
		if len(c.records) != 1 || c.records[0].Blocked != test.want {
			t.Errorf("%q: %+v, want %q", test.blocked, c.records, test.want)
		}
	}
	c := newCollector(t, Handler{})
	c.post(typeReports, `[{"type":"<b>","url":"https://shop.example.com/`+strings.Repeat("a", 500)+`","body":{"effectiveDirective":"<script>"}}]`)
	c.flush()
	if r := c.records[0]; r.Type != "other" || r.Directive != "" || len(r.Page) != 128 {
		t.Errorf("%+v", r)
	}
}

func TestReportsAboutOtherHostsAreNotCounted(t *testing.T) {
	c := newCollector(t, Handler{})
	for _, page := range []string{"https://evil.example/", "shop.example.com", "about:blank", "javascript:shop.example.com", ""} {
		c.post(typeReports, "["+violation(page, "img-src", "inline")+"]")
	}
	if c.flush(); c.records != nil {
		t.Errorf("%+v", c.records)
	}
}

func TestReportsToAnAbsurdHostAreNotCounted(t *testing.T) {
	c := newCollector(t, Handler{})
	for _, host := range []string{strings.Repeat("a", 300) + ".example", "a'b.example", ""} {
		r := httptest.NewRequest(http.MethodPost, "https://shop.example.com/", strings.NewReader("["+violation("https://"+host+"/", "img-src", "inline")+"]"))
		r.Host = host
		r.Header.Set("Content-Type", typeReports)
		c.serve(r)
	}
	if c.flush(); c.records != nil {
		t.Errorf("%+v", c.records)
	}
}

func TestListsAreNotReadPastTheirBound(t *testing.T) {
	body := []byte("[" + strings.Repeat("{},", 20_000) + "{}]")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := parse(typeReports, body)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("a list of 20001 reports was taken")
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 512<<10 {
		t.Errorf("a body of %d bytes took %d of memory", len(body), took)
	}
}

// A client that sends a body bit by bit holds memory as long as it likes.
func TestSlowBodiesAreNotWaitedFor(t *testing.T) {
	c := newCollector(t, Handler{})
	c.patience = 50 * time.Millisecond
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var he caddyhttp.HandlerError
		if err := c.ServeHTTP(w, r, nil); errors.As(err, &he) {
			w.WriteHeader(he.StatusCode)
		}
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: "+typeReports+"\r\nContent-Length: 1000\r\n\r\n[")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := newCollector(t, Handler{Groups: 3, Rate: 1000})
	for i := range 50 {
		c.post(typeReports, "["+violation("https://shop.example.com/", fmt.Sprintf("d-%d", i), "inline")+"]")
	}
	c.flush()
	total := int64(0)
	for _, r := range c.records {
		total += r.Count
	}
	if len(c.records) != 4 || total != 50 || c.records[0].Count != 47 || c.records[0].Type != "other" {
		t.Errorf("%d records of %d reports: %+v", len(c.records), total, c.records[0])
	}
}

func TestRateIsBounded(t *testing.T) {
	c := newCollector(t, Handler{Rate: 1})
	body := "[" + violation("https://shop.example.com/", "img-src", "inline") + "]"
	for i, want := range []int{204, 204, 204, 204, 429} {
		if got := c.post(typeReports, body); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	c.clock = c.clock.Add(time.Second)
	if got := c.post(typeReports, body); got != 204 {
		t.Errorf("a second later: %d", got)
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	c := newCollector(t, Handler{})
	tests := []struct {
		name, media, body string
		want              int
	}{
		{"another type", "application/json", "[]", 415},
		{"no type", "", "[]", 415},
		{"no JSON", typeReports, "[", 400},
		{"no list", typeReports, "{}", 400},
		{"nothing in it", typeCSP, "{}", 400},
		{"too long", typeReports, "[" + strings.Repeat(" ", maxBody) + "]", 413},
		{"more after the list", typeReports, "[] []", 400},
		{"an unfinished list", typeReports, "[{}", 400},
		{"too many", typeReports, "[" + strings.Repeat("{},", maxReports) + "{}]", 400},
		{"empty list", typeReports, "[]", 204},
	}
	for _, test := range tests {
		if got := c.post(test.media, test.body); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
	chunked := httptest.NewRequest(http.MethodPost, "https://shop.example.com/", strings.NewReader(strings.Repeat(" ", maxBody+1)))
	chunked.ContentLength = -1
	chunked.Header.Set("Content-Type", typeReports)
	if got := c.serve(chunked); got != 413 {
		t.Errorf("too long without length: %d", got)
	}
	if got := c.serve(httptest.NewRequest(http.MethodGet, "https://shop.example.com/", nil)); got != 405 {
		t.Errorf("GET: %d", got)
	}
}

func TestCaddyfile(t *testing.T) {
	tests := []struct {
		input string
		want  Handler
		err   string
	}{
		{"soc2_reports", Handler{}, ""},
		{"soc2_reports {\n rate 5\n interval 10s\n groups 7\n}", Handler{Rate: 5, Interval: 10e9, Groups: 7}, ""},
		{"soc2_reports x", Handler{}, "wrong argument count"},
		{"soc2_reports {\n rate many\n}", Handler{}, `rate "many"`},
		{"soc2_reports {\n interval 1ms\n}", Handler{}, "it is at least 1s, at Testfile:2"},
		{"soc2_reports {\n speed 1\n}", Handler{}, "it has rate, interval and groups"},
	}
	for _, test := range tests {
		var h Handler
		err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.input))
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%q: %v, want %s", test.input, err, test.err)
		case test.err == "" && (err != nil || !reflect.DeepEqual(h, test.want)):
			t.Errorf("%q: %+v, %v", test.input, h, err)
		}
	}
}

// FuzzReports checks that whatever comes becomes few and small records.
func FuzzReports(f *testing.F) {
	f.Add(typeReports, "["+violation("https://shop.example.com/a", "img-src", "inline")+"]")
	f.Add(typeCSP, `{"csp-report":{"document-uri":"https://shop.example.com/"}}`)
	f.Fuzz(func(t *testing.T, media, body string) {
		c := newCollector(t, Handler{Groups: 10})
		c.post(media, body)
		c.flush()
		for _, r := range c.records {
			if len(r.Page) > 128 || len(r.Directive) > 64 || len(r.Blocked) > 330 || len(r.Type) > 64 || r.Host != "" && r.Host != "shop.example.com" ||
				strings.ContainsAny(r.Page, "?#<> ") {
				t.Fatalf("%+v", r)
			}
		}
	})
}
