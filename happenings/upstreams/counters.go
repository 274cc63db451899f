package upstreams

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// endpoint is what the record of a request says of an upstream.
type endpoint struct{ server, address string }

// counter counts the requests of an endpoint.
type counter struct {
	served atomic.Int64
	failed atomic.Int64

	// last is when the last request ended that shows whether the upstream
	// answers, in nanoseconds since 1970, with the lowest bit set if it did.
	last atomic.Int64
}

// heard returns the last request that shows anything.
func (c *counter) heard() (at time.Time, answered bool) {
	v := c.last.Load()
	if v == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, v&^1), v&1 == 1
}

// counters has a counter for each endpoint. Looking one up takes no lock: the
// map is never changed, but replaced.
type counters struct {
	byEndpoint atomic.Pointer[map[endpoint]*counter]
	missed     atomic.Int64 // requests that were not counted, because there were too many endpoints

	mu sync.Mutex // serializes replacing
}

// maxEndpoints is how many endpoints are counted at most. Those that the
// configuration names always are.
const maxEndpoints = 1024

// of returns an endpoint's counter. If there is none it is made, unless there
// are too many and must is not set.
func (c *counters) of(e endpoint, must bool) *counter {
	if m := c.byEndpoint.Load(); m != nil {
		if n := (*m)[e]; n != nil {
			return n
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.all()
	if n := old[e]; n != nil {
		return n
	}
	if len(old) >= maxEndpoints && !must {
		return nil
	}
	next := make(map[endpoint]*counter, len(old)+1)
	maps.Copy(next, old)
	n := new(counter)
	next[e] = n
	c.byEndpoint.Store(&next)
	return n
}

// all is the map as it is now. It is not to be changed.
func (c *counters) all() map[endpoint]*counter {
	if m := c.byEndpoint.Load(); m != nil {
		return *m
	}
	return nil
}

// forget removes the counters of endpoints.
func (c *counters) forget(list []endpoint) {
	if len(list) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := maps.Clone(c.all())
	for _, e := range list {
		delete(next, e)
	}
	c.byEndpoint.Store(&next)
}

// count counts a request that was given to an upstream. It has failed if the
// upstream gave no answer, answered with a status of 500 or more, or did not
// finish its answer. A client that left before there was an answer shows
// nothing.
func (c *counters) count(ev *audit.Event) {
	if ev.Upstream.Address == "" {
		return
	}
	n := c.of(endpoint{ev.Server, ev.Upstream.Address}, false)
	if n == nil {
		c.missed.Add(1)
		return
	}
	n.served.Add(1)
	answered := ev.Upstream.Status != 0 && !proxyError(ev)
	if answered && ev.Upstream.Status >= http.StatusInternalServerError || ev.End == audit.EndTruncated ||
		!answered && ev.End != audit.EndAborted {
		n.failed.Add(1)
	}
	at := ev.Start.Add(ev.Duration).UnixNano()
	switch {
	case answered:
		n.last.Store(at | 1)
	case ev.End != audit.EndAborted:
		n.last.Store(at &^ 1)
	}
}

// proxyError reports whether the reverse proxy made the response itself, with an
// error. The record may then have the status of an upstream that the request was
// given to before, such as one that authenticates.
func proxyError(ev *audit.Event) bool {
	return ev.Error != "" && (ev.Status == http.StatusBadGateway || ev.Status == http.StatusGatewayTimeout)
}
