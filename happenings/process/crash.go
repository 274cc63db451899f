package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// mark is what the file says that is left while the process lives. Its time of
// change is when the process was last seen alive.
type mark struct {
	Boot string    `json:"boot"`
	PID  int       `json:"pid"`
	Born time.Time `json:"born"`
}

// alive keeps the mark. It is a help, not evidence: nothing protects the file.
type alive struct {
	mu     sync.Mutex // guards the fields below
	file   string
	before mark      // that another process left
	seen   time.Time // when that one was last seen alive
	begun  bool
}

// maxMark is how large the file is at most.
const maxMark = 4096

// use begins to keep the mark in a file, and reads the one that is there.
func (a *alive) use(file string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == file {
		return
	}
	a.unlink()
	a.file, a.before, a.seen = file, mark{}, time.Time{}
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxMark {
		return
	}
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &a.before) != nil || a.before.PID <= 0 || a.before.Born.After(info.ModTime()) {
		a.before = mark{}
		return
	}
	a.seen = info.ModTime()
}

// begin leaves the mark of this process.
func (a *alive) begin(boot string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == "" || a.begun {
		return
	}
	b, err := json.Marshal(mark{Boot: boot, PID: os.Getpid(), Born: born.UTC()})
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(a.file), durable.DirMode); err == nil {
			err = durable.WriteFile(durable.OS{}, a.file, b)
		}
	}
	if err != nil {
		caddy.Log().Named("soc2").Warn("the mark that the process is alive cannot be kept; after a crash less will be known of it", zap.Error(err))
		return
	}
	a.begun = true
	_ = os.Chtimes(a.file, now, now) // less is known after a crash
}

// renew notes that the process is alive.
func (a *alive) renew(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.begun {
		_ = os.Chtimes(a.file, now, now) // likewise
	}
}

// left is the mark of another process, and when that was last seen alive.
func (a *alive) left() (mark, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.before, a.seen
}

func (a *alive) remove() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unlink()
}

func (a *alive) unlink() {
	if a.begun {
		_ = os.Remove(a.file) // likewise
		a.begun = false
	}
}

// crash records that the process before this one did not close the log.
func (r *Recorder) crash(book ledger.Book, log *audit.Log) {
	opened, seq, last, ok := endBefore(log)
	if !ok || opened.Clean || r.log != nil && r.log.Dir() == log.Dir() { // this process opened it again, because it had failed
		return
	}
	p := r.record(audit.KindProcessCrash)
	p.PID, p.Boot, p.Uptime, p.Last = 0, "", 0, last
	// The mark belongs to the process that crashed if it lived then.
	if m, seen := r.alive.left(); m.Boot != "" && m.Boot != r.boot && !m.Born.After(last.Add(time.Minute)) {
		p.PID, p.Boot = m.PID, m.Boot
		if seen.After(last) && !seen.After(born) {
			p.Last = seen
		}
		p.Uptime = max(0, p.Last.Sub(m.Born))
	}
	p.Reason = fmt.Sprintf("the log was not closed: record %d is the last before it was opened again; %d records were not signed, %d bytes were torn",
		seq-1, opened.Unsigned, opened.Torn)
	_ = book.Write(&p, false) // the log counts it
}

// endBefore finds the record with which the log was last opened, and the time
// of the record before.
func endBefore(log *audit.Log) (opened *audit.LogOpen, seq int64, last time.Time, ok bool) {
	const far = 10_000 // records since; the process has only begun
	var n int
	err := log.Records().Newest(func(i int64, record []byte) bool {
		if opened == nil {
			if n++; n > far {
				return false
			}
			if !bytes.Contains(record[:min(len(record), 256)], []byte(`"kind":"log.open"`)) {
				return true
			}
			r, err := audit.Decode(record)
			if err != nil {
				return false
			}
			opened, _ = r.Body.(*audit.LogOpen)
			seq = i
			return opened != nil
		}
		if r, err := audit.Decode(record); err == nil {
			last, ok = r.Time, true
		}
		return false
	})
	return opened, seq, last, ok && err == nil
}
