// Package limits measures the rate limiter: a decision, the memory of keys, and
// what it costs a whole server, each beside its peers.
package limits

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
	golimiter "github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	throttledstore "github.com/throttled/throttled/v2/store/memstore"
	"golang.org/x/time/rate"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
)

// Bench is one run.
type Bench struct {
	Rounds   int
	Each     time.Duration
	Progress io.Writer
	Dir      string // for files
	Self     string // this program
}

func (b *Bench) plan() measure.Plan {
	return measure.Plan{Rounds: b.Rounds, Each: b.Each, Progress: b.Progress}
}

// The limit that decisions are measured with: 1000 keys share the load, so that
// most requests are refused.
const (
	limitN      = 100
	limitWindow = time.Minute
	threads     = 2
)

// decider asks one limiter about a key.
type decider func(key string) bool

// subject is a limiter.
type subject struct {
	name string
	open func(keys int) (decider, error)
}

const (
	nameOurs      = "soc2"
	nameExact     = "soc2 exact, limit 10"
	nameRing      = "caddy-ratelimit v0.1.0"
	nameXTime     = "x/time/rate + sync.Map"
	nameThrottled = "throttled v2.15.0"
	nameGoLimiter = "go-limiter v0.7.1"
	nameNothing   = "clock and loop alone"
)

var subjects = []subject{
	{nameOurs, func(keys int) (decider, error) {
		return ours(limiter.Limit{N: limitN, Window: limitWindow}, keys)
	}},
	{nameExact, func(keys int) (decider, error) {
		return ours(limiter.Limit{N: 10, Window: limitWindow, Mode: limiter.Exact}, keys)
	}},
	{nameRing, openRing},
	{nameXTime, openXTime},
	{nameThrottled, openThrottled},
	{nameGoLimiter, openGoLimiter},
}

func ours(l limiter.Limit, keys int) (decider, error) {
	r, err := l.Rate()
	if err != nil {
		return nil, err
	}
	z, err := limiter.NewZone(limiter.Config{Rate: r, Capacity: max(limiter.DefaultCapacity, 209*keys/100)}, limiter.NewHasher(), nil)
	if err != nil {
		return nil, err
	}
	return func(key string) bool {
		asks := [1]limiter.Ask{{Zone: z, Hash: z.Hasher.String(key), Cost: 1}}
		return limiter.Decide(limiter.Now(), asks[:])
	}, nil
}

func openXTime(int) (decider, error) {
	var m sync.Map
	return func(key string) bool {
		v, ok := m.Load(key)
		if !ok {
			v, _ = m.LoadOrStore(key, rate.NewLimiter(rate.Limit(limitN/limitWindow.Seconds()), limitN))
		}
		l, _ := v.(*rate.Limiter)
		return l.Allow()
	}, nil
}

func openThrottled(int) (decider, error) {
	store, err := throttledstore.NewCtx(0)
	if err != nil {
		return nil, err
	}
	l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerMin(limitN), MaxBurst: limitN - 1})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	return func(key string) bool {
		limited, _, err := l.RateLimitCtx(ctx, key, 1)
		return err == nil && !limited
	}, nil
}

func openGoLimiter(int) (decider, error) {
	store, err := golimiter.New(&golimiter.Config{Tokens: limitN, Interval: limitWindow})
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	return func(key string) bool {
		_, _, _, ok, err := store.Take(ctx, key)
		return err == nil && ok
	}, nil
}

func names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = "198.51." + strconv.Itoa(i/250) + "." + strconv.Itoa(i%250)
	}
	return keys
}

// Decide measures the processor time of a decision, with the clock that it reads and
// the hash of the key, on two threads.
func (b *Bench) Decide(ctx context.Context) ([]measure.Figure, []string, error) {
	var figures []measure.Figure
	for _, n := range []int{1000, 1} {
		keys := names(n)
		variants := []measure.Variant{variant(nameNothing, func(string) bool { return limiter.Now() > 0 }, keys)}
		for _, s := range subjects {
			decide, err := s.open(n) // once, so that rounds do not begin with unspent keys
			if err != nil {
				return nil, nil, err
			}
			variants = append(variants, variant(s.name, decide, keys))
		}
		rounds, err := b.plan().Run(ctx, variants...)
		if err != nil {
			return nil, nil, err
		}
		figures = append(figures, decideFigures(rounds, n)...)
	}
	return figures, nil, nil
}

func decideFigures(rounds []measure.Round, keys int) []measure.Figure {
	ns := func(name string) measure.Spread {
		return measure.Over(rounds, func(r measure.Round) float64 { return r[name].CPUPerMillion() * 1e3 })
	}
	with := fmt.Sprintf(", %d keys", keys)
	list := []measure.Figure{}
	if keys > 1 {
		f := measure.AtMost("decision"+with, 60, "ns", ns(nameOurs)).With("processor time; %d threads", threads)
		list = append(list, f, measure.AtLeast("decision"+with+", of "+nameRing, 3, "x faster",
			measure.Over(rounds, func(r measure.Round) float64 {
				return r[nameRing].CPUPerMillion() / r[nameOurs].CPUPerMillion()
			})))
	} else {
		list = append(list, measure.Info("decision"+with, "ns", ns(nameOurs)))
	}
	for _, s := range subjects[1:] {
		list = append(list, measure.Info(s.name+with, "ns", ns(s.name)))
	}
	return append(list, measure.Info(nameNothing+with, "ns", ns(nameNothing)))
}

// sink keeps decisions from being optimized away.
var sink atomic.Int64

func variant(name string, decide decider, keys []string) measure.Variant {
	run := func(_ context.Context, d time.Duration) (measure.Sample, error) {
		begin, cpu := time.Now(), measure.CPU()
		var ops atomic.Int64
		var group sync.WaitGroup
		for g := range threads {
			group.Go(func() {
				n, yes := 0, int64(0)
				for at := g * len(keys) / threads; ; {
					for range 1024 {
						if decide(keys[at]) {
							yes++
						}
						if at++; at >= len(keys) {
							at = 0
						}
					}
					if n += 1024; time.Since(begin) >= d {
						break
					}
				}
				ops.Add(int64(n))
				sink.Add(yes)
			})
		}
		group.Wait()
		return measure.Sample{Ops: ops.Load(), Elapsed: time.Since(begin), CPU: measure.CPU() - cpu}, nil
	}
	return measure.Variant{Name: name, Open: func(context.Context) (measure.Runner, error) { return measure.Runner{Run: run}, nil }}
}

// Memory measures what a million keys take.
func (b *Bench) Memory(context.Context) ([]measure.Figure, []string, error) {
	const keys = 1_000_000
	var figures []measure.Figure
	for _, s := range subjects {
		n := keys
		switch s.name {
		case nameRing:
			n = 40_000 // a million would take gigabytes
		case nameExact:
			n = 100_000
		}
		before := heap()
		decide, err := s.open(n)
		if err != nil {
			return nil, nil, err
		}
		for i := range n {
			decide("key-" + strconv.Itoa(i))
		}
		each := float64(heap()-before) / float64(n)
		runtime.KeepAlive(decide)
		spread := measure.Spread{Median: each, Min: each, Max: each}
		if s.name == nameOurs {
			mib := each * keys / (1 << 20)
			figures = append(figures, measure.AtMost("1M keys", 32, "MiB", measure.Spread{Median: mib, Min: mib, Max: mib}).
				With("2,090,000 slots; the limit does not matter"))
		}
		figures = append(figures, measure.Info("memory of a key, "+s.name, "B", spread).With("%d keys, limit %d/1m", n, limitN))
	}
	return figures, nil, nil
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
