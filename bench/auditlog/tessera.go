package auditlog

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/bench/traffic"
)

// batching is how Tessera groups entries: a batch is written when it has so
// many or its first is so old.
type batching struct {
	size uint
	age  time.Duration
}

func (s batching) String() string { return fmt.Sprintf("%d/%s", s.size, s.age) }

// tessera is a fresh Tessera log on its POSIX driver. A writer waits until the
// future of its entry resolves: then the entry is on disk and in the tree.
func (b *Bench) tessera(name string, writers int, s batching) measure.Variant {
	return measure.Variant{Name: name, Open: func(ctx context.Context) (measure.Runner, error) {
		dir, err := os.MkdirTemp(b.Dir, "tessera-")
		if err != nil {
			return measure.Runner{}, err
		}
		a, shutdown, err := openTessera(ctx, dir, s)
		if err != nil {
			return measure.Runner{}, err
		}
		do := func(ctx context.Context, ev *audit.Event, _ []byte) ([]byte, error) {
			_, err := a.Add(ctx, tessera.NewEntry(ev.AppendBody(make([]byte, 0, 700), traffic.Instance)))()
			return nil, err
		}
		return measure.Runner{
			Run: func(ctx context.Context, d time.Duration) (measure.Sample, error) {
				return b.drive(ctx, writers, d, do, nil)
			},
			Close: shutdown, // files stay until the end of the run, see remove
		}, nil
	}}
}

// openTessera opens a log in dir. shutdown ends all its goroutines.
func openTessera(ctx context.Context, dir string, s batching) (*tessera.Appender, func() error, error) {
	private, _, err := note.GenerateKey(rand.Reader, "bench.example/tessera")
	if err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, nil, err
	}
	quiet()
	ctx, cancel := context.WithCancel(ctx)
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	a, shutdown, _, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).WithBatching(s.size, s.age).WithCheckpointInterval(time.Second))
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return a, func() error {
		defer cancel()
		return shutdown(ctx)
	}, nil
}

// bestTessera tries settings and returns the one with which Tessera is fastest.
// All are tried in turns, as variants are.
func (b *Bench) bestTessera(ctx context.Context, writers int) (best batching, err error) {
	var (
		most     float64
		settings []batching
		variants []measure.Variant
	)
	for _, size := range []uint{64, 256, 1024} {
		for _, age := range []time.Duration{1, 2, 5, 10, 50} {
			s := batching{size, age * time.Millisecond}
			settings = append(settings, s)
			variants = append(variants, b.tessera(fmt.Sprintf("tessera %d writers, %s", writers, s), writers, s))
		}
	}
	plan := measure.Plan{Rounds: 1, Each: min(b.Each, time.Second), Progress: b.Progress}
	rounds, err := plan.Run(ctx, variants...)
	if err != nil {
		return best, err
	}
	for i, v := range variants {
		if rate := rounds[0][v.Name].Rate(); rate > most {
			most, best = rate, settings[i]
		}
	}
	return best, nil
}

// quiet keeps what Tessera tells of each log off the progress.
func quiet() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
}
