package auditlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/bench/traffic"
)

// sizeRecords is how many records the sizes are taken from: one segment.
const sizeRecords = 80_000

// Disk measures what records take on disk, open and sealed, and what of it
// could not be less.
func (b *Bench) Disk(ctx context.Context) ([]measure.Figure, []string, error) {
	var figures []measure.Figure
	var lines []string
	for _, lean := range []bool{false, true} {
		kind := "750-byte records"
		if lean {
			kind = "600-byte records"
		}
		open, reserved, encoded, err := b.openSize(ctx, lean)
		if err != nil {
			return nil, nil, err
		}
		frames := makeFrames(lean, nil)
		cpu := measure.CPU()
		sealed, err := segment.Seal(frames, 0)
		if err != nil {
			return nil, nil, err
		}
		speed := float64(len(frames)) / 1e6 / (measure.CPU() - cpu).Seconds()
		tiles := float64(sizeRecords/256+sizeRecords/65536) * 8192
		share := float64(len(sealed)) / float64(len(frames))
		figures = append(figures,
			one(measure.AtMost, "disk, open, of encoded, "+kind, 1.1, "×", open/encoded).
				With("blocks of all files of the log but the reserve; with it %.3f", (open+reserved)/encoded),
			one(measure.AtMost, "disk, sealed, of encoded, "+kind, 0.25, "×", share+tiles/float64(len(frames))).
				With("segment %.3f and hash tiles %.3f", share, tiles/float64(len(frames))),
			measure.Info("sealing, "+kind, "MB/s of CPU time", measure.SpreadOf([]float64{speed})))
		table, err := dissect(kind, lean, frames, len(sealed))
		if err != nil {
			return nil, nil, err
		}
		lines = append(lines, table)
	}
	return figures, lines, nil
}

func one(f func(string, float64, string, measure.Spread) measure.Figure, name string, want float64, unit string, got float64) measure.Figure {
	return f(name, want, unit, measure.SpreadOf([]float64{got}))
}

// openSize writes a log and adds up the blocks of its files while it is open.
// Encoded is the bytes of the records as stored.
func (b *Bench) openSize(ctx context.Context, lean bool) (blocks, reserved, encoded float64, err error) {
	l, err := b.openLog(nil)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, remove(l)) }()
	now := time.Now()
	g, ev, body := generator(lean), audit.Event{}, []byte(nil)
	for range sizeRecords {
		now = now.Add(g.Wait(arrivals))
		g.Next(&ev, now)
		body = ev.AppendBody(body[:0], traffic.Instance)
		if _, err := l.Enqueue(ctx, body); err != nil {
			return 0, 0, 0, err
		}
	}
	last, err := l.Append(ctx, body)
	if err == nil {
		err = l.Sign(ctx, last+1) // then all tiles are written
	}
	if err != nil {
		return 0, 0, 0, err
	}
	_, err = l.Records().Scan(0, func(_ int64, record []byte) error {
		encoded += float64(len(record))
		return nil
	})
	if err != nil {
		return 0, 0, 0, err
	}
	err = filepath.WalkDir(l.Dir(), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		used, length, err := measure.DiskBytes(name)
		if strings.HasSuffix(name, ".log") {
			reserved = float64(length) - encoded - 2*float64(l.Next())
			used -= int64(reserved)
		}
		blocks += float64(used)
		return err
	})
	return blocks, reserved, encoded, err
}

// arrivals is the rate of the synthetic traffic, in requests a second.
const arrivals = 500

func generator(lean bool) *traffic.Generator {
	g := traffic.New(3)
	g.Lean = lean
	return g
}

// makeFrames makes the frames of one segment. blank, if not nil, takes
// something away from each event.
func makeFrames(lean bool, blank func(ev *audit.Event)) []byte {
	now := time.Unix(1_790_000_000, 123456789)
	g, ev := generator(lean), audit.Event{}
	var frames, body []byte
	for i := range int64(sizeRecords) {
		now = now.Add(g.Wait(arrivals))
		g.Next(&ev, now)
		if blank != nil {
			blank(&ev)
		}
		body = ev.AppendBody(body[:0], traffic.Instance)
		frames, _ = segment.AppendFrame(frames, i, i%4, body) // bodies of events fit
	}
	return frames
}

