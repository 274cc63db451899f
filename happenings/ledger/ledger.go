// Package ledger is where the taps on Caddy's happenings find the audit log.
//
// Taps such as the ones of the admin API live as long as the process: they see
// a configuration come that has no audit log, and have to record that in the
// log of the one that goes. They therefore do not ask a configuration for its
// log but the process, with Current, and hold it open while they need it:
//
//	book := ledger.Current()
//	if book == nil || !book.Hold() {
//		return // nothing records
//	}
//	defer book.Release()
//	…
//	err := book.Write(&audit.AdminCall{…}, true)
package ledger

import (
	"sync/atomic"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Book is an audit log that configurations share.
type Book interface {
	// Hold keeps the log open until Release, although the last configuration
	// that has it may leave in between. It reports false if the log is closed.
	Hold() bool

	// Release ends one Hold.
	Release()

	// Write appends a record, and waits until it is durable if wait is set.
	// Without wait it returns when the record is in the log's queue. A record
	// that was not taken is counted by the log itself (log.gap); the error says
	// why.
	Write(r audit.Body, wait bool) error

	// Log is the log, for its figures.
	Log() *audit.Log
}

// Numbered is a Book that says which index a record has.
type Numbered interface {
	Book

	// Enter appends a record, waits until it is durable and returns its index.
	// With audit.ErrStalled the record may become durable later.
	Enter(r *audit.Review) (seq int64, err error)
}

// slot holds a Book. An atomic.Value wants all its values to be of one type.
type slot struct{ Book }

var current atomic.Pointer[slot]

// Set makes b the log of this process. The app calls it when its configuration
// begins to run.
func Set(b Book) { current.Store(&slot{b}) }

// Current is the log of the configuration that runs, or of the last one that
// had a log. It is nil in a process that never had one. Hold tells whether it
// is open.
func Current() Book {
	if s := current.Load(); s != nil {
		return s.Book
	}
	return nil
}
