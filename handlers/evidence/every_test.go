package evidence

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryAnswerIsSecuredAndItsTimesAreUTC asks for each route.
func TestEveryAnswerIsSecuredAndItsTimesAreUTC(t *testing.T) {
	b := newBench(t)
	list := b.examples(b.busy())
	h := b.handler(Handler{})
	local := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"\\]*[^Z"\\]"`)
	for _, e := range list {
		w := answered(t, h, http.MethodGet, e.path, nil)
		if w.Code != http.StatusOK && e.path != "/lookup?id=0" {
			t.Errorf("%s: %d %s", e.path, w.Code, w.Body)
		}
		secured(t, w)
		if found := local.FindString(w.Body.String()); found != "" {
			t.Errorf("%s: %s is not in UTC", e.path, found)
		}
	}
}

// TestEveryAnswerHasATagThatSparesIt asks for each route again, with the entity tag.
func TestEveryAnswerHasATagThatSparesIt(t *testing.T) {
	b := newBench(t)
	list := b.examples(b.busy())
	h := b.handler(Handler{})
	doc, _ := openapi(t)
	for _, e := range list {
		w := answered(t, h, http.MethodGet, e.path, nil)
		tag := w.Header().Get("ETag")
		if path, api := strings.CutPrefix(strings.Replace(e.pattern, "...}", "}", 1), apiVersion); api {
			if _, says := doc.Paths[path]["get"].Responses["304"]; says != (tag != "") {
				t.Errorf("%s has the tag %q, and the document says %t", e.path, tag, says)
			}
		}
		switch e.pattern {
		case "/lookup", "/v1/log/records": // a redirection, and a stream
			continue
		case "/", "/v1/status", "/v1/upstreams": // they tell of the moment
			if tag == "" {
				t.Errorf("%s has no tag", e.path)
			}
			continue
		}
		again := answered(t, h, http.MethodGet, e.path, http.Header{"If-None-Match": {`"x", ` + tag}})
		if tag == "" || again.Code != http.StatusNotModified || again.Body.Len() > 0 || again.Header().Get("ETag") != tag || again.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s with %s: %d, %d bytes, %v", e.path, tag, again.Code, again.Body.Len(), again.Header())
		}
		if other := answered(t, h, http.MethodGet, e.path, http.Header{"If-None-Match": {`"x"`}}); other.Code != http.StatusOK || other.Body.Len() == 0 {
			t.Errorf("%s with another tag: %d", e.path, other.Code)
		}
	}
}

// TestHeadOfEveryAnswerHasNoBody compares HEAD with GET.
func TestHeadOfEveryAnswerHasNoBody(t *testing.T) {
	b := newBench(t)
	list := b.examples(b.busy())
	h := b.handler(Handler{})
	for _, e := range list {
		got := answered(t, h, http.MethodGet, e.path, nil)
		head := answered(t, h, http.MethodHead, e.path, nil)
		if head.Code != got.Code || head.Body.Len() > 0 {
			t.Errorf("%s: %d with %d bytes; GET has %d", e.path, head.Code, head.Body.Len(), got.Code)
		}
		for _, name := range []string{"Content-Type", "Soc2-Tree-Size", "Soc2-Tree-Root", "Content-Security-Policy"} {
			if head.Header().Get(name) != got.Header().Get(name) {
				t.Errorf("%s: %s is %q, but %q for GET", e.path, name, head.Header().Get(name), got.Header().Get(name))
			}
		}
	}
	if w := answered(t, h, http.MethodHead, "/v1/populations/denials?limit=1", nil); w.Header().Get("Soc2-Row-Count") != "12" {
		t.Errorf("HEAD of a page counts %s rows, want all 12", w.Header().Get("Soc2-Row-Count"))
	}
	for path, want := range map[string]string{"/v1/certificates?limit=1": "12", "/v1/access/principals?limit=1": "24", "/v1/log/checkpoints?limit=1": "2"} {
		if w := answered(t, h, http.MethodHead, path, nil); w.Header().Get("Soc2-Row-Count") != want {
			t.Errorf("HEAD of %s counts %s rows, want %s", path, w.Header().Get("Soc2-Row-Count"), want)
		}
	}
}

// TestPayloadsAreInertInEveryAnswer: what clients, administrators and issuers sent
// is in all records of the log.
func TestPayloadsAreInertInEveryAnswer(t *testing.T) {
	b := newBench(t)
	list := b.examples(b.busy())
	h := b.handler(Handler{})
	for _, e := range list {
		w := answered(t, h, http.MethodGet, e.path, nil)
		body, kind := w.Body.String(), w.Header().Get("Content-Type")
		if kind == "application/zip" && strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
			continue // it is saved, and what is in it has tests of its own
		}
		if strings.ContainsAny(body, "\x00\x1b\u202e") && kind != "application/octet-stream" && kind != typeNDJSON { // which are files, for programs
			t.Errorf("%s has characters that act", e.path)
		}
		switch {
		case strings.HasPrefix(kind, "text/html"):
			for _, never := range []string{"<script", "<img", "<svg", "javascript:", "onerror=alert(1)>", "onload=1>"} {
				if strings.Contains(body, never) {
					t.Errorf("%s has %s", e.path, never)
				}
			}
		case strings.HasPrefix(kind, "application/json"):
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s is no JSON", e.path)
			}
			if e.pattern != "/v1/config/versions/{sha256}" && strings.Contains(body, "<script") { // whose bytes are hashed
				t.Errorf("%s has <script", e.path)
			}
		case strings.HasPrefix(kind, "text/csv"):
			inertCSV(t, e.path, w.Body.Bytes())
		case strings.HasPrefix(kind, "text/css"), strings.HasPrefix(kind, "text/plain"), kind == "application/octet-stream", kind == "":
		case kind == typeNDJSON:
			for line := range strings.Lines(body) {
				if !json.Valid([]byte(line)) || strings.Contains(line, "<script") {
					t.Errorf("%s: %s", e.path, line)
				}
			}
		default:
			t.Errorf("%s is %s, of which nobody knows that it is inert", e.path, kind)
		}
	}
}