// members are what is taken away, one after the other, to see what each costs.
var members = []struct {
	name  string
	blank func(ev *audit.Event)
	floor string // what its randomness alone takes
}{
	{"request id (UUIDv7)", func(e *audit.Event) { e.ID = audit.ID{} }, "74 random bits = 9.25"},
	{"trace id", func(e *audit.Event) { e.Trace = "" }, "16 in a twentieth = 0.8"},
	{"time", func(e *audit.Event) { e.Start = time.Unix(1_790_000_000, 0) }, "Poisson at 500/s in ns: 22.3 bits = 2.8"},
	{"duration", func(e *audit.Event) { e.Duration = 1e7 }, "18 bits beside the latency = 2.3"},
	{"upstream latency", func(e *audit.Event) { e.Upstream.Latency = min(e.Upstream.Latency, 1) }, "24 bits in 69 % = 2.1"},
	{"client address and port", func(e *audit.Event) { e.ClientIP, e.ClientPort = "192.0.2.1", "1024" }, "which of 200 sessions: 6.9 bits = 0.9"},
	{"user agent and TLS", func(e *audit.Event) { e.Agent, e.TLS = "a", audit.TLS{} }, "follow from the session"},
	{"user", func(e *audit.Event) { e.User, e.AuthMethod = "", "" }, "follows from the session"},
	{"path and query", func(e *audit.Event) { e.Path, e.Query = "/", "" }, "5 to 7 bits = 0.8"},
	{"response bytes", func(e *audit.Event) { e.Bytes = 1000 }, "12 bits in 60 % = 0.9"},
}

// dissect tells where the bytes of a sealed segment go: it compresses the same
// traffic without each member in turn.
func dissect(kind string, lean bool, frames []byte, sealed int) (string, error) {
	var t strings.Builder
	per := func(n int) float64 { return float64(n) / sizeRecords }
	fmt.Fprintf(&t, "Sealed %s: %.1f bytes of %.1f. What is saved by leaving a member out, in bytes a record:\n\n", kind, per(sealed), per(len(frames)))
	fmt.Fprintf(&t, "| member | sealed bytes | floor |\n|---|---|---|\n")
	for _, m := range members {
		without, err := segment.Seal(makeFrames(lean, m.blank), 0)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&t, "| %s | %.1f | %s |\n", m.name, per(sealed-len(without)), m.floor)
	}
	fmt.Fprintf(&t, "| crc | %.1f | 32 bits = 4 (to who does not know what it is the checksum of) |\n", per(sealed)-perWithoutCRC(frames))
	fmt.Fprintf(&t, "| seq, pos | %.1f | 0 |\n", perBlank(frames, sealed))
	fmt.Fprintf(&t, "\nOther ways to compress, as share of the %d bytes:\n\n", len(frames))
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		for _, bundles := range []int{1, 4, 16} {
			cpu := measure.CPU()
			n, err := compressed(frames, level, bundles)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&t, "- %s, %d bundles a frame: %.3f, %.0f MB/s\n", level, bundles,
				float64(n)/float64(len(frames)), float64(len(frames))/1e6/(measure.CPU()-cpu).Seconds())
		}
	}
	return t.String(), nil
}

// compressed is the size of frames when so many bundles share a zstd frame.
func compressed(frames []byte, level zstd.EncoderLevel, bundles int) (n int, err error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	start, at := 0, 0
	var out []byte
	_, _, err = segment.Scan(frames, 0, func(seq int64, record []byte) error {
		if seq > 0 && seq%int64(256*bundles) == 0 {
			out = e.EncodeAll(frames[start:at], out[:0])
			n, start = n+len(out), at
		}
		at += 2 + len(record)
		return nil
	})
	n += len(e.EncodeAll(frames[start:], nil))
	return n, errors.Join(err, e.Close())
}

// perWithoutCRC compresses the records without their checksums.
func perWithoutCRC(frames []byte) float64 {
	return perEdited(frames, func(record []byte) []byte { return record[:len(record)-len(`00000000"}`)] })
}

// perBlank is what seq and pos cost.
func perBlank(frames []byte, sealed int) float64 {
	return float64(sealed)/sizeRecords - perEdited(frames, func(record []byte) []byte {
		return record[strings.Index(string(record), `"time"`):]
	})
}

// perEdited is the compressed size of a record after an edit, bundle by bundle.
func perEdited(frames []byte, edit func(record []byte) []byte) float64 {
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1)) // constant options
	defer func() { _ = e.Close() }()
	var bundle []byte
	total := 0
	_, _, _ = segment.Scan(frames, 0, func(seq int64, record []byte) error { // frames of makeFrames are whole
		bundle = append(bundle, 1, 1)
		if bundle = append(bundle, edit(record)...); seq%256 == 255 {
			total += len(e.EncodeAll(bundle, nil))
			bundle = bundle[:0]
		}
		return nil
	})
	return float64(total+len(e.EncodeAll(bundle, nil))) / sizeRecords
}

// unsealed counts the segments of a log that are not sealed.
func unsealed(dir string) (open, all int, err error) {
	list, err := records.Dir{FS: os.DirFS(dir)}.Segments()
	for _, s := range list {
		if !s.Sealed {
			open++
		}
	}
	return open, len(list), err
}
