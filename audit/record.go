package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind tells what a record is about.
type Kind string

// The kinds that this version writes.
const (
	KindRequest Kind = "request"   // one request and its response
	KindOpen    Kind = "log.open"  // the log was opened for writing
	KindClose   Kind = "log.close" // the log was closed in order
	KindRollup  Kind = "rollup"    // a segment was sealed
)

// The most bytes that a text of a request record keeps. What is longer is cut,
// and the record's member "cut" names it. With every byte escaped, a record
// with all texts at their limit still fits in a frame.
const (
	maxPath  = 4096
	maxQuery = 1024
	maxText  = 256
)

// header writes the members that every record begins with.
func (e *encoder) header(t time.Time, kind Kind, instance string) {
	e.time("time", t)
	e.key("kind")
	e.quote(string(kind))
	e.text("instance", instance)
}

// AppendBody appends the record of a request, without the members that the log
// adds (package segment), to dst.
func (ev *Event) AppendBody(dst []byte, instance string) []byte {
	e := encoder{dst}
	var cut []string
	text := func(name, s string, limit int) {
		if len(s) > limit {
			for limit > 0 && !utf8.RuneStart(s[limit]) {
				limit--
			}
			s = s[:limit]
			cut = append(cut, name)
		}
		e.text(name, s)
	}
	e.header(ev.Start, KindRequest, instance)
	e.key("id")
	e.b = append(e.b, '"')
	e.b = ev.ID.AppendText(e.b)
	e.b = append(e.b, '"')
	text("trace", ev.Trace, maxText)
	text("server", ev.Server, maxText)
	text("listener", ev.Listener, maxText)

	mark := e.open("client")
	text("ip", ev.ClientIP, maxText)
	text("port", ev.ClientPort, maxText)
	text("peer", ev.Peer, maxText)
	e.close(mark)

	mark = e.open("tls")
	text("version", ev.TLS.Version, maxText)
	text("cipher", ev.TLS.Cipher, maxText)
	text("group", ev.TLS.Group, maxText)
	text("sni", ev.TLS.ServerName, maxText)
	text("alpn", ev.TLS.ALPN, maxText)
	text("client_cert", ev.TLS.ClientCert, maxText)
	e.flag("resumed", ev.TLS.Resumed)
	e.flag("ech", ev.TLS.ECHAccepted)
	e.close(mark)

	mark = e.open("request")
	text("proto", ev.Proto, maxText)
	text("method", ev.Method, maxText)
	text("host", ev.Host, maxText)
	text("path", ev.Path, maxPath)
	if len(ev.Query) > maxQuery {
		cut = append(cut, "query")
	}
	e.query(ev.Query)
	text("agent", ev.Agent, maxText)
	e.close(mark)

	mark = e.open("auth")
	text("user", ev.User, maxText)
	text("method", ev.AuthMethod, maxText)
	e.close(mark)
	e.decision("access", ev.Access)
	e.decision("limit", ev.Limit)
	e.text("cache", ev.Cache)
	mark = e.open("headers")
	e.text("profile", ev.Profile)
	e.list("mended", ev.Mended)
	e.close(mark)

	if ev.Upstream.Address != "" {
		mark = e.open("upstream")
		text("address", ev.Upstream.Address, maxText)
		if ev.Upstream.Status != 0 {
			e.number("status", int64(ev.Upstream.Status))
			e.number("latency_ns", int64(ev.Upstream.Latency))
		}
		e.close(mark)
	}
	mark = e.open("response")
	e.number("status", int64(ev.Status))
	e.number("bytes", ev.Bytes)
	e.text("end", string(ev.End))
	text("error", ev.Error, maxText)
	e.close(mark)
	e.number("duration_ns", int64(ev.Duration))
	e.list("cut", cut)
	return e.b
}

func (e *encoder) decision(name string, d Decision) {
	mark := e.open(name)
	e.text("outcome", d.Outcome)
	e.text("rule", d.Rule)
	e.text("reason", d.Reason)
	e.close(mark)
}

// query writes the keys of a query string. Values, and parts without a key,
// are secrets often enough that each becomes a star: a=1&b=2&xyz is a=*&b=*&*.
func (e *encoder) query(raw string) {
	if raw == "" {
		return
	}
	if len(raw) > maxQuery {
		raw = raw[:maxQuery]
		raw = raw[:strings.LastIndexByte(raw, '&')+1] // a cut part could show half a value as a key
	}
	e.key("query")
	e.b = append(e.b, '"')
	for n := 0; raw != ""; n++ {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if n > 0 {
			e.escape("&")
		}
		if key, _, ok := strings.Cut(part, "="); ok {
			e.escape(key)
			e.b = append(e.b, '=')
		}
		e.b = append(e.b, '*')
	}
	e.b = append(e.b, '"')
}

// RecordHeader is the part of a record that all kinds share, as read back.
type RecordHeader struct {
	Seq      int64     `json:"seq"`
	Time     time.Time `json:"time"`
	Kind     Kind      `json:"kind"`
	Instance string    `json:"instance"`
	ID       string    `json:"id"` // of a request
}

// ParseHeader reads the shared part of a record.
func ParseHeader(record []byte) (h RecordHeader, err error) {
	if err := json.Unmarshal(record, &h); err != nil {
		return h, fmt.Errorf("reading record: %w", err)
	}
	return h, nil
}

// kindOf reads the kind of a record without decoding it: its place in the
// record is fixed.
func kindOf(record []byte) Kind {
	_, rest, _ := bytes.Cut(record, []byte(`","kind":"`))
	kind, _, _ := bytes.Cut(rest, []byte{'"'})
	return Kind(kind)
}

// timeOf reads the time of a record, likewise.
func timeOf(record []byte) string {
	_, rest, _ := bytes.Cut(record, []byte(`,"time":"`))
	t, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(t)
}
