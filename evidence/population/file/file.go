// Package file writes the rows of a population to a file, with their provenance
// beside it.
package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Write is population.Write to a file that must not exist, with its provenance beside it.
// After a failure or a crash the file is not there: it gets its name when it is
// whole, on disk, and its provenance is.
func Write(ctx context.Context, fsys durable.FS, log *population.Log, name string, x population.Export) (p population.Provenance, err error) {
	for _, n := range []string{name, name + population.ProvenanceSuffix} {
		f, err := fsys.OpenFile(n, os.O_RDONLY, 0)
		if err == nil {
			_ = f.Close()
			err = fs.ErrExist
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("exporting to %s: %w: remove it, or write to another file", n, err)
		}
	}
	tmp := name + durable.TempSuffix
	if p, err = writeFile(ctx, fsys, log, tmp, x); err != nil {
		return p, errors.Join(err, remove(fsys, tmp))
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = durable.ReplaceFile(fsys, name+population.ProvenanceSuffix, append(text, '\n'), true)
	}
	if err != nil {
		return p, errors.Join(err, remove(fsys, tmp))
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return p, errors.Join(fmt.Errorf("exporting to %s: %w", name, err), remove(fsys, tmp), remove(fsys, name+population.ProvenanceSuffix))
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return p, fmt.Errorf("exporting to %s: syncing its directory: %w", name, err)
	}
	return p, nil
}

// remove removes what is left of an export that failed.
func remove(fsys durable.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

func writeFile(ctx context.Context, fsys durable.FS, log *population.Log, name string, x population.Export) (p population.Provenance, err error) {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, durable.FileMode)
	if err != nil {
		return p, fmt.Errorf("exporting: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if p, err = population.Write(ctx, log, &appender{file: f}, x); err != nil {
		return p, err
	}
	if err := f.Sync(); err != nil {
		return p, fmt.Errorf("syncing %s: %w", name, err)
	}
	return p, nil
}

// appender writes to the end of a file.
type appender struct {
	file durable.File
	at   int64
}

func (a *appender) Write(b []byte) (int, error) {
	n, err := a.file.WriteAt(b, a.at)
	a.at += int64(n)
	return n, err
}
