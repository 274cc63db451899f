package population_test

import (
	"runtime"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// heapWriter looks at what is alive while an export is written.
type heapWriter struct {
	calls int
	most  uint64
	bytes int64
}

func (w *heapWriter) Write(b []byte) (int, error) {
	if w.calls++; w.calls%32 == 0 {
		w.most = max(w.most, alive())
	}
	w.bytes += int64(len(b))
	return len(b), nil
}

func alive() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestExportsHoldLittleOfALongLog exports a log that has many times the bytes
// that may be in memory.
func TestExportsHoldLittleOfALongLog(t *testing.T) {
	b := newBench(t)
	b.grow(12_000)
	b.close()
	b.facts, b.log = nil, nil
	log := b.head()
	const most = 2 << 20
	for _, format := range []string{"csv", "ndjson"} {
		before := alive()
		w := new(heapWriter)
		for range 6 {
			if _, err := population.Write(t.Context(), log, w, population.Export{Options: population.Options{Population: find(t, "requests")}, Format: format}); err != nil {
				t.Fatal(err)
			}
		}
		if w.most == 0 || w.most > before+most || w.bytes < 2*most {
			t.Errorf("%s: %d bytes alive, %d before, %d written in %d pieces", format, w.most, before, w.bytes, w.calls)
		}
	}
	before, n, max := alive(), 0, uint64(0)
	_, err := population.Rows(t.Context(), log, population.Options{Population: find(t, "requests")}, func(*population.Row) error {
		if n++; n%1000 == 0 && alive() > max {
			max = alive()
		}
		return nil
	})
	if err != nil || max > before+most {
		t.Errorf("rows: %d bytes alive, %d before, %v", max, before, err)
	}
}
