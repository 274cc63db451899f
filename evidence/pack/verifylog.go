package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// logCheck is the verification of one log of a pack.
type logCheck struct {
	v       *verifier
	entry   *LogEntry
	keys    []note.Verifier // of this log
	log     Log
	account *Account
	tables  Tables
	rollups rollupCheck
	roll    Roll
	known   []known // checkpoints that the tree goes through, by size

	first, last time.Time // when the first and the last record were appended
	ends        [2]bool   // whether those are there
	missing     int64     // records that cannot be read
	lost        bool      // the records of the present piece cannot be read
	hidden      int64     // records that were left out
}

type known struct {
	size int64
	root tree.Hash
}

// log verifies a log.
func (v *verifier) log(e *LogEntry) error {
	c := &logCheck{v: v, entry: e}
	for _, k := range v.keys {
		if k.Name() == e.Origin { // the key of one log says nothing of another
			c.keys = append(c.keys, k)
		}
	}
	if err := c.head(); err != nil {
		return err
	}
	if err := c.checkpoints(); err != nil {
		return err
	}
	c.tables = Tables{Full: v.manifest.Full, Create: c.compare}
	c.account = NewAccount(&c.log, v.manifest.Period, &c.tables)
	if err := c.account.Draw(v.manifest.Samples); err != nil {
		return err
	}
	c.rollups.begin(&c.log, c.v.manifest.Period)
	if err := c.tables.Begin(); err != nil {
		return err
	}
	if err := c.walk(); err != nil {
		return err
	}
	return c.end()
}

func (c *logCheck) path(name string) string { return c.entry.Folder + name }

// read returns a small file of the log.
func (c *logCheck) read(name string) ([]byte, error) { return c.v.file(c.path(name)) }

// head reads the description of the log and its checkpoint.
func (c *logCheck) head() error {
	b, err := c.read(LogFile)
	if err != nil {
		return err
	}
	if err := decode(b, &c.log); err != nil {
		return c.v.stop("%s: %v", c.path(LogFile), err)
	}
	if err := c.log.Validate(); err != nil {
		return c.v.stop("%s: %v", c.path(LogFile), err)
	}
	if c.log.Heads != c.entry.Heads {
		return c.v.stop("%s: it is of another log, or another head of it, than %s says", c.path(LogFile), ManifestFile)
	}
	text, err := c.read(CheckpointFile)
	if err != nil {
		return err
	}
	h, _, err := checkpoint.Open(text, c.keys...)
	if err != nil {
		return c.v.stop("%s: %v", c.path(CheckpointFile), err)
	}
	if h.Origin != c.log.Origin || h.Size != c.log.Size || h.Root.String() != c.log.Root {
		return c.v.stop("%s: it signs %d records of %q with the root %s, but %s says %d of %q with %s",
			c.path(CheckpointFile), h.Size, h.Origin, h.Root, ManifestFile, c.log.Size, c.log.Origin, c.log.Root)
	}
	return nil
}

// checkpoints reads the other checkpoints, and proves those that the tree of the
// pack does not go through.
func (c *logCheck) checkpoints() error {
	b, err := c.read(CheckpointsFile)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return nil
	}
	notes, err := Notes(b)
	if err != nil {
		return c.v.stop("%s: %v", c.path(CheckpointsFile), err)
	}
	root, err := tlog.ParseHash(c.log.Root)
	if err != nil {
		return c.v.stop("%s: %v", c.path(LogFile), err)
	}
	for _, n := range notes {
		h, _, err := checkpoint.Open(n, c.keys...)
		if said, perr := checkpoint.Peek(n); errors.Is(err, checkpoint.ErrKey) && perr == nil && said.Origin == c.log.Origin {
			c.v.Unchecked = append(c.v.Unchecked, fmt.Sprintf("%s: a checkpoint is signed by no key that was given", c.path(CheckpointsFile)))
			continue
		}
		switch {
		case err != nil:
			c.v.problem("%s: %v", c.path(CheckpointsFile), err)
		case h.Origin != c.log.Origin:
			c.v.problem("%s: it has a checkpoint of the log %q", c.path(CheckpointsFile), h.Origin)
		case h.Size > c.log.Size:
			c.v.problem("%s: it has a checkpoint of %d records, but the head of the pack is of %d: the log was cut short", c.path(CheckpointsFile), h.Size, c.log.Size)
		case h.Size >= c.log.First && h.Size <= c.log.Next:
			c.known = append(c.known, known{h.Size, h.Root})
		default:
			c.prove(h, root)
		}
	}
	slices.SortStableFunc(c.known, func(a, b known) int { return int(a.size - b.size) })
	return nil
}

