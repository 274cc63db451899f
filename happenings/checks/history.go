package checks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/happenings/process"
)

// The bounds of reading back what happened before the process began.
const (
	backMost     = 100 * 24 * time.Hour // longer than checks look back
	backTime     = 15 * time.Second     // that it may take
	backRequests = 50_000               // of the newest
)

// prepare takes up what earlier processes left, once.
func (w *watcher) prepare(ctx context.Context, m *Monitor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if file := m.app.StateFile(); w.loaded == "" {
		w.loaded = file
		b, err := os.ReadFile(file)
		if err == nil {
			err = w.tracker.Load(b)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			caddy.Log().Named("soc2").Warn("the results of checks of the process before cannot be read; they are in the log", zap.Error(err))
		}
	}
	book := ledger.Current()
	if w.facts.log != nil || book == nil || !book.Hold() {
		return
	}
	defer book.Release()
	w.facts.use(book.Log(), time.Now())
	w.readBack(ctx, book.Log().Records())
}

// readBack counts what the log has of the time before the process, from the
// newest record back.
func (w *watcher) readBack(ctx context.Context, dir records.Dir) {
	now := time.Now()
	deadline, horizon := now.Add(backTime), now.Add(-backMost)
	from, since := now, process.Born()
	var bodies []audit.Body
	n, requests := 0, 0
	err := dir.Newest(func(_ int64, record []byte) bool {
		if n++; n%1024 == 0 && (ctx.Err() != nil || time.Now().After(deadline)) {
			return false
		}
		isRequest := string(records.Kind(record)) == string(audit.KindRequest)
		if isRequest && requests >= backRequests {
			return true
		}
		r, err := audit.Decode(record)
		if err != nil {
			return true // it is verified elsewhere
		}
		if r.Time.Before(horizon) {
			from = horizon
			return false
		}
		from = r.Time
		if !r.Time.Before(process.Born()) && !ownRecord(r.Body) {
			return true // it was counted when it happened
		}
		if ev, ok := r.Body.(*audit.Event); ok {
			requests++
			since = r.Time
			w.tally.Request(ev, nil)
			return true
		}
		bodies = append(bodies, r.Body)
		return true
	})
	if err != nil {
		caddy.Log().Named("soc2").Warn("the log could not be read back for the checks", zap.Error(err))
	}
	for _, body := range slices.Backward(bodies) {
		w.tally.Happened(body, true)
	}
	w.tally.Past(since)
	w.tally.ReadBack(from)
}

// ownRecord reports whether the log itself writes a record, which nobody else
// hears of.
func ownRecord(body audit.Body) bool {
	switch body.(type) {
	case *audit.LogGap, *audit.LogClock:
		return true
	}
	return false
}
