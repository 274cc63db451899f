package pack

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
)

// A pack is a ZIP file in one form only (APPNOTE 6.3, without ZIP64):
//
//	local header, name, data     of each file, in the order of the directory
//	directory entry, name        of each file
//	end of the directory
//
// with no byte between, before or behind. There are no extra fields, comments,
// attributes, flags or data descriptors, and all times are 1980-01-01 00:00. So
// the entries of the directory decide every other byte of the headers, which a
// verifier makes again and compares. Part of the format; do not change.
const (
	localMagic = 0x04034b50
	entryMagic = 0x02014b50
	endMagic   = 0x06054b50
	localSize  = 30
	entrySize  = 46
	endSize    = 22

	zipVersion = 20     // 2.0: deflate
	zipDate    = 0x0021 // 1980-01-01
	deflated   = 8
)

// maxPack is the most bytes that a pack can have, and a file in it.
const maxPack = math.MaxUint32 - 1

// Entry is a file in a pack.
type Entry struct {
	Name   string
	Packed int64 // bytes in the pack, deflated
	Size   int64 // bytes of the file
	CRC    uint32

	offset int64 // of its local header
}

func (e *Entry) head(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, zipVersion)
	b = le.AppendUint16(b, 0) // flags
	b = le.AppendUint16(b, deflated)
	b = le.AppendUint16(b, 0) // time
	b = le.AppendUint16(b, zipDate)
	b = le.AppendUint32(b, e.CRC)
	b = le.AppendUint32(b, uint32(e.Packed))
	b = le.AppendUint32(b, uint32(e.Size))
	b = le.AppendUint16(b, uint16(len(e.Name)))
	return le.AppendUint16(b, 0) // extra
}

func (e *Entry) local() []byte {
	b := e.head(binary.LittleEndian.AppendUint32(nil, localMagic))
	return append(b, e.Name...)
}

func (e *Entry) directory(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, entryMagic)
	b = le.AppendUint16(b, zipVersion) // made by
	b = e.head(b)
	b = append(b, make([]byte, 10)...) // comment, disk, attributes
	b = le.AppendUint32(b, uint32(e.offset))
	return append(b, e.Name...)
}

// Writer writes the container of a pack. Files are given in their order.
type Writer struct {
	w       io.Writer
	at      int64
	entries []Entry
}

// NewWriter returns a writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// ErrLarge means that a pack would have more bytes than a ZIP file can have.
var ErrLarge = errors.New("the pack would have more than 4 GiB: choose a shorter period, or leave out the raw records")

// Add copies a file that was deflated into the pack.
func (w *Writer) Add(e Entry, deflated io.Reader) error {
	if err := CheckName(e.Name); err != nil {
		return err
	}
	e.offset = w.at
	head := e.local()
	if e.Size > maxPack || w.at+int64(len(head))+e.Packed > maxPack {
		return ErrLarge
	}
	if _, err := w.w.Write(head); err != nil {
		return err
	}
	n, err := io.Copy(w.w, deflated)
	if err != nil {
		return err
	}
	if n != e.Packed {
		return fmt.Errorf("%s: %d bytes were to be copied, but there are %d", e.Name, e.Packed, n)
	}
	w.at += int64(len(head)) + n
	w.entries = append(w.entries, e)
	return nil
}

// Close writes the directory.
func (w *Writer) Close() error {
	b := ending(w.entries, w.at)
	if w.at+int64(len(b)) > maxPack || len(w.entries) >= math.MaxUint16 {
		return ErrLarge
	}
	_, err := w.w.Write(b)
	return err
}

// ending returns the directory and its end.
func ending(entries []Entry, at int64) (b []byte) {
	for i := range entries {
		b = entries[i].directory(b)
	}
	size := len(b)
	le := binary.LittleEndian
	b = le.AppendUint32(b, endMagic)
	b = le.AppendUint32(b, 0) // disks
	b = le.AppendUint16(b, uint16(len(entries)))
	b = le.AppendUint16(b, uint16(len(entries)))
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, uint32(at))
	return le.AppendUint16(b, 0) // comment
}

// ErrContainer means that a file is not a ZIP file in the one form of packs.
var ErrContainer = errors.New("it is not in the form of an evidence pack")

// Archive is a pack whose container was checked.
type Archive struct {
	r       io.ReaderAt
	Entries []Entry
	byName  map[string]*Entry
}

// OpenArchive checks every byte of the container but those of the files in it.
func OpenArchive(r io.ReaderAt, size int64) (*Archive, error) {
	dir, count, at, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	a := &Archive{r: r, byName: map[string]*Entry{}}
	if a.Entries, err = parseDirectory(dir, count); err != nil {
		return nil, err
	}
	offset := int64(0)
	for i := range a.Entries {
		e := &a.Entries[i]
		e.offset = offset
		want := e.local()
		got := make([]byte, len(want))
		if _, err := r.ReadAt(got, offset); err != nil || !bytes.Equal(got, want) {
			return nil, fmt.Errorf("%w: the local header of %s is not the one that the directory gives", ErrContainer, e.Name)
		}
		if offset += int64(len(want)) + e.Packed; offset > at {
			return nil, fmt.Errorf("%w: %s reaches into the directory", ErrContainer, e.Name)
		}
	}
	if offset != at || !bytes.Equal(ending(a.Entries, at), dir) {
		return nil, fmt.Errorf("%w: there are bytes that belong to no file, or its directory has members that a pack does not have", ErrContainer)
	}
	return a, a.names()
}