// prove checks the consistency proof from a checkpoint to the head.
func (c *logCheck) prove(h checkpoint.Head, root tree.Hash) {
	if h.Size == 0 {
		return
	}
	if h.Size == c.log.Size {
		if h.Root != root {
			c.split(h.Size)
		}
		return
	}
	i := slices.IndexFunc(c.log.Proofs, func(p Proof) bool { return p.Size == h.Size })
	if i < 0 {
		c.v.problem("%s: there is no proof that the log goes on from the checkpoint of %d records", c.path(LogFile), h.Size)
		return
	}
	if err := tlog.CheckTree(c.log.Proofs[i].Hashes, c.log.Size, root, h.Size, h.Root); err != nil {
		c.split(h.Size)
	}
}

func (c *logCheck) split(size int64) {
	c.v.problem("%s: the log does not go on from its checkpoint of %d records: somebody who has its key wrote two histories", c.path(CheckpointsFile), size)
}

// walk goes through all records.
func (c *logCheck) walk() error {
	at := int64(0)
	for i, h := range Subtrees(0, c.log.First) {
		c.roll.Push(h, c.log.Left[i])
		at += 1 << h
	}
	c.compareRoot()
	for i := range c.log.Pieces {
		if err := c.piece(&c.log.Pieces[i]); err != nil {
			var stop *stopped
			if errors.As(err, &stop) || errors.Is(err, ErrContainer) {
				return c.v.reading(c.path(c.log.Pieces[i].File), err)
			}
			return c.v.stop("%s%v", c.entry.Folder, err)
		}
	}
	for i, h := range Subtrees(c.log.Next, c.log.Size) {
		c.roll.Push(h, c.log.Right[i])
	}
	if got := c.roll.Root().String(); got != c.log.Root {
		return c.v.stop("%s: the records do not have the root that the checkpoint signs: records were changed, left out or added", c.entry.Folder)
	}
	return nil
}

// compareRoot compares the tree with the checkpoints of its size.
func (c *logCheck) compareRoot() {
	for len(c.known) > 0 && c.known[0].size == c.roll.Size() {
		if c.known[0].size > 0 && c.roll.Root() != c.known[0].root {
			c.split(c.known[0].size)
		}
		c.known = c.known[1:]
	}
}

// piece goes through a piece.
func (c *logCheck) piece(p *Piece) error {
	if p.File != p.name() {
		return fmt.Errorf("%s: %w: it must have the name %s", p.File, errPiece, p.name())
	}
	open := func(name string) (io.Reader, error) {
		c.v.used[c.path(name)] = true
		e := c.v.archive.Entry(c.path(name))
		if e == nil {
			return nil, fmt.Errorf("%s is missing", name)
		}
		return c.v.archive.Open(e), nil
	}
	in, err := open(p.File)
	if err != nil {
		return err
	}
	c.lost = false
	if p.Form == Raw {
		return p.raw(in, c.leaf)
	}
	if c.lost = p.Why != ""; c.lost {
		c.missing += p.Count
		c.v.problem("%srecords %d to %d cannot be read, only their hashes are there: %s", c.entry.Folder, p.First, p.First+p.Count-1, p.Why)
		if err := c.account.Missing(p.First, p.Why); err != nil {
			return err
		}
		return p.hashes(in, bytes.NewReader(nil), c.leaf)
	}
	if c.v.manifest.Full {
		return fmt.Errorf("%s: %w: the pack says that it is full, but has only the hashes of records %d to %d", p.File, errPiece, p.First, p.First+p.Count-1)
	}
	known, err := open(KnownName(p.First))
	if err != nil {
		return err
	}
	return p.hashes(in, known, c.leaf)
}

// leaf takes a record or its hash.
func (c *logCheck) leaf(seq int64, h tree.Hash, record []byte) error {
	c.roll.Push(0, h)
	c.compareRoot()
	if seq == c.log.First {
		c.ends[0] = record != nil
	}
	c.ends[1] = record != nil
	if record == nil {
		c.hidden++
		c.v.Hashed++
		c.rollups.skip(seq, c.lost)
		return nil
	}
	c.v.Records++
	if seq == c.log.First || seq == c.log.Next-1 {
		at, err := records.Appended(record)
		if err != nil {
			return err
		}
		if seq == c.log.First {
			c.first = at
		}
		c.last = at
	}
	if err := c.account.Add(seq, record); err != nil {
		return err
	}
	return c.rollups.add(seq, record, &c.account.record)
}

