package headers

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/response"
)

// Nonces gives each page a nonce of 128 random bits, which its
// Content-Security-Policy admits. Handlers inside find it as the placeholder
// {http.soc2.csp_nonce}. A page with a nonce has Cache-Control: private,
// no-store, whatever else is configured.
type Nonces struct {
	// Rewrite adds the nonce to the script, style and link elements of HTML as
	// it passes. It needs HTML without content encoding: the upstream is asked
	// for identity, and what encodes, as the directive encode does, has to be
	// outside, as it is with the directive soc2_nonces. A page that is encoded
	// all the same, a part of a page, or one with a policy of its own that the
	// profile accepts passes as it is, under the policy without a nonce.
	//
	// The proxy cannot tell the application's own inline scripts from those
	// that somebody injected into the page before it came here: what is
	// rewritten is protected from scripts that are injected in the browser, and
	// no more.
	Rewrite bool `json:"rewrite,omitempty"`

	// RequestHeader is a field in which the upstream is told the nonce, to write
	// it into the page itself.
	RequestHeader string `json:"request_header,omitempty"`
}

func (n *Nonces) check() error {
	if n.RequestHeader != "" && !isFieldName(n.RequestHeader) {
		return fmt.Errorf("nonces: %q is no name of a header field", n.RequestHeader)
	}
	return nil
}

// noncePlaceholder is where handlers inside find the nonce.
const noncePlaceholder = "http.soc2.csp_nonce"

// mint makes the nonce of the response, if its policy has one.
func (e *enforcement) mint(r *http.Request) {
	if e.policy.nonce == noNonce || e.nonce != "" {
		return
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	e.nonce = base64.RawStdEncoding.EncodeToString(b[:])
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set(noncePlaceholder, e.nonce)
	}
}

// noncedValue is what r asks for where the response has a nonce.
func (e *enforcement) noncedValue(r *rule) string {
	if e.secure {
		return r.nonced.with(e.nonce)
	}
	return r.plainNonced.with(e.nonce)
}

// takesNonce tells whether a page with this header will get our policy, and
// with it the nonce.
func (e *enforcement) takesNonce(h http.Header) bool {
	if e.nonce == "" {
		return false
	}
	for i := range e.policy.rules {
		r := &e.policy.rules[i]
		if r.field == csp && r.scope&document != 0 {
			return r.nonced != nil && !r.report && (r.accept == nil || len(h[fields[csp].name]) == 0)
		}
	}
	return false
}

// nonceRule says which responses have a nonce.
type nonceRule int

const (
	noNonce nonceRule = iota
	nonceDocuments
	nonceRewritten
)

// around tells what is inside of the nonce, and rewrites what it sends.
func (n *Nonces) around(next caddyhttp.Handler) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		e, ok := caddyhttp.GetVar(r.Context(), enforcementVar).(*enforcement)
		if !ok || e.Committed() {
			return next.ServeHTTP(w, r)
		}
		if n.RequestHeader != "" {
			r.Header.Set(n.RequestHeader, e.nonce)
		}
		if !n.Rewrite {
			return next.ServeHTTP(w, r)
		}
		// Without the field reverse_proxy would ask for gzip, to decode it.
		r.Header.Set("Accept-Encoding", "identity")
		page := &pageWriter{enforcement: e}
		page.ResponseWriter, page.OnCommit = w, page.decide
		return next.ServeHTTP(page, r)
	})
}

// pageWriter rewrites a page on its way out.
type pageWriter struct {
	response.Writer
	enforcement *enforcement
	markup      *markup // nil: the response passes as it is
	out         []byte
}

// decide looks whether the response is a page to rewrite.
func (p *pageWriter) decide(status int) {
	h := p.Header()
	if p.Hijacked() || status < 200 || status == http.StatusNoContent || status == http.StatusPartialContent ||
		status == http.StatusNotModified || !isPage(h) || !p.enforcement.takesNonce(h) {
		return
	}
	p.enforcement.rewritten = true
	p.markup = &markup{attribute: ` nonce="` + p.enforcement.nonce + `"`}
	for _, name := range measured {
		delete(h, name)
	}
}

// measured are fields that hold only for the bytes that the upstream sent.
var measured = []string{"Accept-Ranges", "Content-Digest", "Content-Length", "Content-Md5", "Digest", "Etag", "Repr-Digest"}

// isPage tells whether a response is HTML in a form that can be rewritten.
func isPage(h http.Header) bool {
	types := h["Content-Type"]
	if len(types) != 1 || slices.ContainsFunc(h["Content-Encoding"], func(v string) bool { return !strings.EqualFold(v, "identity") }) {
		return false
	}
	media, params, _ := strings.Cut(types[0], ";")
	media = strings.TrimSpace(media)
	if !strings.EqualFold(media, "text/html") { // in XML an attribute that is there twice is fatal
		return false
	}
	params = strings.ToLower(params)
	return !slices.ContainsFunc(ambiguous, func(charset string) bool { return strings.Contains(params, charset) })
}

// ambiguous are character sets in which the bytes of a tag may be those of other
// characters.
var ambiguous = []string{"utf-16", "utf-32", "utf-7", "iso-2022"}

// Write rewrites and sends a piece of a page.
func (p *pageWriter) Write(b []byte) (int, error) {
	p.Commit(http.StatusOK)
	if p.markup == nil {
		return p.ResponseWriter.Write(b)
	}
	p.out = p.markup.feed(p.out[:0], b)
	if _, err := p.ResponseWriter.Write(p.out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadFrom sends what is no page without a copy.
func (p *pageWriter) ReadFrom(src io.Reader) (int64, error) {
	p.Commit(http.StatusOK)
	if p.markup == nil {
		return p.Writer.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{p}, src)
}

// Interface guards
var (
	_ http.ResponseWriter = (*pageWriter)(nil)
	_ io.ReaderFrom       = (*pageWriter)(nil)
)
