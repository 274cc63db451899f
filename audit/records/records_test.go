package records_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

func body(seq int64) []byte { return fmt.Appendf(nil, `"kind":"test","n":%d`, seq) }

func frames(t *testing.T, from, to int64) []byte {
	t.Helper()
	var b []byte
	var err error
	for seq := from; seq < to; seq++ {
		if b, err = segment.AppendFrame(b, seq, 0, body(seq)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// mixed is a log of 1,000 records whose segments do not begin where bundles
// do: two sealed ones, one that exists in both forms, and an open one with a
// reserve.
func mixed(t *testing.T) records.Dir {
	t.Helper()
	files := fstest.MapFS{}
	put := func(s records.Segment, data []byte) { files[s.Path()] = &fstest.MapFile{Data: data} }
	for _, s := range [][2]int64{{0, 300}, {300, 310}, {310, 700}} {
		sealed, err := segment.Seal(frames(t, s[0], s[1]), s[0])
		if err != nil {
			t.Fatal(err)
		}
		put(records.Segment{First: s[0], Sealed: true}, sealed)
	}
	put(records.Segment{First: 310}, frames(t, 310, 700))
	put(records.Segment{First: 700}, append(frames(t, 700, 1000), make([]byte, 500)...))
	files["segments/readme.txt"] = &fstest.MapFile{}
	return records.Dir{FS: files}
}

func TestScanReadsFromAnyRecordOn(t *testing.T) {
	d := mixed(t)
	for _, from := range []int64{0, 1, 255, 299, 300, 309, 310, 699, 700, 999, 1000} {
		want := from
		next, err := d.Scan(from, func(seq int64, record []byte) error {
			if seq != want || !bytes.Contains(record, body(seq)) {
				t.Fatalf("from %d: record %d is %s, want %d", from, seq, record, want)
			}
			want++
			return nil
		})
		if err != nil || next != 1000 || want != 1000 {
			t.Errorf("from %d: next %d, %v", from, next, err)
		}
	}
}

func TestScanStopsWithTheCallersError(t *testing.T) {
	stop := errors.New("stop")
	next, err := mixed(t).Scan(5, func(seq int64, _ []byte) error {
		if seq == 320 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || next != 321 {
		t.Errorf("%d, %v", next, err)
	}
}

func TestRecordFindsEach(t *testing.T) {
	d := mixed(t)
	for seq := range int64(1000) {
		record, err := d.Record(seq)
		if err != nil || !bytes.Contains(record, body(seq)) {
			t.Fatalf("record %d: %s, %v", seq, record, err)
		}
	}
	for _, seq := range []int64{-1, 1000, 1 << 40} {
		if _, err := d.Record(seq); !errors.Is(err, records.ErrNotFound) {
			t.Errorf("record %d: %v", seq, err)
		}
	}
}

// TestBundlesAreCutAcrossSegments compares each bundle with the frames that
// C2SP tlog-tiles says it has: a length of two bytes and the record.
func TestBundlesAreCutAcrossSegments(t *testing.T) {
	d := mixed(t)
	for index := range int64(4) {
		width := int(min(tree.Width, 1000-index*tree.Width))
		got, err := d.Bundle(t.Context(), index, width)
		if err != nil || !bytes.Equal(got, frames(t, index*tree.Width, index*tree.Width+int64(width))) {
			t.Errorf("bundle %d: %d bytes, %v", index, len(got), err)
		}
	}
	if _, err := d.Bundle(t.Context(), 3, tree.Width); !errors.Is(err, records.ErrNotFound) {
		t.Errorf("a bundle that is not full: %v", err)
	}
}

func TestNewestGoesBackwards(t *testing.T) {
	want := int64(999)
	err := mixed(t).Newest(func(seq int64, record []byte) bool {
		if seq != want || !bytes.Contains(record, body(seq)) {
			t.Fatalf("record %d is %s, want %d", seq, record, want)
		}
		want--
		return want >= 0
	})
	if err != nil || want != -1 {
		t.Errorf("%d, %v", want, err)
	}
}

func TestUnfinishedLastRecordIsTheEnd(t *testing.T) {
	whole := frames(t, 0, 10)
	d := records.Dir{FS: fstest.MapFS{"segments/" + segment.Name(0, false): &fstest.MapFile{Data: whole[:len(whole)-5]}}}
	if next, err := d.Scan(0, func(int64, []byte) error { return nil }); err != nil || next != 9 {
		t.Errorf("%d, %v", next, err)
	}
}

func TestGapBetweenSegmentsIsAnError(t *testing.T) {
	d := records.Dir{FS: fstest.MapFS{
		"segments/" + segment.Name(0, false):  &fstest.MapFile{Data: frames(t, 0, 10)},
		"segments/" + segment.Name(12, false): &fstest.MapFile{Data: frames(t, 12, 20)},
	}}
	if _, err := d.Scan(0, func(int64, []byte) error { return nil }); err == nil {
		t.Error("records 10 and 11 are not missed")
	}
}
