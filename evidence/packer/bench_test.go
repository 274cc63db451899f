//go:build unix

package packer_test

import (
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// requests is how many requests the log of BenchmarkPack has.
var requests = flag.Int("requests", 200_000, "requests in the log of BenchmarkPack")

// BenchmarkPack reports on, makes and verifies packs of 200,000 requests, or of
// as many as -requests says, and reports the most memory that the heap took and
// that was resident. A million:
//
//	go test ./evidence/packer -run - -bench Pack -benchtime 1x -args -requests 1000000
func BenchmarkPack(b *testing.B) {
	n := *requests
	s := newSite(b, "edge-1/soc2")
	s.opt.SegmentBytes = 16 << 20
	s.period(start.AddDate(0, 0, 2), start.AddDate(0, 0, 367))
	s.open()
	s.pass(49 * time.Hour)
	for range n {
		s.pass(364 * 24 * time.Hour / time.Duration(n))
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
			watched(b, func() {
				if _, _, err := packer.Report(context.Background(), []packer.Log{s.input()}, s.options(false)); err != nil {
					b.Fatal(err)
				}
			})
		}
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
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
	b.Run("rollups", func(b *testing.B) {
		for b.Loop() {
			watched(b, func() {
				log, err := population.Open(s.input().Dir, "")
				if err != nil {
					b.Fatal(err)
				}
				p := population.Period{From: s.want.period.From, To: s.want.period.To}
				sum, err := population.Summarize(context.Background(), log, population.Options{Period: p})
				if err != nil || sum.Total.Requests != s.want.requests {
					b.Fatal(err, sum.Total.Requests, s.want.requests)
				}
				b.ReportMetric(float64(sum.Read), "records-read")
			})
		}
	})
	for _, full := range []bool{true, false} {
		name := map[bool]string{true: "full", false: "hashes"}[full]
		b.Run("make/"+name, func(b *testing.B) {
			for b.Loop() {
				out, err := os.Create(file)
				if err != nil {
					b.Fatal(err)
				}
				watched(b, func() {
					if _, err := packer.Write(context.Background(), out, []packer.Log{s.input()}, s.options(full)); err != nil {
						b.Fatal(err)
					}
				})
				size, err := out.Seek(0, io.SeekEnd)
				if err != nil || out.Close() != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(size)/float64(n), "bytes/record")
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
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
				watched(b, func() {
					r, err := pack.Verify(in, info.Size(), []note.Verifier{v}, pack.Options{})
					if err != nil || !r.Verified {
						b.Fatal(err, r)
					}
				})
				in.Close()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// watched runs fn and reports the most MiB of heap in use while it ran, the time
// that processors worked, and, on Linux, the most that was resident.
func watched(b *testing.B, fn func()) {
	b.Helper()
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600) // proc(5): the peak begins anew
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
	before := worked(b)
	fn()
	b.ReportMetric((worked(b) - before).Seconds(), "cpu-s")
	close(done)
	b.ReportMetric(float64(<-most)/(1<<20), "heap-MiB")
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return // not Linux
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(n)/1024, "resident-MiB")
		}
	}
}

// worked is how long processors have worked for this process.
func worked(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
