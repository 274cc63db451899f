// Package jobs makes evidence packs (package packer) in the background, one after
// another, for those who cannot wait for them: a Desk takes orders, makes the
// packs into a directory that it alone uses, and keeps the newest ones.
//
// What was ordered survives a restart: a job has a file beside its pack. One that
// was not done when the process ended is interrupted, and has to be ordered again;
// that is recorded. Each beginning and each end is a record of the log.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// Order says what is to be packed.
type Order struct {
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"`
	Full    bool          `json:"full,omitempty"` // with all raw records
	Samples []pack.Sample `json:"samples,omitempty"`
	Reason  string        `json:"reason,omitempty"`
}

// State is how far a job is.
type State string

// The states of jobs. The first two end in one of the others.
const (
	Waiting     State = "waiting"
	Running     State = "running"
	Done        State = "done"
	Failed      State = "failed"
	Canceled    State = "canceled"
	Interrupted State = "interrupted" // the process ended; order it again
)

// Over reports whether nothing more will happen to a job.
func (s State) Over() bool { return s != Waiting && s != Running }

// Job is an order and what has become of it.
type Job struct {
	ID      string    `json:"id"` // 32 hex digits
	State   State     `json:"state"`
	Order   Order     `json:"order"`
	Actor   Actor     `json:"actor"`
	Ordered time.Time `json:"ordered"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`

	Records int64  `json:"records"`          // that were read
	Total   int64  `json:"total"`            // that are to be read; 0 if it is not known yet
	Error   string `json:"error,omitempty"`  // why it failed
	PackID  string `json:"pack,omitempty"`   // of a pack that is done, as the following
	Bytes   int64  `json:"bytes,omitempty"`  // of the file
	SHA256  string `json:"sha256,omitempty"` // of the file, hex
	Size    int64  `json:"tree_size,omitempty"`
	Root    string `json:"tree_root,omitempty"`

	canceler Actor // who canceled it
}

// Actor is who ordered a job, as records have it.
type Actor struct {
	Name       string `json:"name,omitempty"`
	Known      string `json:"known,omitempty"`
	How        string `json:"how,omitempty"`
	Claim      string `json:"claim,omitempty"`
	Address    string `json:"address,omitempty"`
	ClientCert string `json:"client_cert,omitempty"`
}

// Options of a Desk.
type Options struct {
	// Dir is the directory of the packs. It is made if it is not there.
	Dir string
	// Keep is how many packs are kept, and how many jobs that left none. Default: 10.
	Keep int
	// Log signs what was appended so far, and returns the log that is packed.
	Log func(ctx context.Context) (packer.Log, error)
	// Record appends a record, and waits until it is durable.
	Record func(audit.Body) error
	// Report tells the operator what could not be answered to anybody.
	Report func(error)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// The bounds of a desk.
const (
	defaultKeep = 10
	maxWaiting  = 8
)

// Errors that callers tell apart.
var (
	ErrOrder  = errors.New("the order cannot be taken")
	ErrBusy   = fmt.Errorf("%d packs wait to be made: try again later, or cancel one", maxWaiting)
	ErrClosed = errors.New("no packs are made now: the server stops")
	ErrJob    = errors.New("there is no such job")
)

// check reports an order that cannot be carried out.
func (o *Order) check(now time.Time) error {
	p := pack.Period{From: o.From, To: o.To}
	if err := p.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrOrder, err)
	}
	if o.From.After(now) {
		return fmt.Errorf("%w: the period begins in the future", ErrOrder)
	}
	pack.SortSamples(o.Samples)
	if err := pack.CheckSamples(o.Samples); err != nil {
		return fmt.Errorf("%w: %w", ErrOrder, err)
	}
	return nil
}

// What else happens to jobs than that they get into a state.
const (
	ordered = "ordered"
	removal = "removed"
)

// record is what the log keeps of a job. Filter says what happened.
func (j *Job) record(at time.Time, what string) *audit.EvidenceRead {
	by := j.Actor
	if what == string(Canceled) || what == removal {
		by = j.canceler
	}
	a := audit.Actor{Name: by.Name, Known: by.Known, How: by.How, Claim: by.Claim, Address: by.Address, ClientCert: by.ClientCert}
	r := &audit.EvidenceRead{
		Time: at, Actor: a, Resource: "pack", Name: j.ID, Format: "zip", From: j.Order.From, To: j.Order.To,
		Filter: what, Outcome: "allowed", Bytes: j.Bytes, TreeSize: j.Size, TreeRoot: j.Root,
	}
	if j.Order.Full {
		r.Format = "zip, full"
	}
	switch {
	case what == ordered && j.Order.Reason != "":
		r.Filter += ": " + j.Order.Reason
	case what == string(Failed), what == string(Interrupted):
		r.Outcome = "error"
		r.Filter += ": " + j.Error
	}
	return r
}
