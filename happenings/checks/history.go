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
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/happenings/process"
)

// The bounds of reading back what happened before the process began.
const (
	backMost     = 100 * 24 * time.Hour // longer than checks look back
	backTime     = 15 * time.Second     // that it may take
	backRequests = 50_000               // of the newest
	backOthers   = 200_000              // of the newest: they are held in memory
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
	if book == nil || !book.Hold() {
		return
	}
	defer book.Release()
	w.readDecisions(ctx, book.Log())
	if w.past.done || w.facts.log != nil && w.facts.log != book.Log() {
		return
	}
	w.facts.use(book.Log(), time.Now())
	w.readBack(ctx, book.Log().Records())
}

// happening is what a record of the past says.
type happening struct {
	seq  int64
	body audit.Body
}

// takeUp counts it.
func (h happening) takeUp(t *controls.Tally) {
	if r, ok := h.body.(*audit.Review); ok {
		t.Decided(h.seq, r, true)
		return
	}
	t.Happened(h.body, true)
}

// past is how far reading back has come. A configuration that is replaced leaves
// the rest to the next one.
type past struct {
	done     bool
	begun    time.Time
	took     time.Duration
	reached  int64 // oldest record that was looked at, if n is not 0
	n        int
	requests int
	from     time.Time // time of the oldest record that was looked at
	since    time.Time // and of the oldest request that was counted
	bodies   []happening
}

// readBack counts what the log has of the time before the process, from the
// newest record back.
func (w *watcher) readBack(ctx context.Context, dir records.Dir) {
	p := &w.past
	now := time.Now()
	if p.begun.IsZero() {
		p.begun, p.from, p.since = now, now, process.Born()
	}
	deadline, horizon := now.Add(backTime-p.took), p.begun.Add(-backMost)
	looked, all := 0, true
	err := dir.Newest(func(seq int64, record []byte) bool {
		if looked++; looked%1024 == 0 && (ctx.Err() != nil || time.Now().After(deadline)) {
			all = false
			return false
		}
		if len(p.bodies) >= backOthers {
			all = false
			return false
		}
		if p.n > 0 && seq >= p.reached {
			return true // an earlier configuration has looked at it
		}
		p.n, p.reached = p.n+1, seq
		return p.look(w.tally, seq, record, horizon)
	})
	p.took += time.Since(now)
	if ctx.Err() != nil && !all && len(p.bodies) < backOthers {
		return // the next configuration goes on
	}
	if err != nil {
		caddy.Log().Named("soc2").Warn("the log could not be read back for the checks", zap.Error(err))
		all = false
	}
	if all {
		p.from = horizon // there is nothing older, or nothing that checks look at
	}
	for _, h := range slices.Backward(p.bodies) {
		h.takeUp(w.tally)
	}
	w.tally.Past(p.since)
	w.tally.ReadBack(p.from)
	p.done, p.bodies = true, nil
}

// look takes up a record. It reports whether older ones matter.
func (p *past) look(tally *controls.Tally, seq int64, record []byte, horizon time.Time) bool {
	isRequest := string(records.Kind(record)) == string(audit.KindRequest)
	if isRequest && p.requests >= backRequests {
		return true
	}
	r, err := audit.Decode(record)
	if err != nil {
		return true // it is verified elsewhere
	}
	if r.Time.Before(horizon) {
		return false
	}
	p.from = r.Time
	if !r.Time.Before(process.Born()) && !ownRecord(r.Body) {
		return true // it was counted when it happened
	}
	if ev, ok := r.Body.(*audit.Event); ok {
		p.requests++
		p.since = r.Time
		tally.Request(ev, nil)
		return true
	}
	p.bodies = append(p.bodies, happening{seq, r.Body})
	return true
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
