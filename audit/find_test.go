package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// timeline is a log made by hand: each record has the time at which its request
// began and how long it took.
type timeline struct {
	t     *testing.T
	files fstest.MapFS
	seq   int64
	first int64
	open  []byte
}

func newTimeline(t *testing.T) *timeline { return &timeline{t: t, files: fstest.MapFS{}} }

func (l *timeline) add(start time.Time, took time.Duration) audit.ID {
	l.t.Helper()
	ev := audit.Event{ID: audit.NewID(start), Start: start, Duration: took, Method: "GET", Path: "/", Status: 200, End: audit.EndComplete}
	var err error
	if l.open, err = segment.AppendFrame(l.open, l.seq, 0, ev.AppendBody(nil, "edge-1")); err != nil {
		l.t.Fatal(err)
	}
	l.seq++
	return ev.ID
}

// seal ends the segment.
func (l *timeline) seal() {
	l.t.Helper()
	b, err := segment.Seal(l.open, l.first)
	if err != nil {
		l.t.Fatal(err)
	}
	l.files[records.Segment{First: l.first, Sealed: true}.Path()] = &fstest.MapFile{Data: b}
	l.first, l.open = l.seq, nil
}

func (l *timeline) dir() records.Dir {
	l.files[records.Segment{First: l.first}.Path()] = &fstest.MapFile{Data: append(l.open, make([]byte, 1000)...)}
	return records.Dir{FS: l.files, Index: new(records.Index)}
}

func (l *timeline) finds(d records.Dir, id audit.ID, want int64, what string) {
	l.t.Helper()
	seq, record, err := audit.Find(l.t.Context(), d, id)
	if err != nil || seq != want || !bytes.Contains(record, []byte(id.String())) {
		l.t.Errorf("%s: record %d, want %d: %v", what, seq, want, err)
	}
}

func TestFindFindsEveryRequest(t *testing.T) {
	l := newTimeline(t)
	start := time.Unix(1_800_000_000, 0)
	ids := map[int64]audit.ID{}
	for i := range 5000 {
		took := time.Duration(i%7) * time.Second
		if i%1000 == 999 {
			took = 3 * time.Hour // appended long after the others of its time
		}
		at := start.Add(time.Duration(i) * 5 * time.Second)
		id := l.add(at.Add(-took), took)
		ids[l.seq-1] = id
		if i%900 == 899 {
			l.seal()
		}
	}
	d := l.dir()
	for seq, id := range ids {
		if seq%13 == 0 || seq%1000 == 999 {
			l.finds(d, id, seq, fmt.Sprint("record ", seq))
		}
	}
	for _, at := range []time.Time{start.Add(-time.Hour), start.Add(time.Hour), start.Add(1000 * time.Hour)} {
		if _, _, err := audit.Find(t.Context(), d, audit.NewID(at)); !errors.Is(err, records.ErrNotFound) {
			t.Errorf("a request that never was: %v", err)
		}
	}
}

// TestFindSurvivesAClockThatWentBack has a day twice, in two orders.
func TestFindSurvivesAClockThatWentBack(t *testing.T) {
	l := newTimeline(t)
	start := time.Unix(1_800_000_000, 0)
	ids := map[int64]audit.ID{}
	for _, hours := range []int{0, 24, 48, 24, 48, 72} { // when each segment begins
		for i := range 600 {
			id := l.add(start.Add(time.Duration(hours)*time.Hour+time.Duration(i)*2*time.Minute), time.Millisecond)
			ids[l.seq-1] = id
		}
		l.seal()
	}
	l.add(start.Add(96*time.Hour), 0)
	d := l.dir()
	for seq, id := range ids {
		if seq%29 == 0 {
			l.finds(d, id, seq, fmt.Sprint("record ", seq))
		}
	}
}

func TestFindEndsWithItsContext(t *testing.T) {
	l := newTimeline(t)
	for i := range 1000 {
		l.add(time.Unix(1_800_000_000+int64(i), 0), 0)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := audit.Find(ctx, l.dir(), audit.NewID(time.Unix(1_800_000_000, 0))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFindInAnEmptyLog(t *testing.T) {
	d := records.Dir{FS: fstest.MapFS{records.Segment{}.Path(): &fstest.MapFile{}}}
	if _, _, err := audit.Find(t.Context(), d, audit.NewID(time.Now())); !errors.Is(err, records.ErrNotFound) {
		t.Error(err)
	}
}

// BenchmarkFind looks requests up in a log of 300,000 records in sealed
// segments: one that is there, and one that never was, of the log's first
// minute, for which all of the log is read.
func BenchmarkFind(b *testing.B) {
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		b.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Dir: b.TempDir(), Key: key, SegmentBytes: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	start := time.Unix(1_800_000_000, 0)
	var ids []audit.ID
	for i := range 300_000 {
		at := start.Add(time.Duration(i) * 10 * time.Millisecond)
		ev := audit.Event{
			ID: audit.NewID(at), Start: at, Duration: time.Millisecond, Method: "GET", Host: "example.com", Path: "/a/path", Proto: "HTTP/2.0",
			ClientIP: "192.0.2.7", Status: 200, Agent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", End: audit.EndComplete,
		}
		ids = append(ids, ev.ID)
		add := log.Enqueue
		if i%1000 == 0 {
			add = log.Append
		}
		if _, err := add(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
			b.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("there", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, _, err := audit.Find(b.Context(), log.Records(), ids[i*7919%len(ids)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("never was", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := audit.Find(b.Context(), log.Records(), audit.NewID(start)); !errors.Is(err, records.ErrNotFound) {
				b.Fatal(err)
			}
		}
	})
}
