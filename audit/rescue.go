package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// rescue writes the records of the open segment back under its name, if that
// does not lead to them any more: then they are in a file without a name, which
// is gone when it is closed. They are compared with the tree first. What took the
// name is kept beside it, as evidence, unless it holds the same records.
func (l *Log) rescue() error {
	if err := l.moved(l.cfg.Dir, l.lock.Stat); err != nil { // nothing is written to another directory
		return err
	}
	name := l.seg.Name()
	if err := l.moved(name, l.seg.Stat); !errors.Is(err, ErrReplaced) {
		return nil // it is there, or cannot be told: it is read back by its name
	}
	if l.readBack() == nil {
		return nil // a copy of it, which is as good
	}
	frames, err := l.readSound(l.seg)
	if err != nil {
		return fmt.Errorf("reading the open segment, whose name is gone: %w", err)
	}
	if err := durable.MakeDir(l.cfg.FS, filepath.Dir(name)); err != nil {
		return err
	}
	aside, err := l.setAside(name)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(l.cfg.FS, name, frames); err != nil {
		return fmt.Errorf("writing the open segment back: %w", err)
	}
	l.cfg.Logger.Error("the open segment of the audit log was removed or replaced; its records were written back", "segment", name, "set_aside", aside)
	return nil
}

// setAside renames what took the name of the open segment to a name that is not
// taken, and that a verification reports. It returns "" if there is nothing.
func (l *Log) setAside(name string) (aside string, err error) {
	aside = name + segment.ReplacedSuffix
	for i := 1; ; i++ {
		if _, err := l.cfg.FS.Stat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", fmt.Errorf("setting %s aside: %w", name, err)
		}
		aside = name + segment.ReplacedSuffix + "-" + strconv.Itoa(i)
	}
	err = l.cfg.FS.Rename(name, aside)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("setting %s aside: %w", name, err)
	}
	return aside, l.cfg.FS.SyncDir(filepath.Dir(name))
}
