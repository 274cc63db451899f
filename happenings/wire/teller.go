package wire

import (
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// TellEvery is how often counts become records.
const TellEvery = 10 * time.Second

// Book is what a Teller writes to.
type Book struct {
	// Ready reports an error while the log takes no records, or this log is not
	// the one to write to. The counts then wait.
	Ready func() error

	// Write appends a record, without waiting for the disk.
	Write func(r audit.Body) error
}

// Teller turns counts into records of a log while the log is open.
type Teller struct {
	counts *Counts
	book   Book
	stop   chan struct{}
	ended  chan struct{}
	once   sync.Once
}

// Tell begins to write the counts to a log every TellEvery, if there are any.
// Stop ends it.
func Tell(c *Counts, b Book) *Teller {
	t := &Teller{counts: c, book: b, stop: make(chan struct{}), ended: make(chan struct{})}
	go t.run()
	return t
}

func (t *Teller) run() {
	defer close(t.ended)
	tick := time.NewTicker(TellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.flush(false)
		case <-t.stop:
			t.flush(true)
			return
		}
	}
}

// Stop writes what was counted so far, and returns when it is in the log's
// queue. What is counted later waits for the next log's Teller.
func (t *Teller) Stop() {
	t.once.Do(func() { close(t.stop) })
	<-t.ended
}

func (t *Teller) flush(last bool) {
	if t.book.Ready() != nil {
		return
	}
	list := t.counts.Take(last)
	for i := range list {
		if err := t.book.Write(&list[i]); err != nil {
			t.counts.Return(list[i:])
			return
		}
	}
}
