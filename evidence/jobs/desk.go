package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// Desk takes orders and carries them out. It is safe for several goroutines.
type Desk struct {
	opt    Options
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine has ended
	wake   chan struct{}

	mu      sync.Mutex // guards the fields below
	jobs    map[string]*Job
	queue   []string
	closed  bool
	running string
	stop    context.CancelFunc // of the job that runs
}

// Open opens a desk. What an earlier process left is interrupted. The caller
// closes the desk.
func Open(opt Options) (*Desk, error) {
	opt.Keep = cmp.Or(opt.Keep, defaultKeep)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	d := &Desk{opt: opt, ended: make(chan struct{}), wake: make(chan struct{}, 1), jobs: map[string]*Job{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.load(); err != nil {
		d.cancel()
		return nil, fmt.Errorf("the directory of packs %s: %w: make it writable for this user alone", opt.Dir, err)
	}
	go d.run()
	return d, nil
}

// Close ends the job that is being made, and waits until it has ended. Jobs that
// are not done are interrupted, and recorded as such.
func (d *Desk) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	<-d.ended
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.queue {
		d.end(d.jobs[id], Interrupted, errInterrupted)
	}
	d.queue = nil
}

var errInterrupted = errors.New("the process ended before it was done: order it again")

// Order takes an order: it is recorded, and waits for its turn.
func (d *Desk) Order(o Order, by Actor) (Job, error) {
	now := d.opt.Now().UTC()
	if err := o.check(now); err != nil {
		return Job{}, err
	}
	o.From, o.To = o.From.UTC(), o.To.UTC()
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	j := &Job{ID: hex.EncodeToString(id[:]), State: Waiting, Order: o, Actor: by, Ordered: now}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return Job{}, ErrClosed
	case len(d.queue) >= maxWaiting:
		return Job{}, ErrBusy
	}
	if err := d.opt.Record(j.record(now, ordered)); err != nil {
		return Job{}, fmt.Errorf("the order could not be recorded: %w", err)
	}
	if err := d.save(j); err != nil {
		return Job{}, err
	}
	d.jobs[j.ID] = j
	d.queue = append(d.queue, j.ID)
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return *j, nil
}

// List returns the jobs, the newest first.
func (d *Desk) List() []Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []Job{}
	for _, j := range d.jobs {
		list = append(list, *j)
	}
	slices.SortFunc(list, func(a, b Job) int { return cmp.Or(b.Ordered.Compare(a.Ordered), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Job returns a job.
func (d *Desk) Job(id string) (Job, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.jobs[id]; j != nil {
		return *j, nil
	}
	return Job{}, ErrJob
}

// Pack opens the pack of a job that is done. The caller closes it.
func (d *Desk) Pack(id string) (*os.File, Job, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.jobs[id]
	if j == nil || j.State != Done {
		return nil, Job{}, ErrJob
	}
	f, err := os.Open(d.file(id, packEnd))
	return f, *j, err
}

// Cancel ends a job that is not over, and removes one that is, with its pack. The
// record of that has who did it in place of who ordered the pack.
func (d *Desk) Cancel(id string, by Actor) (Job, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.jobs[id]
	switch {
	case j == nil:
		return Job{}, ErrJob
	case d.running == id:
		j.canceler = by
		d.stop() // its goroutine ends it
		return *j, nil
	case j.State == Waiting:
		j.canceler = by
		d.queue = slices.DeleteFunc(d.queue, func(x string) bool { return x == id })
		d.end(j, Canceled, nil)
		return *j, nil
	}
	removed := *j
	removed.canceler = by
	if err := d.opt.Record(removed.record(d.opt.Now().UTC(), removal)); err != nil {
		return *j, fmt.Errorf("the removal could not be recorded, and nothing is removed: %w", err)
	}
	return *j, d.remove(id)
}

// run makes the packs.
func (d *Desk) run() {
	defer close(d.ended)
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-d.wake:
		}
		for d.ctx.Err() == nil {
			j, ctx := d.next()
			if j == nil {
				break
			}
			d.carryOut(ctx, j)
		}
	}
}

// next takes the next job from the queue.
func (d *Desk) next() (*Job, context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 || d.closed {
		return nil, nil
	}
	j := d.jobs[d.queue[0]]
	d.queue = d.queue[1:]
	ctx, stop := context.WithCancel(d.ctx)
	d.running, d.stop = j.ID, stop
	j.State, j.Started = Running, d.opt.Now().UTC()
	return j, ctx
}

// carryOut makes the pack of a job.
func (d *Desk) carryOut(ctx context.Context, j *Job) {
	result, err := d.produce(ctx, j.ID, j.Order)
	d.mu.Lock()
	defer d.mu.Unlock()
	canceled := ctx.Err() != nil
	d.stop()
	d.running, d.stop = "", nil
	switch {
	case err == nil:
		j.PackID, j.Bytes, j.SHA256, j.Size, j.Root = result.PackID, result.Bytes, result.SHA256, result.Size, result.Root
		d.end(j, Done, nil)
	case d.ctx.Err() != nil:
		d.end(j, Interrupted, errInterrupted)
	case canceled:
		d.end(j, Canceled, nil)
	default:
		d.end(j, Failed, err)
	}
}

// end ends a job and records that. The caller holds mu.
func (d *Desk) end(j *Job, state State, why error) {
	j.State, j.Ended = state, d.opt.Now().UTC()
	if why != nil {
		j.Error = why.Error()
	}
	if err := d.opt.Record(j.record(j.Ended, string(state))); err != nil {
		d.report(fmt.Errorf("the end of the pack %s could not be recorded: %w", j.ID, err))
	}
	if err := d.save(j); err != nil {
		d.report(err)
	}
	d.prune()
}

func (d *Desk) report(err error) {
	if d.opt.Report != nil {
		d.opt.Report(err)
	}
}

// progress is told by the packer.
func (d *Desk) progress(id string) func(done, total int64) {
	return func(done, total int64) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if j := d.jobs[id]; j != nil {
			j.Records, j.Total = done, total
		}
	}
}

// options are those of the packer.
func (d *Desk) options(j string, o *Order) packer.Options {
	opt := packer.Options{Full: o.Full, Samples: o.Samples, Temp: d.opt.Dir, Reserve: packer.Reserve, Progress: d.progress(j), Now: d.opt.Now}
	opt.Period.From, opt.Period.To = o.From, o.To
	return opt
}
