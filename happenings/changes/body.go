package changes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/redact"
)

// maxKept is how much of a body is kept to compare it, in bytes. What Caddy
// takes is not limited by it.
const maxKept = maxCompared

// maxHeld is how much of a body is read before others wait for it, in bytes. It
// is what Caddy takes for a part of the configuration; a whole one may be longer.
const maxHeld = 100 << 20

// sent is the body of a call.
type sent struct {
	kind  string // media type
	whole bool   // it is a whole configuration
	path  string // of the part that it is otherwise
	kept  []byte
	bytes int64
	sum   hash.Hash
}

// receive reads a body before others wait for it, and puts it back.
func receive(r *http.Request, whole bool) *sent {
	s := &sent{kind: r.Header.Get("Content-Type"), whole: whole, path: r.URL.Path, sum: sha256.New()}
	if r.Body == nil || r.Body == http.NoBody {
		return s
	}
	rest := r.Body
	body, err := io.ReadAll(io.LimitReader(rest, maxHeld+1))
	_, _ = s.Write(body)
	if len(body) <= maxKept {
		s.kept = body
	}
	again := &again{*bytes.NewReader(body), err}
	r.Body = struct {
		io.Reader
		io.Closer
	}{again, rest}
	if len(body) > maxHeld {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(again, io.TeeReader(rest, s)), rest}
	}
	return s
}

// watch counts and hashes a body as others read it.
func watch(r *http.Request) *sent {
	s := &sent{sum: sha256.New()}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, s), r.Body}
	}
	return s
}

// Write counts and hashes what is read.
func (s *sent) Write(b []byte) (int, error) {
	s.bytes += int64(len(b))
	return s.sum.Write(b)
}

// digest is the SHA-256 of what was read, hex; empty if there was nothing.
func (s *sent) digest() string {
	if s.bytes == 0 {
		return ""
	}
	return hex.EncodeToString(s.sum.Sum(nil))
}

// learn adds the secrets in a part of the configuration that was sent to
// others. Where it stands tells what they are.
func (s *sent) learn(secrets *redact.Secrets) {
	if s == nil || s.whole {
		return
	}
	part, err := jsonpatch.Parse(s.kept)
	if err != nil {
		return
	}
	elements := strings.Split(strings.Trim(s.path, "/"), "/")
	for _, name := range slices.Backward(elements) {
		part = map[string]any{name: part}
	}
	secrets.Document(part)
}

// again is a body that was read, and the error with which it ended.
type again struct {
	bytes.Reader
	err error
}

func (a *again) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	if err != nil && a.err != nil {
		err = a.err
	}
	return n, err
}

// WriteTo hides that of the reader, which knows no error.
func (a *again) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{a})
}

// adapter is the name of the adapter that the media type asks for; empty: JSON.
func (s *sent) adapter() string {
	kind, _, err := mime.ParseMediaType(s.kind)
	if err != nil || strings.HasSuffix(kind, "/json") {
		return ""
	}
	_, name, _ := strings.Cut(kind, "/")
	return name
}

// document returns the configuration that was sent, if it can be read.
func (s *sent) document() (any, bool) {
	if s == nil || !s.whole || len(s.kept) == 0 {
		return nil, false
	}
	text := s.kept
	if name := s.adapter(); name != "" {
		a := caddyconfig.GetAdapter(name)
		if a == nil {
			return nil, false
		}
		var err error
		if text, _, err = a.Adapt(s.kept, nil); err != nil {
			return nil, false
		}
	}
	config, err := jsonpatch.Parse(text)
	_, object := config.(map[string]any)
	return config, err == nil && (object || config == nil)
}

// unreadable returns what was sent if it cannot be read, so that nobody knows
// what in it is secret.
func (s *sent) unreadable() (string, bool) {
	if s == nil || s.bytes == 0 {
		return "", false
	}
	if _, ok := s.document(); ok {
		return "", false
	}
	if _, err := jsonpatch.Parse(s.kept); err == nil && !s.whole {
		return "", false
	}
	return string(s.kept), true
}

// vocabulary are words of Caddy's language and of its messages: names of
// modules and their parts, and what messages say.
var vocabulary = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	for _, id := range caddy.Modules() {
		for word := range strings.FieldsFuncSeq(id, func(r rune) bool { return r == '.' }) {
			words[word] = true
		}
	}
	for word := range strings.FieldsSeq(messageWords) {
		words[word] = true
	}
	return words
})

const messageWords = `
	caddyfile json config configuration adapting using adapter error syntax unexpected unrecognized directive global option
	line token next expected expecting import file argument arguments count wrong ending after before block brace open close
	opening closing end server site address host port route handle handle_path handle_errors header request response respond
	reverse_proxy basic_auth basicauth tls redir root file_server encode log admin soc2 soc2_audit soc2_headers soc2_evidence
	listen apps http https servers routes match handler module unknown parsing loading decoding invalid character value looking
	for beginning string object key array number literal not the and with from into that this does have has was are already
	defined key duplicate missing matcher name path query method subject to in of a an is on at by or no`
