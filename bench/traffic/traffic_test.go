package traffic

import (
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// TestLeanRecordsHaveTheAgreedSize keeps the mean at what the figures are asked
// for: 600 bytes a record as stored, of which the log adds about 50.
func TestLeanRecordsHaveTheAgreedSize(t *testing.T) {
	g, now, total := New(1), time.Unix(1_790_000_000, 0), 0
	g.Lean = true
	var buf []byte
	var ev audit.Event
	const n = 20000
	for i := range int64(n) {
		now = now.Add(g.Wait(500))
		g.Next(&ev, now)
		buf, _ = segment.AppendFrame(buf[:0], 1_000_000+i, i%50, ev.AppendBody(nil, Instance))
		total += len(buf)
	}
	if mean := total / n; mean < 580 || mean > 620 {
		t.Errorf("a mean of %d bytes", mean)
	}
}

func TestEqualSeedsGiveEqualTraffic(t *testing.T) {
	a, b, now := New(7), New(7), time.Unix(1_790_000_000, 0)
	var x, y audit.Event
	for range 1000 {
		a.Next(&x, now)
		b.Next(&y, now)
		if got, want := string(x.AppendBody(nil, "")), string(y.AppendBody(nil, "")); got != want {
			t.Fatalf("%s\n%s", got, want)
		}
	}
}
