package soc2

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// users are those who keep a shared log open when no configuration has it.
type users struct {
	mu        sync.Mutex // guards the fields below
	requests  int        // that run
	recording int        // of them, whose record is being appended
	holders   int        // others (ledger.Book)

	left    bool          // no configuration has the log
	cut     bool          // the process ends: requests that run were counted, and have no records any more
	closing bool          // the log is being closed, or is
	idle    chan struct{} // closed when nothing is being recorded any more; made when requests are cut off
	closed  chan struct{} // closed when the log is; made when the last configuration leaves
}

// unused reports whether the log is to be closed. The caller holds mu.
func (u *users) unused() bool { return u.left && u.requests == 0 && u.holders == 0 }

// leaving holds the logs that only requests still use, by directory.
var leaving sync.Map

func init() {
	caddy.OnExit(func(context.Context) { awaitLeaving(exitWait) })
}

const (
	// exitWait is how long the process stays for the records of requests that
	// end with it, such as those of WebSockets.
	exitWait = 2 * time.Second

	// closeWait is how long a log that is closed waits for its disk.
	closeWait = 5 * time.Second
)

// awaitLeaving waits for the logs that only requests still use, and then cuts
// the requests off.
func awaitLeaving(limit time.Duration) {
	deadline, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var all sync.WaitGroup
	leaving.Range(func(_, v any) bool {
		s, _ := v.(*sharedLog)
		all.Go(func() {
			select {
			case <-s.users.closed:
			case <-deadline.Done():
				s.cutOff()
			}
		})
		return true
	})
	all.Wait()
}

// begin lets a request in: the log stays open until end. While the log takes
// no records, requests are refused unless they only count.
func (s *sharedLog) begin(counts bool) error {
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	log := s.get()
	err := log.Ready()
	if u.closing || u.cut {
		err = audit.ErrClosed
	}
	if err != nil && (!counts || errors.Is(err, audit.ErrClosed)) {
		log.Miss(causeOf(err), audit.Missed{Refused: 1})
		return err
	}
	u.requests++
	return nil
}

// end ends a request that has no record.
func (s *sharedLog) end() { s.leaveUsers(&s.users.requests) }

// beginRecord reports false if the request was cut off, and is then counted.
func (s *sharedLog) beginRecord() bool {
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cut {
		return false
	}
	u.recording++
	return true
}

// endRecord ends a request whose record is in the log, or was counted.
func (s *sharedLog) endRecord() {
	u := &s.users
	u.mu.Lock()
	u.recording--
	if u.recording == 0 && u.idle != nil {
		close(u.idle)
		u.idle = nil
	}
	u.mu.Unlock()
	s.end()
}

// leaveUsers takes one off a number of users. The last of all closes the log.
func (s *sharedLog) leaveUsers(n *int) {
	s.users.mu.Lock()
	*n--
	last := s.users.unused()
	s.users.mu.Unlock()
	if last {
		_ = s.close(s.patience())
	}
}

// Hold implements ledger.Book.
func (s *sharedLog) Hold() bool {
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closing || u.cut || errors.Is(s.get().Ready(), audit.ErrClosed) {
		return false
	}
	u.holders++
	return true
}

// Release implements ledger.Book.
func (s *sharedLog) Release() { s.leaveUsers(&s.users.holders) }

// cutOff closes the log under the requests that still run. From then on they
// have no records, and so they are counted: all but those whose record is being
// appended just now, for which it waits.
func (s *sharedLog) cutOff() {
	u := &s.users
	u.mu.Lock()
	if u.closing {
		u.mu.Unlock()
		<-u.closed
		return
	}
	u.cut = true
	idle := make(chan struct{})
	if u.recording == 0 {
		close(idle)
	} else {
		u.idle = idle
	}
	if n := u.requests - u.recording; n > 0 {
		s.get().Miss(audit.CauseExit, audit.Missed{Served: int64(n)})
	}
	u.mu.Unlock()
	began, patience := time.Now(), s.patience()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-idle:
	case <-limit.C: // the disk does not answer
	}
	_ = s.close(patience - time.Since(began)) // it has said in the server's log what went wrong
}

// patience is how long the disk is waited for.
func (s *sharedLog) patience() time.Duration {
	if s.closeWait > 0 {
		return s.closeWait
	}
	return closeWait
}

// Destruct closes the log when the last request has ended. It implements
// caddy.Destructor: no configuration has the log any more.
func (s *sharedLog) Destruct() error {
	u := &s.users
	u.mu.Lock()
	u.left, u.closed = true, make(chan struct{})
	running := !u.unused()
	if running {
		leaving.Store(s.dir, s)
	}
	u.mu.Unlock()
	if running {
		return nil
	}
	return s.close(s.patience())
}

// close closes the log, unless a configuration took it back, or waits for who
// closes it already.
func (s *sharedLog) close(patience time.Duration) error {
	u := &s.users
	u.mu.Lock()
	switch {
	case !u.left:
		u.mu.Unlock()
		return nil
	case u.closing:
		u.mu.Unlock()
		<-u.closed
		return nil
	}
	u.closing = true
	u.mu.Unlock()
	defer close(u.closed)
	defer leaving.CompareAndDelete(s.dir, s)
	return s.shut(patience)
}

// takeBack returns the log of a directory that only requests still use.
func takeBack(dir string) *sharedLog {
	v, ok := leaving.Load(dir)
	if !ok {
		return nil
	}
	s, _ := v.(*sharedLog)
	u := &s.users
	u.mu.Lock()
	if u.closing { // the last request has just ended
		u.mu.Unlock()
		<-u.closed
		return nil
	}
	defer u.mu.Unlock()
	leaving.Delete(dir)
	u.left = false
	return s
}

// shut closes the log, and what works for it, unless that was done. If the disk
// does not answer it waits no longer than patience. The closing is then left
// behind: it ends when the disk answers, or with the process.
func (s *sharedLog) shut(patience time.Duration) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.teller == nil {
		return nil
	}
	wire, stop, told, notary, log := s.wire, s.teller, s.told, s.notary.Load(), s.get()
	s.teller = nil
	done := make(chan error, 1)
	go func() {
		wire.Stop()
		close(stop)
		<-told
		notary.Close()
		done <- log.Close()
	}()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		err := fmt.Errorf("soc2: closing the audit log %s: %w: it was left open; the next start says what is missing at its end", s.dir, audit.ErrStalled)
		caddy.Log().Named("soc2").Error("the audit log was not closed in order", zap.Error(err))
		return err
	}
}