// TestWrongParametersAreNamed asks each resource for what it does not know.
func TestWrongParametersAreNamed(t *testing.T) {
	b := newBench(t)
	change := b.busy()
	h := b.handler(Handler{})
	blamed := func(path, want string) {
		t.Helper()
		w := answered(t, h, http.MethodGet, path, nil)
		isProblem(t, w, http.StatusBadRequest)
		var p struct{ Parameter, Detail string }
		decode(t, w, &p)
		if p.Parameter != want || p.Detail == "" || w.Header().Get("ETag") != "" {
			t.Errorf("%s blames %q, want %q: %s", path, p.Parameter, want, p.Detail)
		}
	}
	for _, q := range questions {
		for _, e := range b.examples(change) {
			if e.pattern != apiVersion+q.pattern || strings.Contains(e.path, "?") {
				continue
			}
			blamed(e.path+"?nonsense=1", "nonsense")
			if q.names == nil {
				continue
			}
			blamed(e.path+"?from=yesterday", "from")
			blamed(e.path+"?from=2999-01-01", "from")
			blamed(e.path+"?to=x", "to")
			blamed(e.path+"?from=2026-02-01&to=2026-01-01", "to")
			blamed(e.path+"?from=2026-01-01&from=2026-01-02", "from")
			if len(q.names) > 2 {
				blamed(e.path+"?limit=0", "limit")
				blamed(e.path+"?limit=1001", "limit")
				blamed(e.path+"?cursor=x", "cursor")
				blamed(e.path+"?cursor=1.3.0000000000000000.MQ", "cursor")
			}
		}
	}
	for path, want := range map[string]string{
		"/v1/populations/requests?format=x":                               "format",
		"/v1/populations/principals?format=ocsf":                          "format",
		"/v1/populations/requests/sample":                                 "seed",
		"/v1/populations/requests/sample?seed=1&n=0":                      "n",
		"/v1/populations?count=some":                                      "count",
		"/v1/log/records?from=x":                                          "from",
		"/v1/log/records?limit=0":                                         "limit",
		"/v1/log/records?follow=2":                                        "follow",
		"/v1/log/records?form=0":                                          "form",
		"/v1/log/records/x":                                               "ref",
		"/v1/log/proof/inclusion":                                         "seq",
		"/v1/log/proof/inclusion?seq=0&size=999999":                       "size",
		"/v1/log/proof/consistency?from=0":                                "from",
		"/v1/log/proof/consistency?from=1&too=2":                          "too",
		"/v1/upstreams?from=x":                                            "from",
		"/v1/upstreams?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z": "to",
		"/v1/upstreams?x=1":                                               "x",
		"/v1/config/current?x=1":                                          "x",
		"/v1/config/changes/x":                                            "seq",
		"/lookup?id=x":                                                    "id",
		"/v1/report?%3Cscript%3E=1":                                       "<script>",
		"/v1/report?" + strings.Repeat("n", 99) + "=1":                    strings.Repeat("n", maxName),
	} {
		blamed(path, want)
	}
}

// TestQuestionsHaveTheParametersOfTheDocument, in its order, and no others.
func TestQuestionsHaveTheParametersOfTheDocument(t *testing.T) {
	doc, _ := openapi(t)
	for _, q := range questions {
		var names []string
		for _, p := range doc.Paths[q.pattern]["get"].Parameters {
			if p.In == "query" {
				names = append(names, p.Name)
			}
		}
		if !slices.Equal(names, q.names) {
			t.Errorf("%s has %v, the document says %v", q.pattern, q.names, names)
		}
	}
}

// TestEveryAnswerIsWhatTheDocumentSays validates each answer of each route.
func TestEveryAnswerIsWhatTheDocumentSays(t *testing.T) {
	b := newBench(t)
	list := b.examples(b.busy())
	h := b.handler(Handler{})
	doc, schema := openapi(t)
	for _, e := range list {
		path, api := strings.CutPrefix(strings.Replace(e.pattern, "...}", "}", 1), apiVersion)
		if !api {
			continue
		}
		w := answered(t, h, http.MethodGet, e.path, nil)
		kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		if doc.Paths[path]["get"].Responses["200"].Content[kind] == nil {
			t.Errorf("%s is answered as %q, which the document does not have", e.path, kind)
			continue
		}
		if kind != typeJSON {
			continue
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Errorf("%s: something follows", e.path)
		}
		if err := schema(path, "200", kind).Validate(v); err != nil {
			t.Errorf("%s: %v\n%.3000s", e.path, err, w.Body)
		}
	}
}
