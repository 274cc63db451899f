//go:build unix

package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
)

// TestPipesStopNobody puts a pipe that nobody writes to in the place of a file
// of a running log, which then grows through segments, is signed and closed.
func TestPipesStopNobody(t *testing.T) {
	for _, name := range []string{checkpoint.File, rollup.File, checkpoint.File + ".tmp"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, audit.Config{SegmentBytes: 16 << 10, HealEvery: time.Millisecond})
			b.append(150)
			if err := b.log.Sign(t.Context(), b.log.Next()); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(b.dir, name)
			if err := errors.Join(os.RemoveAll(path), unix.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				for i := range 150 {
					_, _ = b.log.Append(t.Context(), body(i)) // it may be refused until the log has healed
				}
				_ = b.log.Sign(t.Context(), b.log.Next())
				done <- b.log.Close()
			}()
			select {
			case err := <-done:
				if err != nil && !errors.Is(err, audit.ErrFailed) { // it may not have had the time to heal
					t.Error(err)
				}
			case <-time.After(60 * time.Second):
				if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil { // lets go who waits
					_ = f.Close()
				}
				t.Fatal("it waits for the pipe")
			}
			if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			b.open()
			b.append(1)
			b.close()
			b.check(b.log.Next())
		})
	}
}
