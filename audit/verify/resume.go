package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// fullError means that a resumed verification cannot go on from the state: all
// of the log is to be read.
type fullError struct{ why string }

func (e *fullError) Error() string { return e.why }

// needFull ends a resumed verification.
func (c *check) needFull(why string, args ...any) {
	c.fail(&fullError{fmt.Sprintf(why, args...)})
}

// resume goes on from the state, if the files of the segments that it covers
// are the same, byte by byte, and the tiles prove its tree. It returns the
// segments that are left. In any other case all of the log is read: the state
// alone is no evidence of tampering, but for the checkpoint in it.
func (c *check) resume(list []records.Segment) ([]records.Segment, error) {
	s := c.state
	if len(s.Files) == 0 {
		return list, c.beginning(list)
	}
	if len(list) < len(s.Files) {
		return nil, &fullError{"segments that were verified before are not there any more"}
	}
	for i, f := range s.Files {
		if list[i] != (records.Segment{First: f.First, Sealed: true}) {
			return nil, &fullError{"segments that were verified before are not there any more, or not sealed"}
		}
		if err := c.sameFile(list[i], f); err != nil {
			return nil, err
		}
	}
	c.Sealed = len(s.Files)
	c.restore()
	if err := c.sameTiles(); err != nil {
		return nil, err
	}
	return list[len(s.Files):], c.oldRollups(c.Resumed)
}

// beginning is resume from a state that covers no segment.
func (c *check) beginning(list []records.Segment) error {
	if len(list) > 0 && list[0].First > 0 {
		return c.pruned(list[0])
	}
	return nil
}

// sameFile compares a file with the size and SHA-256 that it had.
func (c *check) sameFile(s records.Segment, want File) error {
	f, err := c.open(s.Path())
	if errors.Is(err, errCannotTell) {
		return err
	}
	if err != nil {
		return &fullError{fmt.Sprintf("%s: %v", s.Path(), err)}
	}
	defer func() { _ = f.Close() }() // it was only read
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errCannotTell, s.Path(), err)
	}
	c.done.Segments++
	c.done.Bytes += n
	c.progress(true)
	if n != want.Bytes || [32]byte(sum.Sum(nil)) != want.SHA256 {
		return &fullError{s.Path() + " is not the file that was verified before"}
	}
	return nil
}

// restore takes over what the state says.
func (c *check) restore() {
	s := c.state
	c.Resumed, c.Pruned, c.Records = s.Size, s.Pruned, s.Size-s.Pruned
	c.retained, c.From, c.closed = s.Erased, s.From, s.Closed
	c.ring.periods = slices.Clone(s.Keys)
	c.verified = slices.Clone(s.Files)
	c.rollups.newest = s.Newest
	c.rollups.known = s.Pruned == 0 || s.Newest >= 0
	files := map[int64]File{}
	for _, f := range s.Files {
		files[f.First] = f
	}
	for i := range s.Pending {
		t := &s.Pending[i]
		path := records.Segment{First: t.First, Sealed: true}.Path()
		c.rollups.found[t.First] = t.pending(path, files[t.First])
	}
}

// sameTiles makes the tree of the state's size again from the tiles, and
// compares all of them with each other and with the state. It compares the
// heads that are of a smaller tree, too.
func (c *check) sameTiles() error {
	s := c.state
	for index := range s.Size / tree.Width {
		hashes, err := c.load(0, index)
		if errors.Is(err, errCannotTell) {
			return err
		}
		if err != nil {
			return &fullError{fmt.Sprintf("the tiles of what was verified before are not all there: %v", err)}
		}
		c.grow(hashes)
		if c.failed != nil {
			return c.failed
		}
	}
	leaves := make([]tree.Hash, 0, tree.Width)
	for _, h := range s.Edge[0] {
		leaves = append(leaves, tree.Hash(h))
	}
	c.grow(leaves)
	if len(c.wrong) > 0 || c.lost > 0 {
		return &fullError{"the tiles of what was verified before are missing or wrong"}
	}
	for level, hashes := range s.Edge {
		if !slices.EqualFunc(hashes, c.tree.Edge(level), func(d Digest, h tree.Hash) bool { return tree.Hash(d) == h }) {
			return &fullError{"the tiles are not those of the log that was verified before"}
		}
	}
	return c.failed
}

// grow adds hashes of records to the tree.
func (c *check) grow(leaves []tree.Hash) {
	for _, h := range leaves {
		c.root()
		c.tree.Append(h, c.tile)
	}
}

// saveEvery is how often the state is kept during a verification.
const saveEvery = time.Second

// keep keeps the state: after a segment how far the verification came and, at
// the end, the checkpoint. Of a log with a problem nothing more is kept.
func (c *check) keep(end bool) error {
	if c.failed != nil {
		return c.failed
	}
	now := c.opt.Now()
	if c.opt.Save == nil || !c.OK() || len(c.wrong) > 0 || !end && (!c.prefix || now.Sub(c.saved) < saveEvery) {
		return nil
	}
	if h := c.state; !end && h != nil && h.Head != nil && c.tree.Size() < h.Head.Size {
		return nil // it is not known yet whether this is the same log
	}
	c.saved = now
	if c.prefix {
		c.position()
	}
	s := c.next
	if s == nil {
		s = &State{Version: stateVersion, Newest: -1}
	}
	if c.state != nil {
		s.Head = c.state.Head
	}
	if end && c.signed != nil {
		s.Head = &StateHead{c.signed.Origin, c.signed.Size, c.signed.Root}
	}
	return c.opt.Save(s)
}

// position notes how far the sealed segments go.
func (c *check) position() {
	s := &State{
		Version: stateVersion, Files: slices.Clone(c.verified), Size: c.tree.Size(), Pruned: c.Pruned, Erased: c.retained, Keys: slices.Clone(c.ring.periods),
		From: c.From, Closed: c.closed, Newest: c.rollups.newest,
	}
	for level := 0; s.Size>>(8*level) > 0; level++ {
		hashes := make([]Digest, 0, tree.Width)
		for _, h := range c.tree.Edge(level) {
			hashes = append(hashes, Digest(h))
		}
		s.Edge = append(s.Edge, hashes)
	}
	for _, first := range sorted(c.rollups.found) {
		if p := c.rollups.found[first]; p.sealed {
			s.Pending = append(s.Pending, p.tally(first))
		}
	}
	c.next = s
}
