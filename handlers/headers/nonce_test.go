package headers

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/html"
)

// rewrite puts a document through in pieces of n bytes.
func rewrite(doc string, n int) string {
	m := &markup{attribute: ` nonce="N"`}
	var out []byte
	for len(doc) > 0 {
		piece := doc[:min(n, len(doc))]
		doc = doc[len(piece):]
		out = m.feed(out, []byte(piece))
	}
	return string(out)
}

func TestNonceGoesIntoTagsAlone(t *testing.T) {
	tests := []struct{ in, want string }{
		{"<script>1</script>", `<script nonce="N">1</script>`},
		{"<SCRIPT SRC=a>", `<SCRIPT nonce="N" SRC=a>`},
		{"<script/src=a>", `<script nonce="N"/src=a>`},
		{"<style>a<b</style><style>", `<style nonce="N">a<b</style><style nonce="N">`},
		{"<link rel=modulepreload href=a>", `<link nonce="N" rel=modulepreload href=a>`},
		{`<script nonce="old">`, `<script nonce="N" nonce="old">`},
		{"<scripts>", "<scripts>"},
		{"</script>", "</script>"},
		{"a < script>", "a < script>"},
		{"<<script>", `<<script nonce="N">`},
		{"<!-- <script> --><script>", `<!-- <script> --><script nonce="N">`},
		{"<!--><script>", `<!--><script nonce="N">`},
		{"<!--x--!><script>", `<!--x--!><script nonce="N">`},
		{"<!--x--!-><script>--><script>", `<!--x--!-><script>--><script nonce="N">`},
		{"<!doctype html><script>", `<!doctype html><script nonce="N">`},
		{"<?x <script><script>", `<?x <script><script nonce="N">`},
		{"</ <script><script>", `</ <script><script nonce="N">`},
		{`<a title="<script>"><script>`, `<a title="<script>"><script nonce="N">`},
		{`<a title='<script>' b=<script>c><script>`, `<a title='<script>' b=<script>c><script nonce="N">`},
		{`<a "<script>`, `<a "<script>`},
		{"<textarea><script></textarea><script>", `<textarea><script></textarea><script nonce="N">`},
		{"<title><script></titlex></title ><script>", `<title><script></titlex></title ><script nonce="N">`},
		{"<iframe><script></iframe>", "<iframe><script></iframe>"},
		{"<plaintext></plaintext><script>", "<plaintext></plaintext><script>"},
		{`<script>"<script>"</script><script>`, `<script nonce="N">"<script>"</script><script nonce="N">`},
		{"<script><!-- <script></script> --></script><script>", `<script nonce="N"><!-- <script></script> --></script><script nonce="N">`},
		{"<script><!-- </script><script>", `<script nonce="N"><!-- </script><script nonce="N">`},
		{"<script>a<!--b--><script></script><script>", `<script nonce="N">a<!--b--><script></script><script nonce="N">`},
		{"<svg><title/><style/><script/></svg><script>", `<svg><title/><style nonce="N"/><script nonce="N"/></svg><script nonce="N">`},
		{"<svg><![CDATA[<script>]]><script/></svg>", `<svg><![CDATA[<script>]]><script nonce="N"/></svg>`},
		{"<svg/><title><script></title>", "<svg/><title><script></title>"},
		{"<svg><foreignObject><textarea><script></textarea></foreignObject></svg>", "<svg><foreignObject><textarea><script></textarea></foreignObject></svg>"},
		{"<svg><p><textarea><script></textarea>", "<svg><p><textarea><script></textarea>"},
		{"<!--!><script>--><script>", `<!--!><script>--><script nonce="N">`},
		{"<!---!><script>--><script>", `<!---!><script>--><script nonce="N">`},
		{"<!---><script>", `<!---><script nonce="N">`},
		{"<!----!><script>", `<!----!><script nonce="N">`},
		{"<svg><![cdata[><script/>]]></svg>", `<svg><![cdata[><script nonce="N"/>]]></svg>`},
		{"<svg><![CDAT><script/></svg>", `<svg><![CDAT><script nonce="N"/></svg>`},
		{"<svg><desc><style><script></style></desc><style/><script/></svg>", `<svg><desc><style nonce="N"><script></style></desc><style nonce="N"/><script nonce="N"/></svg>`},
		{"<svg><title><textarea><script></textarea></title></svg><script>", `<svg><title><textarea><script></textarea></title></svg><script nonce="N">`},
		{"<math><mi><style><script></style></mi><title/><script/></math>", `<math><mi><style nonce="N"><script></style></mi><title/><script nonce="N"/></math>`},
		{"<math><desc><style><script></style></desc></math>", `<math><desc><style nonce="N"><script nonce="N"></style></desc></math>`},
		{"<svg></p><textarea><script></textarea>", "<svg></p><textarea><script></textarea>"},
		{"<svg><svg></svg><style/><script/></svg><title><script></title>", `<svg><svg></svg><style nonce="N"/><script nonce="N"/></svg><title><script></title>`},
		{"<noscript><style></style></noscript>", `<noscript><style nonce="N"></style></noscript>`},
		{"<template><script></template>", `<template><script nonce="N"></template>`},
	}
	for _, test := range tests {
		for n := 1; n <= len(test.in); n++ {
			if got := rewrite(test.in, n); got != test.want {
				t.Fatalf("%q in pieces of %d: %q, want %q", test.in, n, got, test.want)
			}
		}
	}
}

