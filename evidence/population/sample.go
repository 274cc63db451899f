package population

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
)

// The bounds of samples.
const (
	MaxSample = 1000 // rows
	MaxSeed   = 200  // bytes
)

// Algorithm is the name of how rows are chosen, which Sample describes.
const Algorithm = "caddy-soc2-sample-v1"

// Drawn is a row of a sample.
type Drawn struct {
	Row   Row
	Proof tlogproof.Proof // of the record Row.Seq
}

// Sample draws n rows, or all if there are fewer, and gives them in the
// population's order with the inclusion proofs of their records.
//
// Who knows the seed and the log draws the same rows. Each row of the population
// has a ticket, the SHA-256 of the lines
//
//	caddy-soc2-sample-v1
//	SEED
//	ROOT          of the tree, base64, as the checkpoint has it
//	POPULATION
//	SEQ           of the row
//
// without a line feed at the end, and the n rows with the smallest tickets are
// the sample. In Python, with the numbers of all rows in seqs:
//
//	ticket = lambda s: hashlib.sha256(f"caddy-soc2-sample-v1\n{seed}\n{root}\n{population}\n{s}".encode()).digest()
//	sample = sorted(sorted(seqs, key=ticket)[:n])
//
// Each row has the same chance, which neither who wrote the log nor who chose
// the seed can move without the other: the root is fixed before the seed is
// named. Errors wrap ErrOption for a number or seed that cannot be.
func Sample(ctx context.Context, log *Log, opt Options, n int, seed string) ([]Drawn, Result, error) {
	if n < 1 || n > MaxSample {
		return nil, Result{}, fmt.Errorf("%w: a sample has from 1 to %d rows", ErrOption, MaxSample)
	}
	if err := CheckSeed(seed); err != nil {
		return nil, Result{}, err
	}
	if opt.After != "" {
		return nil, Result{}, fmt.Errorf("%w: a sample is of the whole population", ErrOption)
	}
	draw := newDraw(seed, log.Head.Root.String(), opt.Population.Name, n)
	bare := opt
	bare.Bare = true
	r, err := Rows(ctx, log, bare, func(row *Row) error {
		draw.offer(row.Seq)
		return nil
	})
	if err != nil {
		return nil, r, fmt.Errorf("drawing a sample: %w", err)
	}
	drawn, err := rowsOf(ctx, log, opt, draw.sorted())
	if err != nil {
		return nil, r, fmt.Errorf("drawing a sample: %w", err)
	}
	return drawn, r, nil
}

// CheckSeed says what is wrong with a seed.
func CheckSeed(seed string) error {
	if seed == "" || len(seed) > MaxSeed || strings.ContainsFunc(seed, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return fmt.Errorf("%w: a seed is a text of 1 to %d printable ASCII characters, which the auditor chooses", ErrOption, MaxSeed)
	}
	return nil
}

