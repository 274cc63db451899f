package auditlog

import (
	"context"
	"errors"
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/bench/traffic"
)

// CPU measures the processor time of a record against that of zap's JSON
// encoder writing the same members to a file without any sync, one write a
// record, as Caddy's access log does.
//
// Time is the user and system time of this process over the run, less that of
// the harness: the same writers doing everything but encoding and appending,
// measured for each in the same round. Waking a writer when its record is
// durable is the log's work and counts.
func (b *Bench) CPU(ctx context.Context) ([]measure.Figure, []string, error) {
	rounds, err := b.plan().Run(ctx,
		b.harness("harness"),
		b.zap("zap, 64 writers", few),
		b.oursAsync("log async, 64 writers", few),
		b.ours("log durable, 64 writers", few),
		b.ours("log durable, 1024 writers", many),
	)
	if err != nil {
		return nil, nil, err
	}
	own := func(r measure.Round, name string) float64 {
		return r[name].CPUPerMillion() - r["harness"].CPUPerMillion()
	}
	over := func(name string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return own(r, name) / own(r, "zap, 64 writers") })
	}
	info := func(name string) measure.Figure {
		return measure.Info("CPU per 1M records, "+name, "s", measure.Over(rounds, func(r measure.Round) float64 { return own(r, name) }))
	}
	return []measure.Figure{
		measure.AtMost("CPU a record, async, 64 writers, of zap's", 1.3, "×", over("log async, 64 writers")),
		measure.AtMost("CPU a record, durable, 64 writers, of zap's", 1.3, "×", over("log durable, 64 writers")),
		measure.AtMost("CPU a record, durable, 1,024 writers, of zap's", 1.3, "×", over("log durable, 1024 writers")),
		info("zap, 64 writers"), info("log async, 64 writers"), info("log durable, 64 writers"), info("log durable, 1024 writers"),
		measure.Info("CPU per 1M records, harness", "s", measure.Over(rounds, func(r measure.Round) float64 { return r["harness"].CPUPerMillion() })),
	}, nil, nil
}

func (b *Bench) harness(name string) measure.Variant {
	return measure.Variant{Name: name, Open: func(context.Context) (measure.Runner, error) {
		return measure.Runner{Run: func(ctx context.Context, d time.Duration) (measure.Sample, error) {
			return b.drive(ctx, few, d/4, noop, nil)
		}}, nil
	}}
}

// zap is zap's core and JSON encoder on a file.
func (b *Bench) zap(name string, writers int) measure.Variant {
	return measure.Variant{Name: name, Open: func(context.Context) (measure.Runner, error) {
		f, err := os.CreateTemp(b.Dir, "zap-")
		core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{
			TimeKey: "time", EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeDuration: zapcore.NanosDurationEncoder,
		}), zapcore.Lock(f), zapcore.InfoLevel)
		do := func(_ context.Context, ev *audit.Event, buf []byte) ([]byte, error) {
			fields := [...]zap.Field{zap.Inline((*event)(ev))}
			return buf, core.Write(zapcore.Entry{Time: ev.Start}, fields[:])
		}
		return measure.Runner{
			Run: func(ctx context.Context, d time.Duration) (measure.Sample, error) {
				s, err := b.drive(ctx, writers, d, do, nil)
				return s, errors.Join(err, f.Sync()) // not measured: or the next variant's syncs would write it
			},
			Close: func() error { return errors.Join(f.Close(), os.Remove(f.Name())) },
		}, err
	}}
}

// event writes the members of a record the way zap's users write theirs.
type event audit.Event

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (e *event) MarshalLogObject(o zapcore.ObjectEncoder) error {
	o.AddString("kind", string(audit.KindRequest))
	o.AddString("instance", traffic.Instance)
	o.AddString("id", e.ID.String())
	text(o, "trace", e.Trace)
	text(o, "server", e.Server)
	text(o, "listener", e.Listener)
	err := errors.Join(o.AddObject("client", (*client)(e)), o.AddObject("request", (*request)(e)))
	if e.TLS.Version != "" {
		err = errors.Join(err, o.AddObject("tls", (*tlsState)(&e.TLS)))
	}
	if e.User != "" {
		err = errors.Join(err, o.AddObject("auth", (*auth)(e)))
	}
	text(o, "cache", e.Cache)
	if e.Upstream.Address != "" {
		err = errors.Join(err, o.AddObject("upstream", (*upstream)(&e.Upstream)))
	}
	err = errors.Join(err, o.AddObject("response", (*response)(e)))
	o.AddDuration("duration_ns", e.Duration)
	return err
}

type (
	client   audit.Event
	request  audit.Event
	auth     audit.Event
	response audit.Event
	tlsState audit.TLS
	upstream audit.Upstream
)

func (e *client) MarshalLogObject(o zapcore.ObjectEncoder) error {
	o.AddString("ip", e.ClientIP)
	o.AddString("port", e.ClientPort)
	return nil
}

func (e *request) MarshalLogObject(o zapcore.ObjectEncoder) error {
	o.AddString("proto", e.Proto)
	o.AddString("method", e.Method)
	text(o, "host", e.Host)
	o.AddString("path", e.Path)
	text(o, "query", e.Query)
	text(o, "agent", e.Agent)
	return nil
}

func (e *auth) MarshalLogObject(o zapcore.ObjectEncoder) error {
	o.AddString("user", e.User)
	o.AddString("method", e.AuthMethod)
	return nil
}

func (e *response) MarshalLogObject(o zapcore.ObjectEncoder) error {
	o.AddInt("status", e.Status)
	o.AddInt64("bytes", e.Bytes)
	o.AddString("end", string(e.End))
	text(o, "error", e.Error)
	return nil
}

func (t *tlsState) MarshalLogObject(o zapcore.ObjectEncoder) error {
	o.AddString("version", t.Version)
	o.AddString("cipher", t.Cipher)
	o.AddString("group", t.Group)
	o.AddString("sni", t.ServerName)
	o.AddString("alpn", t.ALPN)
	o.AddBool("resumed", t.Resumed)
	return nil
}

func (u *upstream) MarshalLogObject(o zapcore.ObjectEncoder) error {
	o.AddString("address", u.Address)
	o.AddInt("status", u.Status)
	o.AddDuration("latency_ns", u.Latency)
	return nil
}

func text(o zapcore.ObjectEncoder, name, s string) {
	if s != "" {
		o.AddString(name, s)
	}
}
