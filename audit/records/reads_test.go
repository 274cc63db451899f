package records_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// counting is a file system that counts the bytes that are read.
type counting struct {
	fstest.MapFS
	read atomic.Int64
}

func (c *counting) Open(name string) (fs.File, error) {
	f, err := c.MapFS.Open(name)
	if err != nil {
		return nil, err
	}
	if at, ok := f.(io.ReaderAt); ok {
		return &countingFile{f, at, c}, nil
	}
	return f, nil
}

type countingFile struct {
	fs.File
	at io.ReaderAt
	fs *counting
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.at.ReadAt(p, off)
	f.fs.read.Add(int64(n))
	return n, err
}

// take returns the bytes read since the last call.
func (c *counting) take() int64 { return c.read.Swap(0) }

const bigRecords = 40_000

// big is a log with one large segment that is not sealed, and its size.
func big(t *testing.T) (*counting, records.Dir, int64) {
	t.Helper()
	b := frames(t, 0, bigRecords)
	c := &counting{MapFS: fstest.MapFS{records.Segment{}.Path(): {Data: append(b, make([]byte, 1<<20)...)}}}
	return c, records.Dir{FS: c, Index: new(records.Index)}, int64(len(b))
}

// chunkBytes is more than what is read at a time.
const chunkBytes = 300 << 10

