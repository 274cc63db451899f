package packer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// logBuilder packs one log.
type logBuilder struct {
	Log
	b        *builder
	entry    pack.LogEntry
	head     checkpoint.Head
	note     []byte
	nodes    nodes
	segments []records.Segment
	log      pack.Log
	account  *pack.Account
	tables   pack.Tables
	roll     pack.Roll
	held     []byte // the record before, if it was left out
	heldSeq  int64
	dry      bool // only the figures are made

	piece   *spooled // that is being written
	known   *spooled // beside it
	current pack.Piece
	bytes   int64 // in it
}

func newLogBuilder(b *builder, l Log) (*logBuilder, error) {
	lb := &logBuilder{Log: l, b: b, heldSeq: -1}
	if lb.Dir.Index == nil {
		lb.Dir.Index = new(records.Index)
	}
	if err := lb.stand(); err != nil {
		return nil, err
	}
	if lb.head.Size == 0 {
		return nil, fmt.Errorf("%w: the log %q has no record that is signed", ErrPeriod, lb.head.Origin)
	}
	lb.entry.Heads = pack.Heads{Origin: lb.head.Origin, Size: lb.head.Size, Root: lb.head.Root.String()}
	lb.entry.Folder = pack.Folder(lb.head.Origin)
	var err error
	if lb.segments, err = lb.Dir.Segments(); err != nil {
		return nil, err
	}
	lb.Dir.List = lb.segments // a year has thousands, and no record of the head is in a later one
	lb.nodes = nodes{b.ctx, tiles.Reader{Records: lb.Dir, Size: lb.head.Size}}
	return lb, lb.extent()
}