// end compares what was counted.
func (c *logCheck) end() error {
	c.extent()
	f, err := c.account.End()
	if err != nil {
		return err
	}
	i := len(c.v.figures)
	if i >= len(c.v.report.Logs) {
		return c.v.stop("%s: it has no figures of the log %q", ReportFile, c.log.Origin)
	}
	if c.hidden > c.missing {
		c.bound(&f, &c.v.report.Logs[i])
		c.unknowable(&f, &c.v.report.Logs[i])
	}
	if err := c.samples(&f, &c.v.report.Logs[i]); err != nil {
		return err
	}
	for _, p := range c.rollups.end() {
		c.v.problem("%s%s", c.entry.Folder, p)
	}
	c.v.figures = append(c.v.figures, f)
	if err := c.tables.End(); err != nil {
		return err
	}
	err = c.tables.Describe(c.v.manifest, &f, func(name string) string {
		if e := c.v.manifest.File(c.path(name)); e != nil {
			return e.SHA256
		}
		return ""
	})
	if err != nil {
		return err
	}
	return c.stamps()
}

// bound reports what only the records that were left out can tell, if it cannot
// be true.
func (c *logCheck) bound(f, said *Figures) {
	b := bounds{path: fmt.Sprintf("%s: the log %q", ReportFile, c.log.Origin)}
	b.figures(said, f, c.hidden-c.missing, c.rollups.most())
	for _, p := range b.problems {
		c.v.problem("%s", p)
	}
	if n := c.hidden - c.missing - c.rollups.covered; n > 0 {
		c.v.Unchecked = append(c.v.Unchecked, fmt.Sprintf("%s: of %d records that are there by their hashes only no rollup record tells the kinds: "+
			"nothing shows that none of another kind is among them", c.log.Origin, n))
	}
}

// unknowable takes over from the report what only the records that were left out
// can tell.
func (c *logCheck) unknowable(f, said *Figures) {
	c.v.Unchecked = append(c.v.Unchecked,
		fmt.Sprintf("%s: %d records are there by their hashes only; what was counted of requests (records, kinds of requests, requests, days, the population requests) adds up, "+
			"but follows from raw records, and may be less than they give; requests that were denied or limited may be left out where no rollup record shows it: ask for a pack with --full", c.log.Origin, c.hidden-c.missing))
	f.Records, f.Requests, f.Days = said.Records, said.Requests, said.Days
	for _, kind := range requestKinds {
		if n, ok := said.Kinds[kind]; ok {
			f.Kinds[kind] = n
		} else {
			delete(f.Kinds, kind)
		}
	}
	f.Populations[requestRows] = said.Populations[requestRows]
}

// requestKinds are the kinds of records that a pack without all raw records
// leaves out, but for those in a population other than requests.
var requestKinds = []string{"request", "request.intent", "request.open"}

// extent checks that no record was left out before the first or behind the last.
func (c *logCheck) extent() {
	p := c.v.manifest.Period
	early := c.ends[0] && !c.first.After(p.From.Add(-Lead))
	late := c.ends[1] && !c.last.Before(p.To.Add(Tail))
	if c.log.First > 0 && !early && !c.pruned() {
		c.v.problem("%s: the records begin with %d, which is not %s before the period, and no log.erase record says that those before it were removed", c.entry.Folder, c.log.First, Lead)
	}
	if c.log.Next < c.log.Size && !late {
		c.v.problem("%s: the records end with %d, which is not %s after the period, but the log has %d", c.entry.Folder, c.log.Next-1, Tail, c.log.Size)
	}
}

// pruned reports whether the log says that records before the first were removed
// after their time of retention.
func (c *logCheck) pruned() bool {
	e := c.log.Erased
	if e == nil {
		return false
	}
	root, err := tlog.ParseHash(c.log.Root)
	if err != nil || tlog.CheckRecord(e.Proof, c.log.Size, root, e.Seq, tlog.RecordHash([]byte(e.Record))) != nil {
		c.v.problem("%s: its log.erase record is not in the log", c.path(LogFile))
		return false
	}
	var r struct {
		Kind string `json:"kind"`
		What string `json:"what"`
		Upto int64  `json:"upto"`
	}
	if json.Unmarshal([]byte(e.Record), &r) != nil || r.Kind != "log.erase" || r.What != "retention" || r.Upto < c.log.First {
		return false
	}
	c.v.Notes = append(c.v.Notes, fmt.Sprintf("%s: records before %d were removed after their time of retention, as log.erase record %d says", c.log.Origin, c.log.First, e.Seq))
	return true
}

// stamps looks at the time stamps, which are of the checkpoints.
func (c *logCheck) stamps() error {
	n := 0
	for _, f := range c.v.manifest.Files {
		if rest, ok := strings.CutPrefix(f.Path, c.path(StampsFolder)); ok && IsStamp(rest, c.log.Size) {
			c.v.used[f.Path] = true
			n++
		}
	}
	if n > 0 {
		c.v.Unchecked = append(c.v.Unchecked, fmt.Sprintf("%s: %d time stamps: verify them with openssl ts -verify, as docs/timestamps.md says", c.log.Origin, n))
	}
	return nil
}