// rowsOf reads rows by the indexes of their records, which are sorted.
func rowsOf(ctx context.Context, log *Log, opt Options, seqs []int64) ([]Drawn, error) {
	var drawn []Drawn
	take := func(row *Row) {
		d := Drawn{Row: *row}
		d.Row.Record, d.Row.Cells = slices.Clone(row.Record), slices.Clone(row.Cells)
		drawn = append(drawn, d)
	}
	if opt.Population.Derived {
		_, err := Rows(ctx, log, opt, func(row *Row) error {
			if _, ok := slices.BinarySearch(seqs, row.Seq); ok {
				take(row)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	} else {
		s := opt.Population.Selector(opt.Period)
		for _, seq := range seqs {
			record, err := log.Dir.Record(seq)
			if err != nil {
				return nil, err
			}
			row, err := s.Row(seq, record)
			if err != nil {
				return nil, err
			}
			if row == nil {
				return nil, fmt.Errorf("record %d: %w: it was read twice and differs", seq, ErrDamaged)
			}
			take(row)
		}
	}
	for i := range drawn {
		var err error
		if drawn[i].Proof, err = log.Prove(ctx, drawn[i].Row.Seq); err != nil {
			return nil, err
		}
	}
	return drawn, nil
}

// Prove returns the inclusion proof of a record under the log's checkpoint.
func (l *Log) Prove(ctx context.Context, seq int64) (tlogproof.Proof, error) {
	if seq < 0 || seq >= l.Head.Size {
		return tlogproof.Proof{}, fmt.Errorf("%w: the checkpoint signs %d records, and not record %d", ErrOption, l.Head.Size, seq)
	}
	hashes, err := tiles.Reader{Records: l.Dir, Size: l.Head.Size, Tree: l.Tree}.Prove(ctx, seq)
	if err != nil {
		return tlogproof.Proof{}, fmt.Errorf("proving record %d: %w", seq, err)
	}
	return tlogproof.Proof{Index: seq, Hashes: hashes, Checkpoint: l.Checkpoint}, nil
}

// Lots draws a sample of a population whose rows are offered one by one, as
// Sample does, which describes how.
type Lots struct{ d *draw }

// NewLots returns a drawing of n rows, or of all if there are fewer. root is that
// of the tree in base64. Errors wrap ErrOption.
func NewLots(seed, root string, p *Population, n int) (*Lots, error) {
	if n < 1 || n > MaxSample {
		return nil, fmt.Errorf("%w: a sample has from 1 to %d rows", ErrOption, MaxSample)
	}
	if err := CheckSeed(seed); err != nil {
		return nil, err
	}
	return &Lots{newDraw(seed, root, p.Name, n)}, nil
}

// Offer takes a row of the population.
func (l *Lots) Offer(seq int64) { l.d.offer(seq) }

// Drawn returns the rows of the sample, in the order of the log.
func (l *Lots) Drawn() []int64 { return l.d.sorted() }

// draw keeps the rows with the smallest tickets.
type draw struct {
	prefix []byte
	mark   int
	n      int
	best   tickets
}

// ticket is a row and what decides about it.
type ticket struct {
	sum [sha256.Size]byte
	seq int64
}

func newDraw(seed, root, population string, n int) *draw {
	prefix := []byte(Algorithm + "\n" + seed + "\n" + root + "\n" + population + "\n")
	return &draw{prefix: prefix, mark: len(prefix), n: n}
}

func (d *draw) offer(seq int64) {
	d.prefix = strconv.AppendInt(d.prefix[:d.mark], seq, 10)
	t := ticket{sha256.Sum256(d.prefix), seq}
	switch {
	case len(d.best) < d.n:
		heap.Push(&d.best, t)
	case d.best.before(t, d.best[0]):
		d.best[0] = t
		heap.Fix(&d.best, 0)
	}
}

func (d *draw) sorted() []int64 {
	var seqs []int64
	for _, t := range d.best {
		seqs = append(seqs, t.seq)
	}
	slices.Sort(seqs)
	return seqs
}

// tickets is a heap whose first is the greatest.
type tickets []ticket

func (tickets) before(a, b ticket) bool { return string(a.sum[:]) < string(b.sum[:]) }

func (t tickets) Len() int           { return len(t) }
func (t tickets) Less(i, j int) bool { return t.before(t[j], t[i]) }
func (t tickets) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }

// Push implements heap.Interface.
func (t *tickets) Push(x any) { *t = append(*t, x.(ticket)) }

// Pop implements heap.Interface.
func (t *tickets) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	*t = (*t)[:last]
	return x
}

// Document is a sample as it is given away: what was drawn, from what, and how
// to draw it again.
type Document struct {
	Algorithm  string     `json:"algorithm"`
	Population string     `json:"population"`
	Definition Definition `json:"definition"`
	Seed       string     `json:"seed"`
	Wanted     int        `json:"n"`

	Origin     string `json:"origin"`
	Key        string `json:"key,omitempty"`
	Size       int64  `json:"tree_size"`
	Root       string `json:"tree_root"`
	Checkpoint string `json:"checkpoint"`

	Period   Period       `json:"period"`
	Coverage Coverage     `json:"coverage"`
	Count    int64        `json:"population_count"` // rows of the population
	Rows     []SampledRow `json:"rows"`
}

// SampledRow is a row of a Document.
type SampledRow struct {
	Seq   int64           `json:"seq"`
	Cells json.RawMessage `json:"row"` // an object with a member for each column that has a value

	// Record is the record Seq in base64, whose bytes are the leaf, and Proof its
	// inclusion proof as C2SP tlog-proof.
	Record []byte `json:"record"`
	Proof  string `json:"proof"`
}

// Draw is Sample as a document.
func Draw(ctx context.Context, log *Log, opt Options, n int, seed string) (Document, Result, error) {
	drawn, r, err := Sample(ctx, log, opt, n, seed)
	d := Document{
		Algorithm: Algorithm, Population: opt.Population.Name, Definition: Definition{all.Version, definition}, Seed: seed, Wanted: n,
		Origin: log.Head.Origin, Key: log.Key, Size: log.Head.Size, Root: log.Head.Root.String(), Checkpoint: string(log.Checkpoint),
		Period: opt.Period, Coverage: r.Coverage, Count: r.Count, Rows: []SampledRow{},
	}
	for i := range drawn {
		if err != nil {
			break
		}
		row := &drawn[i]
		s := SampledRow{Seq: row.Row.Seq, Record: row.Row.Record, Proof: string(row.Proof.Append(nil))}
		if s.Cells, err = opt.Population.AppendJSON(nil, &row.Row); err == nil && s.Record == nil {
			s.Record, err = log.Dir.Record(s.Seq)
		}
		d.Rows = append(d.Rows, s)
	}
	return d, r, err
}
