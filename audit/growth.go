package audit

import "sync/atomic"

// growth tells those who follow a log how far it is durable. It costs the
// committer a store and a load a commit, and more only if somebody waits.
type growth struct {
	size  atomic.Int64
	waits atomic.Pointer[chan struct{}] // closed and taken away when size grows or the log fails; nil if nobody waits
}

// to is called by the committer when the log is durable up to size.
func (g *growth) to(size int64) {
	g.size.Store(size)
	g.wake()
}

// wake lets those who wait look again.
func (g *growth) wake() {
	if g.waits.Load() == nil {
		return
	}
	if c := g.waits.Swap(nil); c != nil {
		close(*c)
	}
}

// beyond returns the size, and if it is not more than n a channel that is
// closed when it has grown or the log has failed.
func (g *growth) beyond(n int64) (size int64, grown <-chan struct{}) {
	if size = g.size.Load(); size > n {
		return size, nil
	}
	c := g.waits.Load()
	for c == nil {
		fresh := make(chan struct{})
		if g.waits.CompareAndSwap(nil, &fresh) {
			c = &fresh
			break
		}
		c = g.waits.Load()
	}
	// The committer stores the size before it looks for who waits.
	return g.size.Load(), *c
}
