package audit

import (
	"io"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// realistic is a request as a browser sends it through a proxy; its record has
// about 900 bytes.
func realistic() *Event {
	return &Event{
		Start: time.Date(2026, 11, 21, 3, 4, 5, 678_901_234, time.UTC), Duration: 12_345_678,
		ID:    ID{1, 0x93, 0x4b, 2, 0x11, 0x7c, 0x7a, 8, 0x89, 10, 11, 12, 13, 14, 15, 16},
		Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Server: "srv0", Listener: "10.1.2.3:443", Conn: "5f2c",
		ClientIP: "203.0.113.77", ClientPort: "51234",
		TLS:   TLS{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", ServerName: "shop.example.com", ALPN: "h2"},
		Proto: "HTTP/2.0", Method: "GET", Host: "shop.example.com", Path: "/api/v1/orders/8412", Query: "page=2&sort=date",
		Agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
		User:  "alice@example.com", AuthMethod: "oidc", Access: Decision{"allow", "staff", ""}, Limit: Decision{"allow", "all", ""},
		Cache: "miss", Profile: "strict", Upstream: Upstream{"10.1.2.9:3000", 200, 9_876_543}, Status: 200, Bytes: 4821, End: EndComplete,
	}
}

// brief is a request whose record has about 600 bytes.
func brief() *Event {
	ev := realistic()
	ev.Agent, ev.Trace, ev.Access, ev.Limit, ev.Query, ev.Profile, ev.Cache = "curl/8.5.0", "", Decision{}, Decision{}, "", "", ""
	return ev
}

func BenchmarkAppendBody(b *testing.B) {
	for _, c := range []struct {
		name string
		ev   *Event
	}{{"600B", brief()}, {"900B", realistic()}} {
		b.Run(c.name, func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.SetBytes(int64(len(c.ev.AppendBody(buf, "edge-1"))))
			b.ReportAllocs()
			for b.Loop() {
				buf = c.ev.AppendBody(buf[:0], "edge-1")
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	frame, err := segment.AppendFrame(nil, 123456, 7, realistic().AppendBody(nil, "edge-1"))
	if err != nil {
		b.Fatal(err)
	}
	record := segment.Record(frame)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(record); err != nil {
			b.Fatal(err)
		}
	}
}

// group is an object of zap fields.
type group func(zapcore.ObjectEncoder)

func (g group) MarshalLogObject(e zapcore.ObjectEncoder) error {
	g(e)
	return nil
}

// zapFields are the members of an event as fields of zap. Objects are given as
// functions, which is the cheapest way that zap has.
func zapFields(ev *Event, instance string) []zap.Field {
	text := func(e zapcore.ObjectEncoder, name, s string) {
		if s != "" {
			e.AddString(name, s)
		}
	}
	fields := []zap.Field{
		zap.String("kind", "request"), zap.String("instance", instance), zap.String("id", ev.ID.String()), zap.String("server", ev.Server), zap.String("listener", ev.Listener), zap.String("conn", ev.Conn),
		zap.Object("client", group(func(e zapcore.ObjectEncoder) { text(e, "ip", ev.ClientIP); text(e, "port", ev.ClientPort) })),
		zap.Object("tls", group(func(e zapcore.ObjectEncoder) {
			text(e, "version", ev.TLS.Version)
			text(e, "cipher", ev.TLS.Cipher)
			text(e, "group", ev.TLS.Group)
			text(e, "sni", ev.TLS.ServerName)
			text(e, "alpn", ev.TLS.ALPN)
		})),
		zap.Object("request", group(func(e zapcore.ObjectEncoder) {
			text(e, "proto", ev.Proto)
			text(e, "method", ev.Method)
			text(e, "host", ev.Host)
			text(e, "path", ev.Path)
			text(e, "query", ev.Query)
			text(e, "agent", ev.Agent)
		})),
		zap.Object("auth", group(func(e zapcore.ObjectEncoder) { text(e, "user", ev.User); text(e, "method", ev.AuthMethod) })),
		zap.Object("upstream", group(func(e zapcore.ObjectEncoder) {
			text(e, "address", ev.Upstream.Address)
			e.AddInt("status", ev.Upstream.Status)
			e.AddInt64("latency_ns", int64(ev.Upstream.Latency))
		})),
		zap.Object("response", group(func(e zapcore.ObjectEncoder) {
			e.AddInt("status", ev.Status)
			e.AddInt64("bytes", ev.Bytes)
			text(e, "end", string(ev.End))
		})),
		zap.Int64("duration_ns", int64(ev.Duration)),
	}
	for name, s := range map[string]string{"trace": ev.Trace, "cache": ev.Cache, "profile": ev.Profile} {
		if s != "" {
			fields = append(fields, zap.String(name, s))
		}
	}
	for name, d := range map[string]Decision{"access": ev.Access, "limit": ev.Limit} {
		if d.Outcome != "" {
			fields = append(fields, zap.Object(name, group(func(e zapcore.ObjectEncoder) { text(e, "outcome", d.Outcome); text(e, "rule", d.Rule) })))
		}
	}
	return fields
}

// BenchmarkZap encodes the same members with zap's JSON encoder. Its fields are
// made beforehand, so this is the encoder alone.
func BenchmarkZap(b *testing.B) {
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	for _, c := range []struct {
		name string
		ev   *Event
	}{{"600B", brief()}, {"900B", realistic()}} {
		b.Run(c.name, func(b *testing.B) {
			enc, entry, fields := zapcore.NewJSONEncoder(cfg), zapcore.Entry{Time: c.ev.Start}, zapFields(c.ev, "edge-1")
			buf, err := enc.EncodeEntry(entry, fields)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(buf.Len()))
			b.ReportAllocs()
			for b.Loop() {
				buf, err := enc.EncodeEntry(entry, fields)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Discard.Write(buf.Bytes())
				buf.Free()
			}
		})
	}
}
