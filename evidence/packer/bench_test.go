package packer_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// BenchmarkPack makes and verifies a full pack of 200,000 requests, and reports
// the most memory that the heap took.
func BenchmarkPack(b *testing.B) {
	const n = 200_000
	s := newSite(b, "edge-1/soc2")
	s.opt.SegmentBytes = 16 << 20
	s.open()
	s.pass(49 * time.Hour)
	for range n {
		s.pass(100 * time.Millisecond)
		s.request(200, false, false)
	}
	s.close()
	file := filepath.Join(b.TempDir(), "pack.zip")
	v, err := s.key.Verifier()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("report", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := packer.Report(context.Background(), []packer.Log{s.input()}, s.options(false)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	bare := s.bare()
	b.Run("history", func(b *testing.B) {
		for b.Loop() {
			watched(b, func() {
				if _, err := packer.History(context.Background(), bare, s.options(false), "TLS-001", func(*pack.Span) error { return nil }); err != nil {
					b.Fatal(err)
				}
			})
		}
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	for _, full := range []bool{true, false} {
		name := map[bool]string{true: "full", false: "hashes"}[full]
		b.Run("make/"+name, func(b *testing.B) {
			for b.Loop() {
				out, err := os.Create(file)
				if err != nil {
					b.Fatal(err)
				}
				most := watched(b, func() {
					if _, err := packer.Write(context.Background(), out, []packer.Log{s.input()}, s.options(full)); err != nil {
						b.Fatal(err)
					}
				})
				size, err := out.Seek(0, io.SeekEnd)
				if err != nil || out.Close() != nil {
					b.Fatal(err)
				}
				b.ReportMetric(most, "heap-MiB")
				b.ReportMetric(float64(size)/n, "bytes/record")
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
		b.Run("verify/"+name, func(b *testing.B) {
			for b.Loop() {
				in, err := os.Open(file)
				if err != nil {
					b.Fatal(err)
				}
				info, err := in.Stat()
				if err != nil {
					b.Fatal(err)
				}
				most := watched(b, func() {
					r, err := pack.Verify(in, info.Size(), []note.Verifier{v}, pack.Options{})
					if err != nil || !r.Verified {
						b.Fatal(err, r)
					}
				})
				in.Close()
				b.ReportMetric(most, "heap-MiB")
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// watched runs fn and returns the most MiB of heap in use while it ran.
func watched(b *testing.B, fn func()) float64 {
	b.Helper()
	runtime.GC()
	done, most := make(chan struct{}), make(chan uint64)
	go func() {
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		high := uint64(0)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			high = max(high, m.HeapInuse)
			select {
			case <-done:
				most <- high
				return
			case <-t.C:
			}
		}
	}()
	fn()
	close(done)
	return float64(<-most) / (1 << 20)
}
