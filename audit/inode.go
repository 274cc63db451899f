package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// ErrReplaced means that a file of the open log, or its directory, was removed
// or that another has taken its name. Writes to an open file succeed then, but
// nobody will ever read them.
var ErrReplaced = errors.New("removed or replaced while the log was open")

// replaced reports whether the names of the log's directory, open segment and
// checkpoint still lead to what the log has open. The checkpoint is not kept
// open, so its contents are compared. It belongs to the committer.
func (l *Log) replaced() error {
	err := l.replacedFile()
	if derr := l.moved(l.cfg.Dir, l.lock.Stat); derr != nil { // last: its files went with it
		return derr
	}
	return err
}

func (l *Log) replacedFile() error {
	if err := l.moved(l.seg.Name(), l.seg.Stat); err != nil {
		return err
	}
	h := l.head.Load()
	if h == nil { // none was written yet in this process
		return nil
	}
	name := filepath.Join(l.cfg.Dir, checkpoint.File)
	b, err := durable.ReadFile(l.cfg.FS, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, durable.ErrIrregular) {
		return fmt.Errorf("reading back the checkpoint: %w", err)
	}
	if err != nil || !bytes.Equal(b, h.note) {
		return isReplaced(name)
	}
	return nil
}

// moved compares what a name leads to with an open file.
func (l *Log) moved(name string, open func() (fs.FileInfo, error)) error {
	want, err := open()
	if err != nil {
		return fmt.Errorf("looking at the open %s: %w", name, err)
	}
	got, err := l.cfg.FS.Stat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	if err != nil || !os.SameFile(want, got) {
		return isReplaced(name)
	}
	return nil
}

func isReplaced(name string) error {
	return fmt.Errorf("%s was %w: unless the log heals by itself, put it back as it was, from a copy, and open the log again", name, ErrReplaced)
}
