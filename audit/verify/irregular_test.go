//go:build unix

package verify_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// TestIrregularFilesAreNotOpened would hang if one was.
func TestIrregularFilesAreNotOpened(t *testing.T) {
	base := newSite(t)
	base.grow(600)
	base.sealAll()
	for name, put := range map[string]func(path string) error{
		"named pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"symbolic link": func(path string) error {
			return os.Symlink(filepath.Join(base.dir, "checkpoint"), path)
		},
		"socket": func(path string) error {
			short := filepath.Join("/tmp", filepath.Base(t.Name())+filepath.Base(path)) // such a path has at most 107 bytes
			l, err := net.Listen("unix", short)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
			return os.Rename(short, path)
		},
	} {
		for _, path := range []string{"checkpoint", "rollups", "witnessed", "tile/0/000", "segments/00000000000000000000.zst", "anchors/00000000000000000001.checkpoint", "foreign", "foreign.tmp", "segments/00000000000000099999.log"} {
			s := base.copy()
			s.remove(path)
			if err := os.MkdirAll(filepath.Dir(s.path(path)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := put(s.path(path)); err != nil {
				t.Fatal(err)
			}
			s.fails(verify.Options{}, path, name)
		}
	}
	s := base.copy()
	s.remove("segments")
	if err := syscall.Mkfifo(s.path("segments"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fails(verify.Options{}, "segments", "named pipe")
}