func TestOpenSegmentIsReadOnceNotForEachRecord(t *testing.T) {
	c, d, size := big(t)
	const last = bigRecords - 1
	if _, err := d.Record(last); err != nil {
		t.Fatal(err)
	}
	if n := c.take(); n > size+chunkBytes {
		t.Errorf("the first look-up read %d of %d bytes", n, size)
	}
	for _, seq := range []int64{last, 0, 20_000, 255, 256, 39_999} {
		r, err := d.Record(seq)
		if err != nil || !bytes.Contains(r, body(seq)) {
			t.Fatalf("record %d: %s, %v", seq, r, err)
		}
		if n := c.take(); n > 2*chunkBytes {
			t.Errorf("record %d: %d bytes were read", seq, n)
		}
	}
	if err := d.Newest(func(int64, []byte) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if n := c.take(); n > 3*chunkBytes {
		t.Errorf("the newest record: %d bytes were read", n)
	}
	if _, err := d.Bundle(t.Context(), 100, 256); err != nil {
		t.Fatal(err)
	}
	if n := c.take(); n > 2*chunkBytes {
		t.Errorf("a bundle: %d bytes were read", n)
	}
}

// TestIndexOfAnotherFileIsNotBelieved changes the segment under its index, as
// happens when a log is opened again after a failure.
func TestIndexOfAnotherFileIsNotBelieved(t *testing.T) {
	c, d, _ := big(t)
	if _, err := d.Record(bigRecords - 1); err != nil {
		t.Fatal(err)
	}
	var other []byte
	for seq := range int64(1000) {
		b, err := segment.AppendFrame(nil, seq, 0, []byte(`"kind":"other","text":"`+strconv.Itoa(int(seq*seq))+`"`))
		if err != nil {
			t.Fatal(err)
		}
		other = append(other, b...)
	}
	c.MapFS[records.Segment{}.Path()] = &fstest.MapFile{Data: other}
	for _, seq := range []int64{999, 0, 256, 300, 513} {
		r, err := d.Record(seq)
		if err != nil || !bytes.Contains(r, []byte(strconv.Itoa(int(seq*seq)))) {
			t.Errorf("record %d: %s, %v", seq, r, err)
		}
	}
	if _, err := d.Record(1000); !errors.Is(err, records.ErrNotFound) {
		t.Errorf("record 1000: %v", err)
	}
}

func TestSearchFindsWhereToBegin(t *testing.T) {
	d := mixed(t)
	for want := range int64(1000) {
		calls := 0
		got, err := d.Search(t.Context(), func(record []byte) (bool, error) {
			calls++
			return seqOf(t, record) < want, nil
		})
		if err != nil || got > want || want-got > 256 {
			t.Errorf("before %d: %d, %v", want, got, err)
		}
		if calls > 8 {
			t.Errorf("before %d: %d records were looked at", want, calls)
		}
	}
}

func TestSearchReturnsTheCallersError(t *testing.T) {
	bad := errors.New("bad")
	if _, err := mixed(t).Search(t.Context(), func([]byte) (bool, error) { return false, bad }); !errors.Is(err, bad) {
		t.Error(err)
	}
}

func seqOf(t *testing.T, record []byte) int64 {
	t.Helper()
	rest := bytes.TrimPrefix(record, []byte(`{"v":1,"seq":`))
	digits, _, _ := bytes.Cut(rest, []byte{','})
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRangeEndsBeforeTo(t *testing.T) {
	d := mixed(t)
	for _, to := range []int64{0, 1, 255, 256, 299, 300, 301, 310, 700, 701, 999, 1000, 2000} {
		for _, from := range []int64{0, 256, 299, 300, 705} {
			want := from
			next, err := d.Range(t.Context(), from, to, func(seq int64, _ []byte) error {
				if seq != want {
					t.Fatalf("%d to %d: record %d, want %d", from, to, seq, want)
				}
				want++
				return nil
			})
			if end := max(from, min(to, 1000)); err != nil || next != end || want != end {
				t.Errorf("%d to %d: %d, %v", from, to, next, err)
			}
		}
	}
}

func TestRangeEndsWithItsContext(t *testing.T) {
	for name, d := range map[string]records.Dir{"sealed and open": mixed(t), "open": {FS: mixed(t).FS}} {
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		_, err := d.Range(ctx, 0, 1000, func(int64, []byte) error {
			if seen++; seen == 10 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || seen > 300 {
			t.Errorf("%s: %d records, %v", name, seen, err)
		}
	}
}

// TestOldestRecordsMayBeGone is a log whose first segments were removed when
// their retention ended.
func TestOldestRecordsMayBeGone(t *testing.T) {
	d := mixed(t)
	files := d.FS.(fstest.MapFS) //nolint:forcetypeassert // mixed made it
	for _, s := range []records.Segment{{First: 0, Sealed: true}, {First: 300, Sealed: true}} {
		delete(files, s.Path())
	}
	if first, err := d.First(); err != nil || first != 310 {
		t.Errorf("it begins with %d, %v", first, err)
	}
	for _, from := range []int64{0, 305, 310} {
		first := int64(-1)
		next, err := d.Range(t.Context(), from, 400, func(seq int64, _ []byte) error {
			if first < 0 {
				first = seq
			}
			return nil
		})
		if err != nil || first != 310 || next != 400 {
			t.Errorf("from %d: first %d, next %d, %v", from, first, next, err)
		}
	}
	if _, err := d.Record(309); !errors.Is(err, records.ErrNotFound) {
		t.Errorf("record 309: %v", err)
	}
	if _, err := d.Bundle(t.Context(), 1, 256); !errors.Is(err, records.ErrNotFound) {
		t.Errorf("a bundle whose beginning is gone: %v", err)
	}
	if _, err := d.Bundle(t.Context(), 2, 188); err != nil {
		t.Errorf("a bundle that is there: %v", err)
	}
}

// sealing is a file system in which an open segment is sealed between its
// listing and its opening.
type sealing struct {
	fstest.MapFS
	sealed []byte
}

func (s sealing) Open(name string) (fs.File, error) {
	open, done := records.Segment{First: 0}, records.Segment{First: 0, Sealed: true}
	if name == open.Path() {
		s.MapFS[done.Path()] = &fstest.MapFile{Data: s.sealed}
		delete(s.MapFS, open.Path())
	}
	return s.MapFS.Open(name)
}

func TestSegmentMayBeSealedWhileItIsRead(t *testing.T) {
	b := frames(t, 0, 600)
	sealed, err := segment.Seal(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(records.Dir) (int64, error){
		"range":  func(d records.Dir) (int64, error) { return d.Scan(0, func(int64, []byte) error { return nil }) },
		"record": func(d records.Dir) (int64, error) { r, err := d.Record(599); return seqOf(t, r) + 1, err },
		"newest": func(d records.Dir) (n int64, err error) {
			err = d.Newest(func(seq int64, _ []byte) bool { n++; return true })
			return n, err
		},
		"search": func(d records.Dir) (int64, error) {
			n, err := d.Search(t.Context(), func(r []byte) (bool, error) { return seqOf(t, r) < 512, nil })
			return n + 344, err // it says 256
		},
	} {
		d := records.Dir{FS: sealing{fstest.MapFS{records.Segment{}.Path(): {Data: b}}, sealed}}
		if n, err := read(d); err != nil || n != 600 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

// BenchmarkRecordOfALargeOpenSegment looks up records of a segment of 64 MiB
// that is not sealed, with an index as an open log has it and without.
func BenchmarkRecordOfALargeOpenSegment(b *testing.B) {
	var data []byte
	text := `"time":"2026-01-01T00:00:00.000000000Z","kind":"request","path":"` + strings.Repeat("x", 500) + `"`
	seq := int64(0)
	for ; len(data) < 64<<20; seq++ {
		var err error
		if data, err = segment.AppendFrame(data, seq, 0, []byte(text)); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	name := filepath.Join(dir, filepath.FromSlash(records.Segment{}.Path()))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		b.Fatal(err)
	}
	for name, index := range map[string]*records.Index{"index": new(records.Index), "none": nil} {
		b.Run(name, func(b *testing.B) {
			d := records.Dir{FS: os.DirFS(dir), Index: index}
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				if _, err := d.Record(seq - 1 - i*7919%seq); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("scan", func(b *testing.B) {
		d := records.Dir{FS: os.DirFS(dir)}
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := d.Scan(0, func(int64, []byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