// FuzzMarkup compares with the HTML tokenizer of x/net: after rewriting, every
// script, style and link has the nonce, and without it the document is as it was.
// Documents with foreign content are left out, which a tokenizer alone does not
// know.
func FuzzMarkup(f *testing.F) {
	for _, s := range []string{
		"<script>a</script><style>b</style><link>", "<!-- <script> --><a b='<script>'><title><script></title>",
		"<script><!-- <script></script> --></script><script>", "<textarea></textarea ><script/><xmp><script>",
	} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, doc string, n int) {
		if n < 1 {
			n = 1
		}
		out := rewrite(doc, n)
		if whole := rewrite(doc, len(doc)+1); whole != out {
			t.Fatalf("%q in pieces of %d: %q, else %q", doc, n, out, whole)
		}
		if !strings.Contains(doc, "nonce") && strings.ReplaceAll(out, ` nonce="N"`, "") != doc {
			t.Fatalf("%q became %q", doc, out)
		}
		lower := strings.ToLower(doc)
		for _, odd := range []string{"<svg", "<math", "<![cdata", "\x00", "<noscript", "--!", "<plaintext"} {
			if strings.Contains(lower, odd) {
				return
			}
		}
		z := html.NewTokenizer(strings.NewReader(out))
		for {
			switch z.Next() {
			case html.ErrorToken:
				return
			case html.StartTagToken, html.SelfClosingTagToken:
				tok := z.Token()
				if (tok.Data == "script" || tok.Data == "style" || tok.Data == "link") &&
					(len(tok.Attr) == 0 || tok.Attr[0] != html.Attribute{Key: "nonce", Val: "N"}) {
					t.Fatalf("%q became %q: %s has no nonce", doc, out, tok)
				}
			}
		}
	})
}

// fragments are what documents are put together from to confuse a reader.
var fragments = []string{
	"<script>", "</script>", "<style>", "</style>", "<link>", "<script/>", "<!--", "-->", "--!>", "!>", "-", "<!x", ">", "x", "<svg>", "</svg>", "<svg/>",
	"<math>", "</math>", "<desc>", "</desc>", "<title>", "</title>", "<title/>", "<foreignObject>", "</foreignObject>", "<textarea>", "</textarea>",
	"<p>", "</p>", "<div>", "</div>", "<br>", "<![CDATA[", "]]>", "<a b='", "'>", `<b a="`, `">`, "<iframe>", "</iframe>", "<xmp>", "</xmp>",
}

// The parser of x/net knows foreign content, other than its tokenizer.
func TestParserFindsTheNonceInElementsAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) // the same documents each time
	for range 20_000 {
		var b strings.Builder
		b.WriteString("<!doctype html><body>")
		for range 2 + r.IntN(7) {
			b.WriteString(fragments[r.IntN(len(fragments))])
		}
		doc := b.String()
		root, err := html.Parse(strings.NewReader(rewrite(doc, len(doc))))
		if err != nil {
			t.Fatal(err)
		}
		for node := range root.Descendants() {
			want := node.Type == html.ElementNode && (node.Data == "script" || node.Data == "style" || node.Data == "link")
			has := len(node.Attr) > 0 && node.Attr[0] == html.Attribute{Key: "nonce", Val: "N"}
			stray := node.Type != html.ElementNode && strings.Contains(node.Data, "nonce=") ||
				slices.ContainsFunc(node.Attr, func(a html.Attribute) bool { return strings.Contains(a.Val, "nonce=") })
			if has != want || stray {
				t.Fatalf("%q: nonce in %q %t, elsewhere %t", doc, node.Data, has, stray)
			}
		}
	}
}

var noncePattern = regexp.MustCompile(`'nonce-([A-Za-z0-9+/]{22})'`)

// page answers a request for a page through handlers.
func page(t *testing.T, last handlerFunc, r *http.Request, hs ...caddyhttp.MiddlewareHandler) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	(&server{primary: chain(last, hs...)}).ServeHTTP(rec, r)
	return rec
}

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "https://example.com/", nil) }

