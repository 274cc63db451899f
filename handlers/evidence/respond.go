package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
)

// The media types of responses.
const (
	typeHTML    = "text/html; charset=utf-8"
	typeCSS     = "text/css; charset=utf-8"
	typeText    = "text/plain; charset=utf-8"
	typeJSON    = "application/json"
	typeProblem = "application/problem+json" // RFC 9457
)

// contentSecurity allows the page its own style sheet and form, and nothing
// else. Text in records comes from attackers.
const contentSecurity = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets what all responses have.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", contentSecurity)
}

// send answers with a body.
func send(w http.ResponseWriter, r *http.Request, status int, mediaType string, body []byte) {
	h := w.Header()
	secure(h)
	h.Set("Content-Type", mediaType)
	if status == http.StatusOK && unchanged(h, r, body) {
		h.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) //nolint:gosec // HTML comes from html/template, and the other types are not sniffed
	}
}

// unchanged sets the entity tag of an answer that has none yet, which is its hash,
// and reports whether the client has what has it (RFC 9110, section 13.1.2).
func unchanged(h http.Header, r *http.Request, body []byte) bool {
	if h.Get("ETag") != "" {
		return false // it was compared before
	}
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	h.Set("ETag", etag)
	return tiles.Matches(r.Header.Values("If-None-Match"), etag)
}

// sendJSON answers with a value that is known to be encodable.
func sendJSON(w http.ResponseWriter, r *http.Request, status int, mediaType string, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	send(w, r, status, mediaType, still(b.Bytes()))
}

// still writes characters of JSON that change how text is shown, and that an encoder
// leaves as they are, as escapes: who looks at an answer sees all of it in its order.
func still(text []byte) []byte {
	if !bytes.ContainsFunc(text, acts) {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		c, size := utf8.DecodeRune(text)
		if !acts(c) {
			out = append(out, text[:size]...)
		} else {
			for _, unit := range utf16.Encode([]rune{c}) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
		text = text[size:]
	}
	return out
}

// acts reports whether a character, which is in a text of JSON, is a control or
// changes the direction of text, or does not show.
func acts(c rune) bool {
	return c >= 0x7f && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c))
}

// problem answers with an error (RFC 9457).
func problem(w http.ResponseWriter, r *http.Request, status int, detail string) {
	problemOf(w, r, status, "", detail)
}

// problemOf answers with an error that a parameter of the request is to blame for,
// which the extension member "parameter" names (RFC 9457, section 3.2).
func problemOf(w http.ResponseWriter, r *http.Request, status int, parameter, detail string) {
	w.Header().Del("ETag")
	sendJSON(w, r, status, typeProblem, struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		Parameter string `json:"parameter,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail, parameter})
}

// badQuery answers that a query is wrong.
func badQuery(w http.ResponseWriter, r *http.Request, err error) {
	name := ""
	if p, ok := errors.AsType[*parameterError](err); ok {
		name = p.name
	}
	problemOf(w, r, http.StatusBadRequest, name, sentence(err))
}

// report tells the server's log why the audit log could not be read.
func report(err error) {
	caddy.Log().Named("soc2").Error("reading the audit log for a request", zap.Error(err))
}

// broken answers that the audit log could not be read.
func broken(w http.ResponseWriter, r *http.Request, err error) {
	report(err)
	problem(w, r, http.StatusInternalServerError, "The audit log could not be read. The server's log says why.")
}

// notFound answers that there is nothing at a path.
func notFound(w http.ResponseWriter, r *http.Request) {
	problem(w, r, http.StatusNotFound, "There is nothing at this path.")
}

// seeOther sends the client to a path on this server.
func seeOther(w http.ResponseWriter, path string) {
	secure(w.Header())
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}

// readOnly reports whether the request only reads, and else answers it
// (RFC 9110, section 15.5.6).
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	problem(w, r, http.StatusMethodNotAllowed, "The evidence is read only: use GET or HEAD.")
	return false
}
