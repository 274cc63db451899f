package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// asked is the share of the legitimate throughput that must be left.
const asked = 0.9

// tries is how many requests a second the attack sends.
const tries = 1000

// guessers is how many connections it has: more than passwords can wait to be
// hashed, so that it goes on while they do.
const guessers = 64

// attacks are ways to try out passwords, and, to tell what any request costs, one
// that tries none.
var attacks = []struct {
	name    string
	request func(n int) string
	control bool
}{
	{"one address, many names", func(n int) string { return request("198.51.100.7", basic(fmt.Sprint("user", n), "guess")) }, false},
	{"many addresses, one name", func(n int) string { return request(address(n), basic("alice", rand.Text())) }, false},
	{"many addresses, many names", func(n int) string { return request(address(n), basic(fmt.Sprint("user", n), "guess")) }, false},
	{"no password", func(n int) string { return request(address(n), "") }, true},
}

func address(n int) string { return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255) }

// windows are what legitimate clients reach on one server: alone, from the first
// second of an attack, further into it, and alone again.
type windows struct {
	before, first, later, after measure.Sample
	rate                        float64 // of the attack
}

// calm is the legitimate throughput without an attack.
func (w *windows) calm() float64 { return (w.before.Rate() + w.after.Rate()) / 2 }

// left is the share of all processors that the attack leaves, by the processor
// time of the server: it had so much, less what the legitimate requests of the
// window take when there is no attack. Other programs on the machine change that
// less than they change throughput.
func (w *windows) left() float64 {
	each := (w.before.CPUPerMillion() + w.after.CPUPerMillion()) / 2e6
	spent := w.later.CPU.Seconds() - each*float64(w.later.Ops)
	return 1 - spent/w.later.Elapsed.Seconds()/float64(runtime.NumCPU())
}

// Attack measures what is left to legitimate clients while a thousand passwords a
// second are tried.
func (b *Bench) Attack(ctx context.Context) ([]measure.Figure, error) {
	c, err := newCredentials(b.Dir)
	if err != nil {
		return nil, err
	}
	results := make([][]*windows, len(attacks))
	for n := range b.Rounds {
		for i, a := range attacks {
			w, err := b.attack(ctx, c, a.request)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			results[i] = append(results[i], w)
			fmt.Fprintf(b.Progress, "  round %d/%d  %-28s %6.0f/s alone %6.0f/s, under %4.0f/s at first %6.0f/s, later %6.0f/s, alone again %6.0f/s\n",
				n+1, b.Rounds, a.name, w.calm(), w.before.Rate(), w.rate, w.first.Rate(), w.later.Rate(), w.after.Rate())
		}
	}
	var list []measure.Figure
	for i, a := range attacks {
		left := measure.AtLeast("processor time left by "+a.name, asked, "×", over(results[i], (*windows).left))
		later := measure.AtLeast("throughput under "+a.name+", of that without", asked, "×", over(results[i], func(w *windows) float64 { return w.later.Rate() / w.calm() }))
		if a.control {
			later, left = measure.Info(later.Name, "×", later.Reached), measure.Info(left.Name, "×", left.Reached)
		}
		list = append(list,
			later.With("%.0f requests a second of the attack", over(results[i], func(w *windows) float64 { return w.rate }).Median),
			left.With("by CPU time of the server"),
			measure.Info("the same in the first seconds", "×", over(results[i], func(w *windows) float64 { return w.first.Rate() / w.before.Rate() })))
	}
	return list, nil
}

func over(list []*windows, value func(w *windows) float64) measure.Spread {
	var all []float64
	for _, w := range list {
		all = append(all, value(w))
	}
	return measure.SpreadOf(all)
}

// attack measures on a new server, which nobody has attacked yet.
func (b *Bench) attack(ctx context.Context, c *credentials, request func(int) string) (w *windows, err error) {
	s, err := b.start(ctx, c, siteAll)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	conns, err := dialAll(s.addrs[siteAll], busy)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeAll(conns) }()
	wild, err := dialAll(s.addrs[siteAll], guessers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeAll(wild) }()
	all, w := c.legitimate(), new(windows)
	load := func(into *measure.Sample, d time.Duration) {
		if err == nil {
			*into, err = s.load(conns, all, d)
		}
		err = errors.Join(err, ctx.Err())
	}
	if err := greet(conns[0], all); err != nil {
		return nil, err
	}
	load(new(measure.Sample), b.Each/5) // does not count
	load(&w.before, b.Each)
	g := guess(wild, request)
	load(&w.first, b.Each)
	load(&w.later, b.Each)
	w.rate, err = g.end(err)
	load(&w.after, b.Each)
	return w, err
}

// guessing is an attack that runs.
type guessing struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	begin  time.Time
	count  atomic.Int64
	failed atomic.Pointer[error]
}

// guess sends a thousand requests a second on whichever connections are free.
func guess(conns []*conn, request func(int) string) *guessing {
	g := &guessing{stop: make(chan struct{}), begin: time.Now()}
	work := make(chan string)
	for _, c := range conns {
		g.wg.Go(func() {
			for text := range work {
				if _, err := c.ask(text); err != nil {
					g.failed.Store(&err)
				}
				g.count.Add(1)
			}
		})
	}
	g.wg.Go(func() {
		defer close(work)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-g.stop:
				return
			case <-tick.C:
			}
			for due := int(time.Since(g.begin) * tries / time.Second); n < due; n++ {
				select {
				case work <- request(n):
				case <-g.stop:
					return
				}
			}
		}
	})
	return g
}

// end stops the attack and returns how many answers a second it got.
func (g *guessing) end(err error) (float64, error) {
	close(g.stop)
	g.wg.Wait()
	if failed := g.failed.Load(); failed != nil {
		err = errors.Join(err, fmt.Errorf("the attack: %w", *failed))
	}
	return float64(g.count.Load()) / time.Since(g.begin).Seconds(), err
}
