package auditlog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/bench/traffic"
)

const (
	yearRecords    = 1_000_000_000
	yearSegments   = yearRecords / 80_000 // a segment of 64 MiB of records of some 800 bytes
	yearCounted    = 12                   // segments of traffic that are really counted; the year repeats them
	secondsPerYear = 365 * 24 * 3600
)

// Rollup measures a report over a year of a log with a billion records. The
// rollups are those that the log's own counters make of realistic traffic.
func (b *Bench) Rollup(ctx context.Context) ([]measure.Figure, []string, error) {
	dir, err := os.MkdirTemp(b.Dir, "year-")
	if err != nil {
		return nil, nil, err
	}
	frames, err := year(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, rollup.File), frames, 0o600); err != nil {
		return nil, nil, err
	}
	var took []float64
	cold := false
	for range b.Rounds {
		cold = measure.DropCaches() == nil
		start := time.Now()
		t, err := rollup.Sum(os.DirFS(dir), time.Time{}, time.Time{})
		if err != nil {
			return nil, nil, err
		}
		took = append(took, time.Since(start).Seconds())
		if t.Records != yearRecords || t.Requests != yearRecords || t.Segments != yearSegments {
			return nil, nil, fmt.Errorf("the report counts %d records and %d requests in %d segments", t.Records, t.Requests, t.Segments)
		}
	}
	return []measure.Figure{
		measure.AtMost("report over a year, 1 billion records", 1, "s", measure.SpreadOf(took)).
			With("%d rollups, %.0f MB; page cache %s", yearSegments, float64(len(frames))/1e6, emptied(cold)),
	}, nil, nil
}

// year makes the file of rollups.
func year(ctx context.Context) ([]byte, error) {
	const each = yearRecords / yearSegments
	begin := time.Date(2025, 11, 21, 0, 0, 0, 0, time.UTC)
	counters := make([]*rollup.Counter, yearCounted)
	for i := range counters {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := counted(uint64(i), each)
		if err != nil {
			return nil, err
		}
		counters[i] = c
	}
	var frames, frame []byte
	at := func(record int64) string {
		t := begin.Add(time.Duration(float64(record) / yearRecords * secondsPerYear * float64(time.Second)))
		return string(audit.AppendTime(nil, t))
	}
	prev := int64(-1)
	for i := range int64(yearSegments) {
		c := counters[i%yearCounted]
		sealed := rollup.Sealed{Bytes: c.Bytes / 5, SHA256: [32]byte{byte(i), byte(i >> 8)}}
		s := rollup.Segment{First: i * each, Records: each, From: at(i * each), To: at((i+1)*each - 1), Bytes: c.Bytes}
		m := c.Members(sealed, prev)
		m.Segment = s.Member(sealed)
		body := fmt.Appendf(nil, `"time":%q,"kind":"rollup","instance":%q`, s.To, traffic.Instance)
		prev = (i+1)*each + 1
		var err error
		if frame, err = segment.AppendFrame(frame[:0], prev, 0, m.AppendBody(body)); err != nil {
			return nil, err
		}
		frames = rollup.AppendFrame(frames, segment.Record(frame))
	}
	return frames, nil
}

// counted counts so many requests.
func counted(seed uint64, n int64) (*rollup.Counter, error) {
	g, ev, now := traffic.New(seed), audit.Event{}, time.Unix(1_790_000_000, 0)
	c := rollup.NewCounter(0)
	var (
		r           member.Record
		frame, body []byte
	)
	for i := range n {
		now = now.Add(g.Wait(arrivals))
		g.Next(&ev, now)
		body = ev.AppendBody(body[:0], traffic.Instance)
		var err error
		if frame, err = segment.AppendFrame(frame[:0], i, 0, body); err != nil {
			return nil, err
		}
		if err := r.Read(segment.Record(frame)); err != nil {
			return nil, err
		}
		c.Add(&r)
	}
	return c, nil
}
