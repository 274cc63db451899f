package quarter_test

import (
	"io/fs"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// disk is the system's file system, which is not waited for: no power fails in
// these tests, and the quarter has tens of thousands of syncs.
type disk struct{ durable.OS }

type file struct{ durable.File }

func (disk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := durable.OS{}.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (file) Sync() error          { return nil }
func (disk) SyncDir(string) error { return nil }
