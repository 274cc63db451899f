package access

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/internal/field"
)

// rewriters are fields by which some servers and frameworks let a client replace
// the path that the proxy saw.
var rewriters = []string{"x-original-url", "x-rewrite-url"}

// guard removes from requests what only this handler may say.
type guard struct {
	names    []string // as field.Normal writes them
	shortest int
}

func newGuard(id *Identity) guard {
	g := guard{names: rewriters}
	for _, name := range id.names() {
		g.names = append(g.names, field.Normal(name))
	}
	g.shortest = len(g.names[0])
	for _, name := range g.names {
		g.shortest = min(g.shortest, len(name))
	}
	return g
}

func (g *guard) holds(name string) bool {
	return len(name) >= g.shortest && field.IsOneOf(name, g.names)
}

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
