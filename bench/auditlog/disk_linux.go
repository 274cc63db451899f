package auditlog

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// reserve is how many zeros are written ahead, as the log's own file has them.
const reserve = 1 << 20

// bare is the disk alone: one goroutine writes so many bytes and syncs them, in
// a loop. Operations are syncs. With ahead, zeros are written ahead of the data
// as the log does, else the file grows.
func (b *Bench) bare(name string, size int, ahead bool) measure.Variant {
	return measure.Variant{Name: name, Open: func(context.Context) (measure.Runner, error) {
		f, err := os.CreateTemp(b.Dir, "bare-")
		w := &bareFile{file: f, data: b.frames(size), ahead: ahead}
		return measure.Runner{Run: w.run, Close: func() error {
			return errors.Join(f.Close(), os.Remove(f.Name()))
		}}, err
	}}
}

type bareFile struct {
	file      *os.File
	data      []byte
	ahead     bool
	at, limit int64
}

var zeros [reserve]byte

func (w *bareFile) run(ctx context.Context, d time.Duration) (s measure.Sample, err error) {
	s.Latency = &measure.Latency{}
	cpu, start := measure.CPU(), time.Now()
	for now := start; now.Sub(start) < d && ctx.Err() == nil; {
		_, err = w.file.WriteAt(w.data, w.at)
		if w.at += int64(len(w.data)); err == nil && w.ahead && w.at > w.limit {
			_, err = w.file.WriteAt(zeros[:], w.at)
			w.limit = w.at + reserve
		}
		if err == nil {
			err = unix.Fdatasync(int(w.file.Fd()))
		}
		if err != nil {
			return s, err
		}
		done := time.Now()
		s.Latency.Add(done.Sub(now))
		now = done
	}
	s.Ops, s.Elapsed, s.CPU = s.Latency.Count(), time.Since(start), measure.CPU()-cpu
	return s, nil
}

// frames is so many bytes of records.
func (b *Bench) frames(size int) []byte {
	var out []byte
	for _, ev := range b.pool() {
		if out = ev.AppendBody(out, ""); len(out) >= size {
			break
		}
	}
	return out[:size]
}
