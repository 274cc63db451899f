package evidence

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPageShowsTheLog(t *testing.T) {
	b := newBench(t)
	_, id := b.add("/orders/1")
	b.sign()
	b.add("/orders/2")
	h := b.handler(Handler{})
	_, head, signed := b.log.Checkpoint()
	h.page.now = func() time.Time { return signed.Add(83 * time.Second) }
	w := get(t, h, "/.soc2/")
	if got := w.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}
	body := strings.ReplaceAll(w.Body.String(), "&#43;", "+")
	for _, want := range []string{
		`<html lang="en">`, "<title>Evidence of edge-1</title>", "strict", "edge-1/soc2", "4 records", "1 records",
		strings.ReplaceAll(head.Root.String(), "&#43;", "+"), signed.UTC().Format("2006-01-02 15:04:05"), "1m23s ago",
		b.log.Key().Public(), "soc2-verify " + quote(b.log.Dir()), "<strong>Accepting.</strong>",
		"/orders/1", "/orders/2", "418", "192.0.2.7", "example.com", "log.open",
		`<a href="/.soc2/v1/log/records/` + id + `">`, `<th scope="col">`, `<th scope="row">`, `<label for="id">`,
		`<form action="/.soc2/lookup" method="get">`, `<link rel="stylesheet" href="/.soc2/style.css">`,
		"evidence for", "compliant, certified or approved",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
}

func TestStatusShowsWhatLimitsWouldRefuse(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{})
	if page := get(t, h, "/.soc2/").Body.String(); strings.Contains(page, "Rate limits") {
		t.Error("a server without limits shows them")
	}
	b.limits = []Limit{{Zone: "login", Limit: "10/1m", Mode: "shadow", Allowed: 4711, WouldRefuse: 815, LostKeys: 3}}
	page := get(t, h, "/.soc2/").Body.String()
	if want := `<th scope="row">login</th><td>10/1m</td><td>shadow</td><td>4711</td><td>0</td><td>815</td><td>3</td>`; !strings.Contains(page, want) {
		t.Errorf("the page does not have %s", want)
	}
	var s Status
	decode(t, get(t, h, "/.soc2/v1/status"), &s)
	if len(s.Limits) != 1 || s.Limits[0] != b.limits[0] {
		t.Errorf("%+v", s.Limits)
	}
}

func TestPageNeedsNoScriptAndNoInlineStyle(t *testing.T) {
	b := newBench(t)
	page := get(t, b.handler(Handler{}), "/.soc2/").Body.String()
	for _, never := range []string{"<script", "<style", "style=", " on", "javascript:", "<img", "http:", "https:", `"//`, `'//`} { // a hash in base64 may have two slashes
		if never == " on" { // event handlers, not the word
			for _, event := range []string{" onclick", " onload", " onsubmit"} {
				if strings.Contains(page, event) {
					t.Errorf("the page has %s", event)
				}
			}
			continue
		}
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
	css := get(t, b.handler(Handler{}), "/.soc2/style.css")
	if css.Header().Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(css.Body.String(), "prefers-color-scheme: dark") ||
		!strings.Contains(css.Body.String(), "@media print") || strings.Contains(css.Body.String(), "url(") {
		t.Error("the style sheet is not what it should be")
	}
}

func TestPageEscapesWhatClientsSent(t *testing.T) {
	b := newBench(t)
	b.add(`/<script>alert(1)</script>"onload='x'`)
	b.add("/nul\x00esc\x1b[31m\r\nbidi\u202etxt.exe\u2066\u200b")
	b.add("/bad\xff\xfeutf8")
	b.add("/" + strings.Repeat("long", 1000))
	page := get(t, b.handler(Handler{}), "/.soc2/").Body.String()
	for _, never := range []string{"<script", "\x00", "\x1b", "\r", "\u202e", "\u2066", "\u200b", "\xff", `"onload`, strings.Repeat("long", 100)} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
	for _, want := range []string{"/&lt;script&gt;alert(1)&lt;/script&gt;&#34;onload=&#39;x&#39;", `/nul\x00esc\x1b[31m\r\nbidi\u202etxt.exe\u2066\u200b`, `/bad\xff\xfeutf8`, "longlong"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}

func TestPageOfAFailedLogSaysWhy(t *testing.T) {
	b := newBench(t)
	b.fail()
	w := get(t, b.handler(Handler{}), "/.soc2/")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<strong>Failing.</strong>") || !strings.Contains(w.Body.String(), errDisk.Error()) {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestPageShowsTheNewestRecordsFirst(t *testing.T) {
	b := newBench(t)
	for i := range 30 {
		b.add(fmt.Sprintf("/n/%d.", i))
	}
	h := b.handler(Handler{})
	now := time.Now()
	h.page.now = func() time.Time { return now }
	page := get(t, h, "/.soc2/").Body.String()
	last := -1
	for i := 29; i >= 0; i-- {
		at := strings.Index(page, fmt.Sprintf("/n/%d.", i))
		if shown := i >= 10; shown != (at > last) {
			t.Errorf("record %d is at %d, the one before at %d", i, at, last)
		}
		last = max(last, at)
	}
	b.add("/afterwards")
	now = now.Add(keepRows)
	if !strings.Contains(get(t, h, "/.soc2/").Body.String(), "/afterwards") {
		t.Error("the page is older than it may be")
	}
}

func TestPageLinksBelowThePrefix(t *testing.T) {
	b := newBench(t)
	w, err := do(b.handler(Handler{Prefix: "/a/audit"}), request{path: "/a/audit/", stripped: "/a/audit", user: "auditor"})
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(w.Body.String(), `href="`) {
		if target, _, _ := strings.Cut(part, `"`); !strings.HasPrefix(part, "<!DOCTYPE") && !strings.HasPrefix(target, "/a/audit/") {
			t.Errorf("a link leads to %s", target)
		}
	}
	w, err = do(b.handler(Handler{Prefix: "/a/audit"}), request{path: "/a/audit/lookup?id=0", stripped: "/a/audit", user: "auditor"})
	if err != nil || w.Header().Get("Location") != "/a/audit/v1/log/records/0" {
		t.Errorf("the form leads to %s", w.Header().Get("Location"))
	}
}

func TestLookupFormLeadsToTheRecord(t *testing.T) {
	b := newBench(t)
	_, id := b.add("/")
	h := b.handler(Handler{})
	for query, want := range map[string]string{
		"?id=" + id:                      "/.soc2/v1/log/records/" + id,
		"?id=%20" + id + "+":             "/.soc2/v1/log/records/" + id,
		"?id=" + strings.ToUpper(id):     "/.soc2/v1/log/records/" + id,
		"?id=12":                         "/.soc2/v1/log/records/12",
		"":                               "",
		"?id=":                           "",
		"?id=//evil.example":             "",
		"?id=https%3A%2F%2Fevil.example": "",
		"?id=..%2F..%2F":                 "",
		"?id=1%0d%0aSet-Cookie:%20a=b":   "",
	} {
		w := get(t, h, "/.soc2/lookup"+query)
		if want == "" {
			isProblem(t, w, http.StatusBadRequest)
			continue
		}
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
			t.Errorf("%s: status %d to %s, want %s", query, w.Code, w.Header().Get("Location"), want)
		}
	}
}
