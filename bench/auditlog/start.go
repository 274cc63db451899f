package auditlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/bench/traffic"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// The commands that the program runs itself with: they are measured, or killed,
// as processes of their own.
const (
	FillCommand   = "fill-log"
	VerifyCommand = "verify-log"
)

// starts is how many kills are measured.
const starts = 5

// Start measures a large log: how long it takes to open after kill -9, how long
// an inclusion proof takes, and how fast it is verified.
func (b *Bench) Start(ctx context.Context) ([]measure.Figure, []string, error) {
	dir, err := os.MkdirTemp(b.Dir, "large-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // Bench.Dir goes as well
	keyFile := dir + ".key"
	key, err := audit.EnsureKey(durable.OS{}, keyFile, "bench.example/large")
	if err != nil {
		return nil, nil, err
	}
	figures, cold, err := b.kills(ctx, dir, keyFile, key)
	if err != nil {
		return nil, nil, err
	}
	proofs, err := b.proofs(ctx, dir, key, cold)
	if err != nil {
		return nil, nil, err
	}
	figures = append(figures, proofs...)
	verified, err := b.verifies(ctx, dir, key)
	return append(figures, verified...), nil, err
}

// kills fills a log in a child, kills it under load and opens it, some times:
// first while the sealer is behind, then when it has caught up.
func (b *Bench) kills(ctx context.Context, dir, keyFile string, key *audit.Key) (figures []measure.Figure, cold bool, err error) {
	var times []float64
	for n := range starts + 1 {
		if err := b.fillAndKill(ctx, dir, keyFile, n > 0); err != nil {
			return nil, false, err
		}
		open, all, err := unsealed(dir)
		if err != nil {
			return nil, false, err
		}
		err = measure.DropCaches()
		cold = err == nil
		start := time.Now()
		l, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: traffic.Instance})
		if err != nil {
			return nil, false, fmt.Errorf("opening after a kill: %w", err)
		}
		took := time.Since(start).Seconds()
		fmt.Fprintf(b.Progress, "  start %d after kill -9: %.2f s, %d records, %d of %d segments open\n", n, took, l.Next(), open, all)
		if err := l.Close(); err != nil {
			return nil, false, err
		}
		note := fmt.Sprintf("until log.open is durable; %d of %d segments not sealed; page cache %s", open, all, emptied(cold))
		if n == 0 {
			figures = append(figures, measure.Info("start after kill -9 while the sealer is behind", "s", measure.SpreadOf([]float64{took})).With("%s", note))
			continue
		}
		if times = append(times, took); n == starts {
			figures = append(figures, measure.AtMost(fmt.Sprintf("start after kill -9, %d records", b.Records), 3, "s", measure.SpreadOf(times)).With("%s", note))
		}
	}
	return figures, cold, nil
}

func emptied(cold bool) string {
	if cold {
		return "emptied before"
	}
	return "not emptied: only root can"
}

// fillAndKill runs a child that fills the log, and kills it while it appends.
func (b *Bench) fillAndKill(ctx context.Context, dir, keyFile string, sealed bool) error {
	cmd := exec.Command(b.Self, FillCommand, dir, keyFile, strconv.FormatInt(b.Records, 10), strconv.FormatBool(sealed)) //nolint:gosec // this very program
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive this process
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	loaded := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if loaded = lines.Text() == underLoad; loaded {
			break
		}
		fmt.Fprintf(b.Progress, "  %s\n", lines.Text())
	}
	if loaded {
		select {
		case <-time.After(time.Duration(500+rand.IntN(1000)) * time.Millisecond): //nolint:gosec // any moment will do
		case <-ctx.Done():
		}
	}
	err = errors.Join(cmd.Process.Signal(syscall.SIGKILL), ctx.Err())
	werr := cmd.Wait()
	if !loaded {
		return fmt.Errorf("filling the log: %w", errors.Join(werr, ctx.Err()))
	}
	return err
}

// underLoad is the line by which the child says that it can be killed.
const underLoad = "under load"

// Fill is the child that fills a log: arguments are its directory, its key, the
// number of records from which on it appends durably until it is killed, and
// whether it waits before that until all but the last segment are sealed.
func Fill(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("fill needs a directory, a key, a number and true or false")
	}
	want, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	key, err := audit.LoadKey(args[1])
	if err != nil {
		return err
	}
	l, err := audit.Open(audit.Config{Dir: args[0], Key: key, Instance: traffic.Instance})
	if err != nil {
		return err
	}
	g, ev, buf, begun := traffic.New(uint64(l.Next())), audit.Event{}, []byte(nil), time.Now()
	g.Lean = true
	for n := l.Next(); n < want; n++ {
		g.Next(&ev, time.Now())
		buf = ev.AppendBody(buf[:0], traffic.Instance)
		if _, err := l.Enqueue(ctx, buf); err != nil {
			return err
		}
		if n%1_000_000 == 0 {
			fmt.Printf("%d records, %s\n", n, time.Since(begun).Round(time.Second))
		}
	}
	if args[3] == "true" {
		if err := awaitSealed(ctx, args[0]); err != nil {
			return err
		}
	}
	fmt.Println(underLoad)
	b := &Bench{}
	_, err = b.drive(ctx, few, time.Hour, durably(l), nil)
	return err
}