// stand finds the tree that is packed.
func (l *logBuilder) stand() error {
	if l.Head != nil {
		l.head = *l.Head
		return nil
	}
	h, err := tiles.Directory{Dir: l.Dir}.Head()
	if err != nil {
		return fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	if l.head, _, err = checkpoint.Open(h.Note, l.Keys...); err != nil {
		return fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	if l.Signer.Name() != l.head.Origin {
		return fmt.Errorf("the log is %q, but the key that would sign its pack is that of %q", l.head.Origin, l.Signer.Name())
	}
	l.note = h.Note
	return nil
}

// extent finds the run of records that goes into the pack: from the beginning of
// a segment that begins before the period by more than the lead, to a record that
// comes after it by more than the tail. Where the clock was wrong for some time,
// more is taken: all segments before the first begin early, too, and all behind
// the last late.
func (l *logBuilder) extent() error {
	l.log.Heads = l.entry.Heads
	l.log.Next = l.head.Size
	early, late := l.b.opt.Period.From.Add(-pack.Lead), l.b.opt.Period.To.Add(pack.Tail)
	if len(l.segments) > 0 {
		l.log.First = l.segments[0].First
	}
	begun := false
	for _, s := range l.segments {
		if s.First >= l.head.Size {
			break
		}
		at, err := l.appended(s.First)
		if err != nil {
			continue // it is damaged: it is not where the run begins or ends
		}
		begun = begun || !at.Before(early)
		if !begun {
			l.log.First = s.First
		}
		switch {
		case at.Before(late):
			l.log.Next = l.head.Size
		case l.log.Next == l.head.Size:
			l.log.Next = s.First + 1
		}
	}
	l.log.First = min(l.log.First, l.log.Next)
	return nil
}

func (l *logBuilder) appended(seq int64) (time.Time, error) {
	record, err := l.Dir.Record(seq)
	if err != nil {
		return time.Time{}, err
	}
	return records.Appended(record)
}

// create begins a file of the log.
func (l *logBuilder) create(name string) (*spooled, error) {
	return l.b.spool.create(l.entry.Folder + name)
}

// pack makes the files of the log.
func (l *logBuilder) pack() error {
	l.tables = pack.Tables{Full: l.b.opt.Full, Create: func(name string) (io.WriteCloser, error) { return l.create(name) }}
	l.account = pack.NewAccount(&l.log, l.b.opt.Period, &l.tables)
	if err := l.account.Draw(l.b.opt.Samples); err != nil {
		return err
	}
	if err := l.tables.Begin(); err != nil {
		return err
	}
	if err := l.subtrees(); err != nil {
		return err
	}
	if err := l.walk(); err != nil {
		return err
	}
	if err := l.prove(); err != nil {
		return err
	}
	f, err := l.account.End()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	l.b.figures = append(l.b.figures, f)
	if err := l.tables.End(); err != nil {
		return err
	}
	for i := range f.Samples {
		if err := l.sample(&f.Samples[i]); err != nil {
			return fmt.Errorf("the sample of %s: %w", f.Samples[i].Population, err)
		}
	}
	err = l.tables.Describe(l.b.manifest, &f, func(name string) string { return l.b.spool.digest(l.entry.Folder + name) })
	if err != nil {
		return err
	}
	description, err := indented(l.log)
	if err != nil {
		return err
	}
	if err := l.b.put(l.entry.Folder+pack.LogFile, description); err != nil {
		return err
	}
	return l.b.put(l.entry.Folder+pack.CheckpointFile, l.note)
}

// subtrees reads the hashes of what is before the first record and behind the
// last.
func (l *logBuilder) subtrees() (err error) {
	if l.log.Left, err = l.nodes.between(0, l.log.First); err != nil {
		return err
	}
	if l.log.Right, err = l.nodes.between(l.log.Next, l.log.Size); err != nil {
		return err
	}
	for i, h := range pack.Subtrees(0, l.log.First) {
		l.roll.Push(h, l.log.Left[i])
	}
	return nil
}

// prove checks the root, and adds the earlier checkpoints with their proofs.
func (l *logBuilder) prove() error {
	for i, h := range pack.Subtrees(l.log.Next, l.log.Size) {
		l.roll.Push(h, l.log.Right[i])
	}
	if l.roll.Root() != l.head.Root {
		return fmt.Errorf("%w: its records do not have the root that its checkpoint signs", ErrDamaged)
	}
	notes, err := l.notes()
	if err != nil {
		return err
	}
	l.log.Proofs = []pack.Proof{}
	kept := [][]byte{}
	for _, n := range notes {
		h, err := checkpoint.Peek(n)
		if err != nil || h.Size > l.log.Size || h.Origin != l.log.Origin {
			continue // made after the head was read, or not of this log, which soc2-verify reports
		}
		kept = append(kept, n)
		if h.Size > 0 && h.Size < l.log.Size && (h.Size < l.log.First || h.Size > l.log.Next) {
			p, err := l.nodes.consistency(l.log.Size, h.Size)
			if err != nil {
				return err
			}
			l.log.Proofs = append(l.log.Proofs, pack.Proof{Size: h.Size, Hashes: p})
		}
	}
	if err := l.erased(); err != nil {
		return err
	}
	return l.b.put(l.entry.Folder+pack.CheckpointsFile, checkpoint.Join(kept))
}

// notes reads the checkpoints that were anchored or witnessed, and puts the time
// stamps into the pack.
func (l *logBuilder) notes() (notes [][]byte, err error) {
	entries, err := fs.ReadDir(l.Dir.FS, "anchors")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		b, err := fs.ReadFile(l.Dir.FS, "anchors/"+e.Name())
		if err != nil {
			return nil, err
		}
		if pack.Media(e.Name()) == pack.Media(".tsr") {
			if !pack.IsStamp(e.Name(), l.head.Size) {
				continue // made after the head was read
			}
			if err := l.b.put(l.entry.Folder+pack.StampsFolder+e.Name(), b); err != nil {
				return nil, err
			}
			continue
		}
		notes = append(notes, b)
	}
	b, err := fs.ReadFile(l.Dir.FS, "witnessed")
	if errors.Is(err, fs.ErrNotExist) {
		return notes, nil
	}
	if err != nil {
		return nil, err
	}
	several, err := checkpoint.Several(b)
	if err != nil {
		return nil, fmt.Errorf("%w: witnessed: %w", ErrDamaged, err)
	}
	return slices.Concat(notes, several), nil
}
