package tiles_test

import (
	"io"
	"io/fs"
	"strings"
	"testing/fstest"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// memory is a log of three records of which there is the tree alone.
type memory struct{ tree *tree.Tree }

func (m memory) Head() (tiles.Head, error) {
	return tiles.Head{Note: []byte("note"), Size: m.tree.Size(), Tree: m.tree}, nil
}

func (memory) Records() records.Dir { return records.Dir{FS: fstest.MapFS{}} }

// slowFS counts who reads a segment and lets them go when it is told to.
type slowFS struct {
	records.Dir
	slow *slow
}

func (s slowFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil || !strings.HasPrefix(name, records.Folder+"/") {
		return f, err
	}
	at, _ := f.(io.ReaderAt)
	return slowFile{f, at, s.slow}, nil
}

type slowFile struct {
	fs.File
	at   io.ReaderAt
	slow *slow
}

func (f slowFile) ReadAt(p []byte, off int64) (int, error) {
	n := f.slow.reading.Add(1)
	defer f.slow.reading.Add(-1)
	for most := f.slow.most.Load(); n > most && !f.slow.most.CompareAndSwap(most, n); most = f.slow.most.Load() {
	}
	<-f.slow.let
	return f.at.ReadAt(p, off)
}
