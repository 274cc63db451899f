// Package changes records who changes Caddy's configuration, and every call of
// its admin API: config.change and admin.call records.
//
// It is fed from three sides, because Caddy has no one place through which
// all changes go.
//
//   - Gates (gate.go) stand before the handlers of the admin API, as patterns
//     with a method, which win over Caddy's without. They see who calls and what
//     is answered, and hand the request on to Caddy's own handler.
//   - The tap (tap.go) reads the lines that Caddy itself logs: each call of the
//     admin API, also those that are refused before they reach a handler, and
//     the announcements of the file watcher, of SIGUSR1 and of the configuration
//     loader.
//   - Begin is told each configuration that is being loaded, because an admin
//     router is made for each, even for one that has no soc2 app.
//
// What these tell is put together by goroutine: Caddy logs, loads and answers
// in the goroutine that wants the change. Whether a load was applied or rejected
// and why, is read from the context of its configuration, which Caddy ends with
// a cause. The configuration itself is read from Caddy's handler of GET
// /config/, called in-process when the load is over.
//
// All state here belongs to the process: a configuration that was rejected, or
// that removed the soc2 app, must find it.
package changes

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/redact"
)

// The modes in which changes are guarded.
const (
	Observe  = "observe"   // every way to change the configuration is open
	LoadOnly = "load_only" // parts of it cannot be changed directly: /config/ and /id/ refuse
)

// Moder is the soc2 app of a configuration.
type Moder interface{ ChangeMode() string }

// recorder is the state of this package.
type recorder struct {
	turn  sync.Mutex // held while a call of the admin API changes the configuration, from before it is handed on until its record is written
	order sync.Mutex // held while a record of a change is made, so that each begins where the one before ended; never taken by who loads

	mu       sync.Mutex // guards the fields below, for moments only: who loads takes it
	key      redact.Key
	history  *history
	next     *tools  // of the configuration that is being loaded, if they are others
	version  version // that runs
	endpoint Endpoint

	attemptsMu sync.Mutex // guards the fields below
	attempts   map[uint64]*attempt
	loads      int           // that were begun
	last       chan struct{} // closed when the attempt is recorded that was followed last

	checking sync.Mutex  // held while the endpoint is compared, and that is recorded
	opened   addresses   // where admin endpoints were opened
	soon     atomic.Bool // a comparison is about to be made

	counters counters

	calls   callTable
	serving sync.Map // *audit.AdminCall by goroutine: calls that modules serve
	stock   stockHandlers
}

// tools returns the key and the history, or nil if no soc2 app has started yet.
func (r *recorder) tools() (redact.Key, *history) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.key, r.history
}

// running returns the configuration that runs.
func (r *recorder) running() version {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version
}

// version is a configuration.
type version struct {
	known    bool
	raw      any // with its secrets; of a version that was read from the history, without
	redacted any
	secrets  *redact.Secrets // in raw; not changed
	hash     string          // SHA-256 of redacted, canonical, hex
}

var process = newRecorder()

func newRecorder() *recorder {
	r := &recorder{attempts: map[uint64]*attempt{}}
	r.calls.record = r
	return r
}

// Settings are what the soc2 app gives.
type Settings struct {
	Dir string // of the history of configurations
	Key string // file of the key that makes tokens of secrets
}

// Use prepares for the configuration that begins to run. The app calls it when
// it starts. Another key or another history than before is taken up when the
// configuration turns out to be applied.
func Use(s Settings) error {
	key, err := loadKey(s.Key)
	if err != nil {
		return err
	}
	h, err := openHistory(s.Dir)
	if err != nil {
		return err
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.history == nil {
		process.key, process.history, process.version = key, h, h.last()
		return nil
	}
	process.next = nil
	if process.history.dir != s.Dir || !bytes.Equal(process.key, key) {
		process.next = &tools{key, h}
	}
	return nil
}

// tools are what the data directory of a configuration has.
type tools struct {
	key     redact.Key
	history *history
}

// adopt takes up the tools of a configuration that was applied, and forgets
// those of one that was not.
func (r *recorder) adopt(outcome string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil && outcome == applied {
		r.key, r.history = r.next.key, r.next.history
		if r.version.known { // its tokens are of another key
			r.version, _ = newVersion(r.version.raw, r.key)
		} else {
			r.version = r.history.last()
		}
	}
	r.next = nil
}

// mode is how changes are guarded by the configuration that runs.
func mode() string {
	app, err := caddy.ActiveContext().AppIfConfigured("soc2")
	if err != nil {
		return Observe
	}
	if m, ok := app.(Moder); ok {
		return m.ChangeMode()
	}
	return Observe
}

// hold returns the audit log, which stays open until it is released. It is nil
// if there is none.
func hold() ledger.Book {
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return nil
	}
	return book
}

// write appends a record, if there is a log. That a record was not taken is
// counted by the log.
func write(r audit.Body, wait bool) {
	if book := hold(); book != nil {
		defer book.Release()
		_ = book.Write(r, wait)
	}
}
