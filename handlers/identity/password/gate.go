package password

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Gate lets only so many passwords be hashed, because each costs a tenth of a
// second or more of a processor: at most Parallel at a time, with a short queue,
// and, when passwords turn out wrong, at most a share of the machine in the long
// run. A password that was right costs nothing of that share, so that a morning
// on which everybody logs in is no attack. The callers that are known, because
// they lately logged in, do not wait for the share.
type Gate struct {
	now   func() time.Time
	slots chan struct{}
	wait  time.Duration

	mu      sync.Mutex // guards the fields below
	queued  int
	balance time.Duration // of processor time for wrong passwords
	filled  time.Time
}

// The bounds of a gate.
const (
	maxQueued = 32
	maxWait   = 3 * time.Second
	burst     = time.Second // of processor time, that may be wrong at once
	share     = 0.03        // of all processors, after that
)

// NewGate makes a gate. Parallel 0 means a quarter of the processors, and at
// least one.
func NewGate(parallel int, now func() time.Time) *Gate {
	if parallel <= 0 {
		parallel = max(runtime.GOMAXPROCS(0)/4, 1)
	}
	return &Gate{now: now, slots: make(chan struct{}, parallel), wait: maxWait, balance: burst, filled: now()}
}

// State is what goes on in a gate.
type State struct {
	Waiting, Running, Parallel int
}

// State says what goes on.
func (g *Gate) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return State{Waiting: g.queued, Running: len(g.slots), Parallel: cap(g.slots)}
}

// Count is what became of passwords since the process began.
type Count struct {
	Right, Wrong, Busy int64
	Took               time.Duration // of hashing
}

var right, wrong, busy, took atomic.Int64

// Counts says what became of the passwords that came to any gate.
func Counts() Count {
	return Count{Right: right.Load(), Wrong: wrong.Load(), Busy: busy.Load(), Took: time.Duration(took.Load())}
}

// Enter waits until a password may be hashed, and reports false if it may not.
// Leave must follow if it may.
func (g *Gate) Enter(ctx context.Context, known bool) bool {
	if g.enter(ctx, known) {
		return true
	}
	busy.Add(1)
	return false
}

func (g *Gate) enter(ctx context.Context, known bool) bool {
	g.mu.Lock()
	now := g.now()
	if passed := now.Sub(g.filled); passed > 0 {
		earned := time.Duration(float64(passed) * share * float64(runtime.GOMAXPROCS(0)))
		g.balance = min(g.balance+earned, burst)
	}
	g.filled = now
	if g.balance <= 0 && !known || g.queued >= maxQueued {
		g.mu.Unlock()
		return false
	}
	g.queued++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.queued--
		g.mu.Unlock()
	}()
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
	if known || g.left() {
		return true
	}
	<-g.slots // others spent the share while this one waited
	return false
}

func (g *Gate) left() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.balance > 0
}

// Leave says what a hash took, and whether the password was wrong.
func (g *Gate) Leave(took time.Duration, wrong bool) {
	<-g.slots
	if !wrong {
		return
	}
	g.mu.Lock()
	g.balance -= took
	g.mu.Unlock()
}

// tell counts a hash.
func tell(spent time.Duration, same bool) {
	took.Add(int64(spent))
	if same {
		right.Add(1)
	} else {
		wrong.Add(1)
	}
}
