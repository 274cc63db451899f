package verify

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// The names of the files that a log may have besides those of the packages
// that know them.
const (
	anchorFolder = "anchors"     // checkpoints that were anchored outside
	anchorNote   = ".checkpoint" // a checkpoint
	anchorStamp  = ".tsr"        // a time stamp of it (RFC 3161)
	witnessed    = "witnessed"   // newest checkpoints with cosignatures
	reserveFile  = "reserve"     // zeros, given up when the disk is full
	tempSuffix   = ".tmp"        // not yet renamed into place
)

// maxNote is more than any checkpoint or time stamp has.
const maxNote = 1 << 20

// files looks at the name of every file. What is no regular file is never
// opened: reading a pipe or a device could wait for ever.
func (c *check) files() error {
	return fs.WalkDir(c.dir, ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != "." {
			return nil // gone since its directory was listed
		}
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type()&fs.ModeType != 0 {
			c.problem(path, "it is a %s and was not opened: a log has only regular files", kindOfFile(d.Type()))
			return nil
		}
		return c.file(path, d)
	})
}

func kindOfFile(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// file looks at the name of a regular file.
func (c *check) file(path string, d fs.DirEntry) error {
	if base, ok := strings.CutSuffix(path, tempSuffix); ok && c.belongs(base) {
		c.note("%s is left from an interrupted write and is not part of the log", path)
		return nil
	}
	if before, _, ok := strings.Cut(path, segment.ReplacedSuffix); ok && c.belongs(before) {
		c.problem(path, "it had taken the name of %s while the log was running, and was set aside; the log wrote its own records back", before)
		return nil
	}
	if !c.belongs(path) {
		c.problem(path, "this file does not belong to a log")
		return nil
	}
	switch folder, name, _ := strings.Cut(path, "/"); folder {
	case records.Folder:
		info, err := d.Info()
		if err == nil {
			c.done.OfBytes += info.Size()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	case anchorFolder:
		c.anchors = append(c.anchors, name)
	case reserveFile:
		return c.reserve()
	case "tile":
		if t, err := tree.ParsePath(path); err == nil && t.Index >= c.highest[t.Level].Index {
			c.highest[t.Level] = t
		}
	}
	return nil
}

// maxReserve is more than the reserve of any log has.
const maxReserve = 1 << 30

// reserve checks that the reserve holds nothing, a piece at a time: its size is
// whatever the log was configured to keep.
func (c *check) reserve() error {
	f, err := c.open(reserveFile)
	switch {
	case errors.Is(err, errCannotTell):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return nil // it was just given up
	case err != nil:
		c.problem(reserveFile, "%v", err)
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	buf := make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(f, buf)
		if i := segment.NotBlank(buf[:n]); i >= 0 {
			c.problem(reserveFile, "byte %d is not zero, but the file is a reserve", at+int64(i))
			return nil
		}
		if at += int64(n); at > maxReserve {
			c.problem(reserveFile, "it has more than the %d bytes that such a file can have", maxReserve)
			return nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", errCannotTell, reserveFile, err)
		}
	}
}

// belongs reports whether the name is one that the writer of a log makes.
func (c *check) belongs(path string) bool {
	if path == checkpoint.File || path == witnessed || path == rollup.File || path == reserveFile {
		return true
	}
	folder, name, _ := strings.Cut(path, "/")
	switch folder {
	case records.Folder:
		_, _, ok := segment.ParseName(name)
		return ok
	case anchorFolder:
		_, ok := anchorSize(name)
		return ok
	}
	t, err := tree.ParsePath(path)
	return err == nil && t.Level != tree.Entries && t.Width == tree.Width
}

// anchorSize returns the size of the tree that an anchor is named by.
func anchorSize(name string) (size int64, ok bool) {
	base, ok := strings.CutSuffix(name, anchorNote)
	if !ok {
		if base, ok = strings.CutSuffix(name, anchorStamp); !ok {
			return 0, false
		}
	}
	size, _, ok = segment.ParseName(base + ".log") // the same 20 digits
	return size, ok
}

// errIrregular means that a file is not one that may be opened.
var errIrregular = errors.New("it is not a regular file and was not opened")

// open opens a file of the log, unless it is something that could block.
func (c *check) open(path string) (fs.File, error) {
	info, err := fs.Lstat(c.dir, path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, errIrregular
	}
	if err != nil {
		return nil, c.reading(path, err)
	}
	f, err := c.dir.Open(path)
	if err != nil {
		return nil, c.reading(path, err)
	}
	return f, nil
}

// reading tells errors of the file system, after which nothing can be said of
// the log, from a file that is not there.
func (c *check) reading(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", errCannotTell, path, err)
}

// errCannotTell means that the file system failed.
var errCannotTell = errors.New("a file cannot be read")

// read reads a small file.
func (c *check) read(path string, limit int64) ([]byte, error) {
	return c.readInto(nil, path, limit)
}

// readTile reads the bytes of a tile, which are good until the next is read.
func (c *check) readTile(path string) ([]byte, error) {
	if c.tileBuf == nil {
		c.tileBuf = make([]byte, tree.TileBytes+1)
	}
	return c.readInto(c.tileBuf, path, tree.TileBytes)
}

// readInto reads a file of at most limit bytes into buf, if that has room.
func (c *check) readInto(buf []byte, path string, limit int64) ([]byte, error) {
	f, err := c.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var n int
	if int64(len(buf)) > limit {
		n, err = io.ReadFull(f, buf[:limit+1])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
	} else {
		buf, err = io.ReadAll(io.LimitReader(f, limit+1))
		n = len(buf)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", errCannotTell, path, err)
	case int64(n) > limit:
		return nil, fmt.Errorf("it has more than the %d bytes that such a file can have", limit)
	}
	return buf[:n], nil
}
