//go:build unix

package verify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// event is a request as a busy site has it.
func event(i int) *audit.Event {
	at := time.Unix(1_800_000_000, int64(i)*1000)
	ev := &audit.Event{
		Start: at, Duration: time.Duration(1_000_000 + i%977*1000), ID: audit.NewID(at), Trace: fmt.Sprintf("%032x", uint64(i)*0x9e3779b97f4a7c15),
		Server: "srv0", Listener: "10.0.0.5:443", ClientIP: fmt.Sprintf("198.51.%d.%d", i%7, i*31%251), ClientPort: fmt.Sprint(20000 + i*17%30000),
		TLS:   audit.TLS{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", ServerName: "shop.example.com", ALPN: "h2"},
		Proto: "HTTP/2.0", Method: "GET", Host: fmt.Sprintf("shop%d.example.com", i%13), Path: fmt.Sprintf("/api/v1/orders/%d", i*7919%100000), Agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		Profile: "strict", Status: 200 + i%5, Bytes: int64(i * 37 % 90000), End: audit.EndComplete,
		Upstream: audit.Upstream{Address: fmt.Sprintf("10.0.1.%d:3000", i%4), Status: 200, Latency: time.Duration(900_000 + i%1000)},
	}
	if i%3 == 0 {
		ev.User, ev.AuthMethod = fmt.Sprintf("user%d@example.com", i%501), "oidc"
	}
	return ev
}

// logOf makes a log of so many requests, in one segment, or, if sealed, in
// sealed ones.
func logOf(b *testing.B, n int, sealed bool) (dir string, key note.Verifier, bytes int64) {
	b.Helper()
	k, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		b.Fatal(err)
	}
	dir = filepath.Join(b.TempDir(), "log")
	cfg := audit.Config{Dir: dir, Key: k, Instance: "edge-1", CheckpointEvery: time.Hour, SegmentBytes: 1 << 40, QueueBytes: 1 << 20}
	if sealed {
		cfg.SegmentBytes = 16 << 20
	}
	log, err := audit.Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	var body []byte
	for i := range n {
		body = event(i).AppendBody(body[:0], "edge-1")
		bytes += int64(len(body)) + 60
		if _, err := log.Enqueue(b.Context(), body); err != nil {
			b.Fatal(err)
		}
	}
	for range 2 { // what is not sealed is sealed after the next start
		if err := log.Close(); err != nil {
			b.Fatal(err)
		}
		if log, err = audit.Open(cfg); err != nil {
			b.Fatal(err)
		}
	}
	waitSealed(b, dir, sealed)
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	v, err := k.Verifier()
	if err != nil {
		b.Fatal(err)
	}
	return dir, v, bytes
}

// waitSealed waits until only the last segment is open.
func waitSealed(b *testing.B, dir string, sealed bool) {
	b.Helper()
	for range 3000 {
		open, _ := filepath.Glob(filepath.Join(dir, "segments", "*.log"))
		if !sealed || len(open) <= 1 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	b.Fatal("segments are not sealed")
}

// benchmarkDir verifies a log and reports bytes of records a second. One core:
// GOMAXPROCS=1 go test -bench Dir ./audit/verify
func benchmarkDir(b *testing.B, sealed bool) {
	dir, key, bytes := logOf(b, 200_000, sealed)
	b.SetBytes(bytes)
	b.ReportAllocs()
	before, n := cpuTime(b), 0
	for ; b.Loop(); n++ {
		r, err := verify.Dir(os.DirFS(dir), []note.Verifier{key}, verify.Options{})
		if err != nil || !r.OK() {
			b.Fatal(err, r)
		}
	}
	if used := cpuTime(b) - before; used > 0 {
		b.ReportMetric(float64(n)*float64(bytes)/1e6/used.Seconds(), "MB/cpu-s")
	}
}

// cpuTime is the time of the processor that this process used: on a machine
// that others use too it says more than the time of day.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkDirOpen(b *testing.B)   { benchmarkDir(b, false) }
func BenchmarkDirSealed(b *testing.B) { benchmarkDir(b, true) }