// awaitSealed waits until the sealer has nothing left to do.
func awaitSealed(ctx context.Context, dir string) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for told := 0; ; {
		open, all, err := unsealed(dir)
		if err != nil || open <= 1 {
			return err
		}
		if open != told {
			fmt.Printf("%d of %d segments to seal\n", open-1, all)
			told = open
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// proofs measures proofs of random records of the log, after a start that
// emptied the page cache if that is possible.
func (b *Bench) proofs(ctx context.Context, dir string, key *audit.Key, cold bool) ([]measure.Figure, error) {
	l, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: traffic.Instance})
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }() // it only read
	if cold {
		if err := measure.DropCaches(); err != nil {
			return nil, err
		}
	}
	var prove, both measure.Latency
	_, head, _ := l.Checkpoint()
	for range 2000 {
		seq := rand.Int64N(head.Size) //nolint:gosec // a sample
		start := time.Now()
		p, err := l.Prove(seq)
		if err != nil {
			return nil, err
		}
		prove.Add(time.Since(start))
		record, err := l.Records().Record(seq)
		if err != nil {
			return nil, err
		}
		both.Add(time.Since(start))
		if err := tlog.CheckRecord(p.Hashes, p.Head.Size, p.Head.Root, seq, tlog.RecordHash(record)); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	ms := func(l *measure.Latency) measure.Spread {
		return measure.Spread{Median: l.Quantile(0.99).Seconds() * 1e3, Min: l.Quantile(0.5).Seconds() * 1e3, Max: l.Max().Seconds() * 1e3}
	}
	const what = "2,000 random records; reached = p99, spread = p50..max; page cache %s"
	return []measure.Figure{
		measure.AtMost("inclusion proof", 5, "ms", ms(&prove)).With(what, emptied(cold)),
		measure.AtMost("inclusion proof and its record", 5, "ms", ms(&both)).With(what, emptied(cold)),
	}, nil
}

// verified is what the verifying child reports.
type verified struct {
	Bytes   int64         `json:"bytes"` // of records
	Elapsed time.Duration `json:"elapsed"`
	CPU     time.Duration `json:"cpu"`
	SHA     float64       `json:"sha"` // MB/s of SHA-256 alone
}

// verifies verifies the log in children that have one processor.
func (b *Bench) verifies(ctx context.Context, dir string, key *audit.Key) ([]measure.Figure, error) {
	var cpu, wall, share []float64
	for range 3 {
		cmd := exec.CommandContext(ctx, b.Self, VerifyCommand, dir, key.Public()) //nolint:gosec // this very program
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("verifying: %w", err)
		}
		var v verified
		if err := json.Unmarshal(out, &v); err != nil {
			return nil, err
		}
		mb := float64(v.Bytes) / 1e6
		cpu, wall = append(cpu, mb/v.CPU.Seconds()), append(wall, mb/v.Elapsed.Seconds())
		share = append(share, mb/v.CPU.Seconds()/v.SHA)
		fmt.Fprintf(b.Progress, "  verified %.0f MB in %s, CPU %s\n", mb, v.Elapsed, v.CPU)
	}
	return []measure.Figure{
		measure.AtLeast("full verification, a core", 400, "MB/s", measure.SpreadOf(cpu)).With("bytes of records by CPU time, GOMAXPROCS=1"),
		measure.Info("full verification, elapsed", "MB/s", measure.SpreadOf(wall)),
		measure.Info("full verification, of SHA-256 alone", "×", measure.SpreadOf(share)).With("of the same bytes in the same process"),
	}, nil
}

// Verify is the child that verifies a log: arguments are its directory and the
// verifier key.
func Verify(_ context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("verify needs a directory and a key")
	}
	v, err := note.NewVerifier(args[1])
	if err != nil {
		return err
	}
	size, err := recordBytes(args[0])
	if err != nil {
		return err
	}
	sha := shaSpeed()
	cpu, start := measure.CPU(), time.Now()
	r, err := verify.Dir(os.DirFS(args[0]), []note.Verifier{v}, verify.Options{})
	if err != nil {
		return err
	}
	if !r.OK() {
		return fmt.Errorf("the log does not verify: %v", r.Problems)
	}
	out := verified{Bytes: size, Elapsed: time.Since(start), CPU: measure.CPU() - cpu, SHA: sha}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// recordBytes adds up the sizes of segments when not compressed.
func recordBytes(dir string) (n int64, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "segments", "*"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		if strings.HasSuffix(name, ".zst") {
			n += unsealedSize(b)
		} else {
			n += int64(len(bytes.TrimRight(b, "\x00")))
		}
	}
	return n, nil
}
