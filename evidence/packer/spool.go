package packer

import (
	"bufio"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// level is that of the compression: with the version of Go, it decides the bytes
// of a pack.
const level = flate.DefaultCompression

// spool keeps the files of a pack, compressed, until all are there.
type spool struct {
	dir   string
	room  *room
	files map[string]*spooled
	coder []*flate.Writer // not in use
}

// spooled is a file of a pack.
type spooled struct {
	spool *spool
	name  string
	path  string
	file  *os.File
	out   *bufio.Writer
	coder *flate.Writer
	sum   hash.Hash
	entry pack.Entry
}

func newSpool(temp string, r *room) (*spool, error) {
	dir, err := os.MkdirTemp(temp, "soc2-pack-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for temporary files: %w", err)
	}
	return &spool{dir: dir, room: r, files: map[string]*spooled{}}, nil
}

func (s *spool) remove() {
	for _, f := range s.files {
		if f.file != nil {
			_ = f.file.Close()
		}
	}
	_ = os.RemoveAll(s.dir)
}

// create begins a file of the pack.
func (s *spool) create(name string) (*spooled, error) {
	if err := pack.CheckName(name); err != nil {
		return nil, err
	}
	if s.files[name] != nil {
		return nil, fmt.Errorf("the pack has two files %s", name)
	}
	f := &spooled{spool: s, name: name, path: filepath.Join(s.dir, strconv.Itoa(len(s.files))), sum: sha256.New()}
	var err error
	if f.file, err = os.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	s.files[name] = f
	f.out = bufio.NewWriterSize(within{s.room, f.file}, 32<<10)
	if n := len(s.coder); n > 0 {
		f.coder, s.coder = s.coder[n-1], s.coder[:n-1]
		f.coder.Reset(f.out)
	} else if f.coder, err = flate.NewWriter(f.out, level); err != nil {
		return nil, err
	}
	f.entry.Name = name
	return f, nil
}

// Write implements io.Writer.
func (f *spooled) Write(b []byte) (int, error) {
	f.sum.Write(b)
	f.entry.CRC = crc32.Update(f.entry.CRC, crc32.IEEETable, b)
	f.entry.Size += int64(len(b))
	return f.coder.Write(b)
}

// Close ends the file.
func (f *spooled) Close() error {
	err := f.coder.Close()
	f.spool.coder = append(f.spool.coder, f.coder)
	f.coder = nil
	err = errors.Join(err, f.out.Flush())
	info, serr := f.file.Stat()
	if err = errors.Join(err, serr, f.file.Close()); err != nil {
		return fmt.Errorf("writing %s to a temporary file: %w", f.name, err)
	}
	f.file, f.out = nil, nil
	f.entry.Packed = info.Size()
	return nil
}

// digest is the SHA-256 of a file that was closed, in hex.
func (s *spool) digest(name string) string {
	f := s.files[name]
	if f == nil {
		return ""
	}
	return hex.EncodeToString(f.sum.Sum(nil))
}

// list returns the entries of the files in the order of their names.
func (s *spool) list() []pack.FileEntry {
	list := []pack.FileEntry{}
	for name, f := range s.files {
		list = append(list, pack.FileEntry{Path: name, Size: f.entry.Size, SHA256: s.digest(name), Media: pack.Media(name)})
	}
	slices.SortFunc(list, func(a, b pack.FileEntry) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// copy copies a file into the container.
func (s *spool) copy(out *pack.Writer, name string) error {
	f := s.files[name]
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	return out.Add(f.entry, in)
}

var _ io.WriteCloser = (*spooled)(nil)
