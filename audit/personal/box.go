package personal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
)

// The contents of a box are one JSON object with the members in the places
// where the record would have them, so that the two can be laid over another:
//
//	{"client":{"ip":"192.0.2.1","port":"5000","peer":"10.0.0.1:80"},
//	 "tls":{"sni":"example.com","client_cert":"…"},
//	 "request":{"path":"/","query":"a=*","agent":"curl","headers":[["Accept","*/*"]]},
//	 "auth":{"user":"alice"},"cut":["request.path"]}
//
// without white space, in this order, empty members left out, and text as
// audit.AppendQuoted writes it. "cut" names members that were too long.

// maxBox bounds the contents of a box, so that with it a record keeps to the
// size of a frame. What would be more loses header fields, from the last, and
// if that is not enough its texts are cut shorter.
const maxBox = 16 << 10

// appendBox appends the contents of a box. Without any it appends nothing.
func appendBox(dst []byte, ev *audit.Event, set memberSet) []byte {
	start := len(dst)
	for shrink := 1; ; shrink *= 4 {
		w := boxWriter{b: dst[:start], ev: ev, set: set, shrink: shrink, limit: start + maxBox}
		if dst = w.write(); len(dst)-start <= maxBox {
			return dst
		}
	}
}

// boxWriter appends one box.
type boxWriter struct {
	b      []byte
	ev     *audit.Event
	set    memberSet
	shrink int // divides the limits of texts
	limit  int // of len(b)
	cut    []string
}

func (w *boxWriter) write() []byte {
	start := len(w.b)
	w.b = append(w.b, '{')
	for i := 0; i < len(members); {
		i = w.group(i)
	}
	if len(w.b) == start+1 {
		return w.b[:start]
	}
	if len(w.cut) > 0 {
		w.b = append(w.b, `,"cut":[`...)
		for i, name := range w.cut {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.b = audit.AppendQuoted(w.b, name)
		}
		w.b = append(w.b, ']')
	}
	return append(w.b, '}')
}

// group writes the members that share an object, from the i-th on, and returns
// the first of the next.
func (w *boxWriter) group(i int) int {
	group, _, _ := strings.Cut(members[i].name, ".")
	mark := len(w.b)
	w.key(group)
	w.b = append(w.b, '{')
	empty := len(w.b)
	for ; i < len(members); i++ {
		of, key, _ := strings.Cut(members[i].name, ".")
		if of != group {
			break
		}
		switch {
		case !w.set.has(i):
		case members[i].at == nil:
			w.headers(key)
		default:
			w.text(i, key)
		}
	}
	if len(w.b) == empty {
		w.b = w.b[:mark]
		return i
	}
	w.b = append(w.b, '}')
	return i
}

func (w *boxWriter) key(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *boxWriter) text(i int, key string) {
	s := *members[i].at(w.ev)
	if members[i].name == Query && !slices.Contains(w.ev.Redacted, policy.QueryMember) {
		s = policy.HideQuery(s)
	}
	if s == "" {
		return
	}
	if limit := members[i].limit / w.shrink; len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
		w.cut = append(w.cut, members[i].name)
	}
	w.key(key)
	w.b = audit.AppendQuoted(w.b, s)
}

// headers writes as many header fields as leave room for the rest.
func (w *boxWriter) headers(key string) {
	const rest = 4 << 10
	list := w.ev.RequestHeaders
	if len(list) == 0 {
		return
	}
	w.key(key)
	w.b = append(w.b, '[')
	for i, h := range list {
		mark := len(w.b)
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = audit.AppendQuoted(append(w.b, '['), h.Name)
		w.b = audit.AppendQuoted(append(w.b, ','), h.Value)
		w.b = append(w.b, ']')
		if len(w.b) > w.limit-rest || w.shrink > 1 {
			w.b = w.b[:mark]
			w.cut = append(w.cut, Headers)
			break
		}
	}
	w.b = append(w.b, ']')
}

// Fields are the contents of a box.
type Fields struct {
	ClientIP   string
	ClientPort string
	Peer       string
	ServerName string
	ClientCert string
	Path       string
	Query      string
	Agent      string
	User       string
	Headers    []audit.Header // of the request
	Cut        []string       // members that were too long, by name

	JSON []byte // all of it, as it was sealed
}

// parseBox reads the contents of a box.
func parseBox(b []byte) (f Fields, err error) {
	var v struct {
		Client struct{ IP, Port, Peer string }
		TLS    struct {
			SNI        string
			ClientCert string `json:"client_cert"`
		}
		Request struct {
			Path, Query, Agent string
			Headers            [][2]string
		}
		Auth struct{ User string }
		Cut  []string
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return f, fmt.Errorf("reading sealed members: %w", err)
	}
	f = Fields{
		ClientIP: unquote(v.Client.IP), ClientPort: unquote(v.Client.Port), Peer: unquote(v.Client.Peer),
		ServerName: unquote(v.TLS.SNI), ClientCert: unquote(v.TLS.ClientCert),
		Path: unquote(v.Request.Path), Query: unquote(v.Request.Query), Agent: unquote(v.Request.Agent),
		User: unquote(v.Auth.User), Cut: v.Cut, JSON: b,
	}
	for _, h := range v.Request.Headers {
		f.Headers = append(f.Headers, audit.Header{Name: unquote(h[0]), Value: unquote(h[1])})
	}
	return f, nil
}

// unquote puts the bytes back that audit.AppendQuoted wrote as \xHH.
func unquote(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if c, err := hex.DecodeString(s[i+2 : i+4]); err == nil {
				out = append(out, c[0])
				i += 3
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
