package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The Zstandard Seekable Format, version 0.1.0. Part of the on-disk format.
const (
	skippableMagic = 0x184D2A5E
	seekableMagic  = 0x8F92EAB1
	tableFooter    = 9 // number of frames, descriptor, magic
	tableEntry     = 8 // compressed size, decompressed size
	frameHeader    = 8 // magic, size of the skippable frame
)

// maxBundle is the most bytes that a bundle can have.
const maxBundle = 256 * (prefix + MaxRecord)

// maxBundles is the most bundles that a segment can have: 268 million records.
const maxBundles = 1 << 20

// maxOpen is the most bytes that Open makes of a segment: four times as many as
// a segment ends after by default, and all that the queue holds. Larger ones can
// be read bundle by bundle only.
const maxOpen = 1 << 30

// MaxSealedBundle is more than any bundle has when it is compressed.
const MaxSealedBundle = maxBundle + maxBundle/128

// Coders are made on first use: they are large, and most commands need none.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBundle))
		if err != nil {
			panic(err) // the options are constants
		}
		return d
	})
)

// Seal returns the sealed form of the frames of a segment whose first record
// is first. The frames must be whole and valid, without a reserve.
func Seal(frames []byte, first int64) ([]byte, error) {
	var out, table []byte
	start, end := 0, bundleEnd(first)
	cut := func(at int) {
		before := len(out)
		out = encoder().EncodeAll(frames[start:at], out)
		table = binary.LittleEndian.AppendUint32(table, uint32(len(out)-before))
		table = binary.LittleEndian.AppendUint32(table, uint32(at-start))
		start = at
	}
	offset := 0
	valid, next, err := Scan(frames, first, func(seq int64, record []byte) error {
		if seq == end {
			cut(offset)
			end += 256
		}
		offset += prefix + len(record)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case valid != len(frames) || next == first:
		return nil, fmt.Errorf("segment %d: %d bytes are not whole frames", first, len(frames)-valid)
	}
	cut(len(frames))
	return appendTable(out, table), nil
}

func appendTable(out, table []byte) []byte {
	le := binary.LittleEndian
	out = le.AppendUint32(out, skippableMagic)
	out = le.AppendUint32(out, uint32(len(table)+tableFooter))
	out = append(out, table...)
	out = le.AppendUint32(out, uint32(len(table)/tableEntry))
	out = append(out, 0) // descriptor: no checksums, zstd frames have their own
	return le.AppendUint32(out, seekableMagic)
}

// Table is the seek table of a sealed segment: where each bundle lies.
type Table struct {
	first   int64
	offsets []int64 // of frame i, and one more for the end
	sizes   []int64 // decompressed
}

// ErrSealed means that the bytes are not a sealed segment.
var ErrSealed = errors.New("not a sealed segment")

// ReadTable reads the seek table at the end of a sealed segment of the given
// size, through a reader of its bytes. It takes at most 8 MiB of memory whatever
// the file claims, and no bundle that is larger than a bundle can be.
func ReadTable(first, size int64, readAt func(p []byte, off int64) error) (*Table, error) {
	footer := make([]byte, tableFooter)
	if size < frameHeader+tableFooter {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrSealed, size)
	}
	if err := readAt(footer, size-tableFooter); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	n := int64(le.Uint32(footer))
	start := size - tableFooter - n*tableEntry - frameHeader
	if le.Uint32(footer[5:]) != seekableMagic || footer[4] != 0 || start < 0 || n == 0 {
		return nil, fmt.Errorf("%w: its seek table is damaged", ErrSealed)
	}
	if n > maxBundles {
		return nil, fmt.Errorf("%w: its seek table has %d entries, which is more than a segment can have", ErrSealed, n)
	}
	b := make([]byte, frameHeader+n*tableEntry)
	if err := readAt(b, start); err != nil {
		return nil, err
	}
	if le.Uint32(b) != skippableMagic || int64(le.Uint32(b[4:])) != n*tableEntry+tableFooter {
		return nil, fmt.Errorf("%w: its seek table is damaged", ErrSealed)
	}
	t := &Table{first: first, offsets: make([]int64, 1, n+1), sizes: make([]int64, 0, n)}
	at := int64(0)
	for e := b[frameHeader:]; len(e) > 0; e = e[tableEntry:] {
		size, raw := int64(le.Uint32(e)), int64(le.Uint32(e[4:]))
		if size > MaxSealedBundle || raw > maxBundle {
			return nil, fmt.Errorf("%w: bundle %d claims %d bytes, and %d when it is decompressed, which is more than a bundle can have", ErrSealed, len(t.sizes), size, raw)
		}
		at += size
		t.offsets = append(t.offsets, at)
		t.sizes = append(t.sizes, raw)
	}
	if at != start {
		return nil, fmt.Errorf("%w: its seek table covers %d of %d bytes", ErrSealed, at, start)
	}
	return t, nil
}

// Bundles is the number of bundles, whole or in part, in the segment.
func (t *Table) Bundles() int { return len(t.sizes) }

// Bundle returns where the i-th bundle of the segment lies, and the index of
// its first record.
func (t *Table) Bundle(i int) (off, size, first int64) {
	first = t.first
	if i > 0 {
		first = bundleEnd(t.first) + int64(i-1)*256
	}
	return t.offsets[i], t.offsets[i+1] - t.offsets[i], first
}

// Find returns the number of the bundle that holds record seq, if the segment
// reaches so far.
func (t *Table) Find(seq int64) (int, bool) {
	i := seq/256 - t.first/256
	return int(i), seq >= t.first && i < int64(t.Bundles())
}

// Unseal decompresses the i-th bundle and checks its size.
func (t *Table) Unseal(i int, compressed []byte) ([]byte, error) {
	return t.AppendBundle(nil, i, compressed)
}

// AppendBundle appends the decompressed i-th bundle to dst and checks its size.
func (t *Table) AppendBundle(dst []byte, i int, compressed []byte) ([]byte, error) {
	size := t.sizes[i]
	if size > maxBundle {
		return dst, fmt.Errorf("%w: bundle %d claims %d bytes", ErrSealed, i, size)
	}
	before := len(dst)
	dst, err := decoder().DecodeAll(compressed, slices.Grow(dst, int(size)))
	if err != nil {
		return dst[:before], fmt.Errorf("%w: bundle %d: %w", ErrSealed, i, err)
	}
	if got := int64(len(dst) - before); got != size {
		return dst[:before], fmt.Errorf("%w: bundle %d has %d bytes, not %d", ErrSealed, i, got, size)
	}
	return dst, nil
}

// Open decompresses a whole sealed segment that is in memory, unless it claims
// more than 1 GiB of frames: few bytes can be made to claim any size.
func Open(first int64, sealed []byte) ([]byte, error) {
	t, err := ReadTable(first, int64(len(sealed)), func(p []byte, off int64) error {
		copy(p, sealed[off:])
		return nil
	})
	if err != nil {
		return nil, err
	}
	total := int64(0)
	for _, n := range t.sizes {
		total += n
	}
	if total > maxOpen {
		return nil, fmt.Errorf("%w: it claims %d bytes of frames, more than the %d that are decompressed at a time", ErrSealed, total, maxOpen)
	}
	var frames []byte
	for i := range t.Bundles() {
		off, size, _ := t.Bundle(i)
		bundle, err := t.Unseal(i, sealed[off:off+size])
		if err != nil {
			return frames, err
		}
		frames = append(frames, bundle...)
	}
	return frames, nil
}
