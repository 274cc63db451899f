package access

import (
	"io"
	"net/http"
	"strings"
)

// rewriters are fields by which some servers and frameworks let a client replace
// the path that the proxy saw.
var rewriters = []string{"x-original-url", "x-rewrite-url"}

// guard removes from requests what only this handler may say.
type guard struct {
	names    []string // as normalName writes them
	shortest int
}

func newGuard(id *Identity) guard {
	g := guard{names: rewriters}
	for _, name := range id.names() {
		g.names = append(g.names, normalName(name))
	}
	g.shortest = len(g.names[0])
	for _, name := range g.names {
		g.shortest = min(g.shortest, len(name))
	}
	return g
}

// normalName is a field's name as servers that turn fields into variables of an
// environment see it, for which X_User, X.User and X-User are one.
func normalName(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = normalByte(c)
	}
	return string(b)
}

func normalByte(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c | 0x20
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return c
	}
	return '-'
}

// isOneOf reports whether a name is one of some that normalName wrote.
func isOneOf(name string, list []string) bool {
	for _, n := range list {
		if len(n) != len(name) {
			continue
		}
		i := 0
		for i < len(n) && normalByte(name[i]) == n[i] {
			i++
		}
		if i == len(n) {
			return true
		}
	}
	return false
}

func (g *guard) holds(name string) bool { return len(name) >= g.shortest && isOneOf(name, g.names) }

// clean removes the fields, also from among the trailers, and from Connection,
// by which a client could have the proxy remove what this handler adds (RFC 9110,
// section 7.6.1).
func (g *guard) clean(r *http.Request) {
	for name := range r.Header {
		if g.holds(name) {
			delete(r.Header, name)
		}
	}
	if r.Trailer != nil {
		g.cleanTrailer(r.Trailer)
		r.Body = &trailed{r.Body, g, r.Trailer}
	}
	for i, v := range r.Header["Connection"] {
		if strings.IndexByte(v, '-') < 0 && strings.IndexByte(v, '_') < 0 && len(v) < g.shortest {
			continue
		}
		r.Header["Connection"][i] = g.without(v)
	}
}

func (g *guard) cleanTrailer(t http.Header) {
	for name := range t {
		if g.holds(name) {
			delete(t, name)
		}
	}
}

// trailed is a body with trailers, which net/http enters when it has read them.
type trailed struct {
	io.ReadCloser
	guard   *guard
	trailer http.Header
}

func (b *trailed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.guard.cleanTrailer(b.trailer)
	}
	return n, err
}

// without is a list of fields without those that are guarded.
func (g *guard) without(list string) string {
	var kept []string
	for token := range strings.SplitSeq(list, ",") {
		if token = strings.TrimSpace(token); token != "" && !g.holds(token) {
			kept = append(kept, token)
		}
	}
	return strings.Join(kept, ", ")
}
