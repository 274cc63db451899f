package durable_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	disks "github.com/caddy-soc2/caddy-soc2/internal/durable/faulty"
)

// TestPowerCutLosesNoDirectoryOnTheWay cuts the power after a file was written
// deep in directories that were made for it.
func TestPowerCutLosesNoDirectoryOnTheWay(t *testing.T) {
	root := t.TempDir()
	disk, err := disks.NewDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join("a", "b", "c")
	for range 2 {
		if err := durable.MakeDir(disk, filepath.Join(root, deep)); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.WriteFile(disk, filepath.Join(root, deep, "file"), []byte("contents")); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := disk.Cut(disk.Len(), disks.Everything, rand.New(rand.NewPCG(1, 1)), to); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(to, deep, "file")); err != nil || string(b) != "contents" {
		t.Errorf("%q, %v", b, err)
	}
}