// findDirectory reads the directory with its end.
func findDirectory(r io.ReaderAt, size int64) (dir []byte, count int, at int64, err error) {
	end := make([]byte, endSize)
	if size < endSize || size > maxPack {
		return nil, 0, 0, fmt.Errorf("%w: it has %d bytes", ErrContainer, size)
	}
	if _, err := r.ReadAt(end, size-endSize); err != nil {
		return nil, 0, 0, fmt.Errorf("reading the pack: %w", err)
	}
	le := binary.LittleEndian
	count, length, at := int(le.Uint16(end[10:])), int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	if le.Uint32(end) != endMagic || at+length+endSize != size || length < int64(count)*entrySize || length > int64(count)*(entrySize+256) {
		return nil, 0, 0, fmt.Errorf("%w: it does not end with the end of its directory: it is cut off, or something follows it", ErrContainer)
	}
	dir = make([]byte, length+endSize)
	if _, err := r.ReadAt(dir, at); err != nil {
		return nil, 0, 0, fmt.Errorf("reading the pack: %w", err)
	}
	return dir, count, at, nil
}

func parseDirectory(b []byte, count int) (list []Entry, err error) {
	le := binary.LittleEndian
	for range count {
		if len(b) < entrySize || le.Uint32(b) != entryMagic {
			return nil, fmt.Errorf("%w: its directory is damaged", ErrContainer)
		}
		e := Entry{CRC: le.Uint32(b[16:]), Packed: int64(le.Uint32(b[20:])), Size: int64(le.Uint32(b[24:]))}
		n := int(le.Uint16(b[28:]))
		if len(b) < entrySize+n {
			return nil, fmt.Errorf("%w: its directory is damaged", ErrContainer)
		}
		e.Name = string(b[entrySize : entrySize+n])
		list, b = append(list, e), b[entrySize+n:]
	}
	return list, nil
}

// names checks the names of the files: their form, their order, and that no two
// are one on a system that does not tell capitals from small letters, or one the
// folder of the other.
func (a *Archive) names() error {
	n := len(a.Entries)
	if n < 2 || a.Entries[n-2].Name != ManifestFile || a.Entries[n-1].Name != EnvelopeFile {
		return fmt.Errorf("%w: its last files are not %s and %s", ErrContainer, ManifestFile, EnvelopeFile)
	}
	folded := map[string]string{}
	for i := range a.Entries {
		e := &a.Entries[i]
		if err := CheckName(e.Name); err != nil {
			return fmt.Errorf("%w: %w", ErrContainer, err)
		}
		if i > 0 && i < n-2 && a.Entries[i-1].Name >= e.Name {
			return fmt.Errorf("%w: %s is there twice, or not in the order of names", ErrContainer, e.Name)
		}
		lower := strings.ToLower(e.Name)
		if other, ok := folded[lower]; ok {
			return fmt.Errorf("%w: %s and %s differ in capitals only", ErrContainer, other, e.Name)
		}
		folded[lower] = e.Name
		a.byName[e.Name] = e
	}
	for lower, name := range folded {
		for i := strings.LastIndexByte(lower, '/'); i > 0; i = strings.LastIndexByte(lower[:i], '/') {
			if other, ok := folded[lower[:i]]; ok {
				return fmt.Errorf("%w: %s is a file, and the folder of %s", ErrContainer, other, name)
			}
		}
	}
	return nil
}

// Entry returns a file, or nil if there is none.
func (a *Archive) Entry(name string) *Entry { return a.byName[name] }

// Open returns a reader of a file. It gives an error if the file is not of the
// size and CRC that the directory says, or if something follows it in its
// place; more than Size bytes are never decompressed.
func (a *Archive) Open(e *Entry) io.Reader {
	section := &counted{r: io.NewSectionReader(a.r, e.offset+localSize+int64(len(e.Name)), e.Packed)}
	return &file{e: e, packed: section, r: flate.NewReader(section)}
}

// counted is a reader byte by byte, so that flate takes no more than it needs.
type counted struct {
	r   io.Reader
	all []byte
	buf []byte // what is left of all
	n   int64
}

func (c *counted) fill() error {
	if len(c.buf) > 0 {
		return nil
	}
	if c.all == nil {
		c.all = make([]byte, 32<<10)
	}
	n, err := c.r.Read(c.all)
	c.buf = c.all[:n]
	if n > 0 {
		return nil
	}
	return err
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.fill(); err != nil {
		return 0, err
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	c.n += int64(n)
	return n, nil
}

func (c *counted) ReadByte() (byte, error) {
	if err := c.fill(); err != nil {
		return 0, err
	}
	b := c.buf[0]
	c.buf = c.buf[1:]
	c.n++
	return b, nil
}

// file is a file that is being read.
type file struct {
	e      *Entry
	packed *counted
	r      io.Reader
	n      int64
	crc    uint32
}

func (f *file) Read(p []byte) (int, error) {
	if left := f.e.Size - f.n; int64(len(p)) > left+1 {
		p = p[:left+1]
	}
	n, err := f.r.Read(p)
	f.n += int64(n)
	f.crc = crc32.Update(f.crc, crc32.IEEETable, p[:n])
	switch {
	case f.n > f.e.Size:
		return 0, fmt.Errorf("%w: %s is longer than the directory says", ErrContainer, f.e.Name)
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, fmt.Errorf("%w: %s cannot be decompressed: %w", ErrContainer, f.e.Name, err)
	case f.n != f.e.Size || f.crc != f.e.CRC || f.packed.n != f.e.Packed:
		return n, fmt.Errorf("%w: %s is not what the directory says", ErrContainer, f.e.Name)
	}
	return n, io.EOF
}

// Bytes returns the bytes of a file of at most limit bytes.
func (a *Archive) Bytes(name string, limit int64) ([]byte, error) {
	e := a.Entry(name)
	if e == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if e.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, which is more than the %d that it can have", name, e.Size, limit)
	}
	return io.ReadAll(a.Open(e))
}