func TestPagesAreRewrittenWithTheirOwnNonce(t *testing.T) {
	nonces := provisioned(t, Handler{Nonces: &Nonces{Rewrite: true, RequestHeader: "X-Nonce"}})
	for _, profile := range []string{Baseline, Strict} {
		h := provisioned(t, Handler{Profile: profile})
		seen := map[string]bool{}
		for range 3 {
			var told, placeholder string
			app := func(w http.ResponseWriter, r *http.Request) error {
				told = r.Header.Get("X-Nonce")
				placeholder = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll("{http.soc2.csp_nonce}", "")
				if r.Header.Get("Accept-Encoding") != "identity" {
					t.Error("the upstream may still encode")
				}
				w.Header().Set("Content-Type", "text/html")
				w.Header().Set("Content-Length", "25")
				w.Header().Set("Etag", `"1"`)
				w.Header().Set("Cache-Control", "public, max-age=60")
				_, err := io.Copy(w, strings.NewReader("<scr"))
				_ = http.NewResponseController(w).Flush()
				_, err2 := io.WriteString(w, "ipt>1</script><p>2")
				if err != nil {
					return err
				}
				return err2
			}
			r := get()
			r.Header.Set("Accept-Encoding", "gzip")
			rec := page(t, app, r, h, nonces)
			found := noncePattern.FindStringSubmatch(rec.Header().Get("Content-Security-Policy"))
			if found == nil || seen[found[1]] {
				t.Fatalf("%s: policy %q", profile, rec.Header()["Content-Security-Policy"])
			}
			seen[found[1]] = true
			if want := `<script nonce="` + found[1] + `">1</script><p>2`; rec.Body.String() != want {
				t.Errorf("%q, want %q", rec.Body, want)
			}
			if told != found[1] || placeholder != found[1] {
				t.Errorf("upstream was told %q, placeholder %q, want %q", told, placeholder, found[1])
			}
			if got := rec.Header()["Cache-Control"]; !slices.Equal(got, []string{privateNoStore}) {
				t.Errorf("Cache-Control %q", got)
			}
			if rec.Header().Get("Content-Length") != "" || rec.Header().Get("Etag") != "" {
				t.Errorf("%v", rec.Header())
			}
		}
	}
}

func TestWhatIsNoPagePassesAsItIs(t *testing.T) {
	const doc = "<script>1</script>"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, doc)
	_ = z.Close()
	tests := []struct {
		name    string
		profile string
		status  int
		header  http.Header
		body    string
		policy  string
	}{
		{"JSON", Strict, 200, one("Content-Type", "application/json"), doc, inertCSP},
		{"part", Strict, 206, one("Content-Type", "text/html"), doc, strictCSP},
		{"encoded", Strict, 200, http.Header{"Content-Type": {"text/html"}, "Content-Encoding": {"gzip"}}, zipped.String(), strictCSP},
		{"wide characters", Strict, 200, one("Content-Type", "text/html; charset=UTF-16LE"), doc, strictCSP},
		{"Japanese that looks like tags", Strict, 200, one("Content-Type", "text/html; charset=ISO-2022-JP"), doc, strictCSP},
		{"XML", Strict, 200, one("Content-Type", "application/xhtml+xml"), `<html><script src="a"/><script nonce="b"/></html>`, strictCSP},
		{"policy of its own", Baseline, 200, http.Header{"Content-Type": {"text/html"}, "Content-Security-Policy": {"script-src 'nonce-1'"}}, doc, "script-src 'nonce-1'"},
		{"api", API, 200, one("Content-Type", "text/html"), doc, apiCSP},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := provisioned(t, Handler{Profile: test.profile})
			nonces := provisioned(t, Handler{Nonces: &Nonces{Rewrite: true}})
			rec := page(t, func(w http.ResponseWriter, r *http.Request) error {
				if err := upstream(test.status, test.header)(w, r); err != nil {
					return err
				}
				_, err := io.WriteString(w, test.body)
				return err
			}, get(), h, nonces)
			if rec.Body.String() != test.body {
				t.Errorf("body %q", rec.Body)
			}
			if got := rec.Header()["Content-Security-Policy"]; !slices.Equal(got, []string{test.policy}) {
				t.Errorf("policy %q, want %q", got, test.policy)
			}
		})
	}
}

func TestUpstreamMayWriteTheNonce(t *testing.T) {
	h := site(t, Strict, "csp {\n+script-src 'nonce'\n}\nnonces X-Nonce")
	var told string
	rec := page(t, func(w http.ResponseWriter, r *http.Request) error {
		told = r.Header.Get("X-Nonce")
		return respond("text/html", `<script nonce="`+told+`">`)(w, r)
	}, get(), h)
	if policy := rec.Header().Get("Content-Security-Policy"); told == "" || !strings.Contains(policy, "script-src 'self' 'nonce-"+told+"'") {
		t.Errorf("told %q, policy %q", told, policy)
	}
	if rec.Header().Get("Cache-Control") != privateNoStore || !strings.Contains(rec.Body.String(), `nonce="`+told+`">`) {
		t.Errorf("%v %q", rec.Header(), rec.Body)
	}
}
