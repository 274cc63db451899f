package personal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Endings of names. Part of the on-disk format; do not change.
const (
	keySuffix       = ".key"
	ageSuffix       = ".age"
	subjectsSuffix  = ".subjects"
	destroyedSuffix = ".destroyed"
	oldSuffix       = ".old" // second name of a file that was replaced, until it is overwritten
)

// shred overwrites a file and removes it. The removal is durable only after
// SyncDir. Overwriting is an attempt: a file system that copies on write, and a
// drive that levels wear, keep the old blocks until they reuse them. A file that
// is not there is no error.
func shred(fsys durable.FS, name string) error {
	err := overwrite(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// A file that cannot be written can perhaps be removed.
	if rerr := fsys.Remove(name); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return fmt.Errorf("destroying %s: %w", name, err)
	}
	return nil
}

func overwrite(fsys durable.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // Sync tells
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, min(info.Size(), 64<<10))
	for off := int64(0); off < info.Size(); off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-off)], off); err != nil {
			return err
		}
	}
	return f.Sync()
}

// sweep finishes what a crash interrupted: files that were being written and
// those that were replaced hold copies of keys, and keys whose destruction had
// begun are destroyed. The caller holds the directory's lock.
func sweep(fsys durable.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	changed := false
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		base := strings.TrimSuffix(strings.TrimSuffix(e.Name(), durable.TempSuffix), durable.TempSuffix)
		base = strings.TrimSuffix(base, oldSuffix)
		if base != e.Name() {
			changed = true
			if err := clearCopy(fsys, name, filepath.Join(dir, base)); err != nil {
				return err
			}
			continue
		}
		if id, ok := strings.CutSuffix(e.Name(), destroyedSuffix); ok {
			n, err := shredKeys(fsys, dir, id)
			if err != nil {
				return err
			}
			changed = changed || n > 0
		}
	}
	if !changed {
		return nil
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// clearCopy removes a second file, or a second name, of a file.
func clearCopy(fsys durable.FS, name, original string) error {
	present, same, err := sameFile(fsys, name, original)
	if err != nil {
		return fmt.Errorf("comparing %s and %s: %w", name, original, err)
	}
	if !present {
		return nil
	}
	if !same {
		// The rename that made it a copy must not be undone by a power cut after
		// the copy is overwritten.
		if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
			return fmt.Errorf("syncing directory of %s: %w", name, err)
		}
		return shred(fsys, name)
	}
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

// sameFile reports whether a name is there, and whether it is of the same file
// as another one.
func sameFile(fsys durable.FS, name, other string) (present, same bool, err error) {
	info, err := stat(fsys, name)
	if err != nil || info == nil {
		return false, false, err
	}
	otherInfo, err := stat(fsys, other)
	if err != nil || otherInfo == nil {
		return true, false, err
	}
	return true, os.SameFile(info, otherInfo), nil
}

// stat returns nil for a file that is not there.
func stat(fsys durable.FS, name string) (fs.FileInfo, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // the absence of a file is an answer
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was not written
	return f.Stat()
}

// destroy destroys the keys of a name, in a way that a crash at any moment
// leaves either the keys or the sign that they are to be destroyed, which the
// next sweep does. It returns how many files with keys there were.
func destroy(fsys durable.FS, dir, id string, now time.Time) (int, error) {
	sign := filepath.Join(dir, id+destroyedSuffix)
	text := now.UTC().Format(time.RFC3339) + "\n"
	err := durable.NewFile(fsys, sign, []byte(text))
	if errors.Is(err, fs.ErrExist) {
		err = fsys.SyncDir(dir) // it is of an earlier try, which may have failed here
	}
	if err != nil {
		return 0, fmt.Errorf("marking %s: %w", sign, err)
	}
	n, err := shredKeys(fsys, dir, id)
	if err != nil {
		return n, err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return n, fmt.Errorf("syncing %s: %w", dir, err)
	}
	return n, nil
}

// shredKeys destroys the files of a name that hold keys.
func shredKeys(fsys durable.FS, dir, id string) (n int, err error) {
	for _, suffix := range [...]string{keySuffix, ageSuffix, subjectsSuffix} {
		name := filepath.Join(dir, id+suffix)
		info, serr := stat(fsys, name)
		if serr != nil {
			err = errors.Join(err, serr)
		}
		if info == nil {
			continue
		}
		n++
		err = errors.Join(err, shred(fsys, name))
	}
	return n, err
}
