package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
)

// Anchor is a checkpoint that something outside the log vouches for.
type Anchor struct {
	Path string          // of the checkpoint, relative to the log
	Note []byte          // the checkpoint, with all its signatures
	Head checkpoint.Head // what it says; a log key's signature was verified
	// Stamp is the time stamp that lies beside it, a response of RFC 3161, or
	// nil.
	Stamp []byte
}

// Earlier is a checkpoint that the verifier kept from an earlier time.
type Earlier struct {
	Name string // for reports
	Note []byte
}

// known is a head that the tree must go through.
type known struct {
	name string // file that says so
	checkpoint.Head
	what string // for reports: "the checkpoint", …
}

// heads reads all checkpoints. The newest is read last, so that it is no older
// than the others in a log that is being written.
func (c *check) heads() error {
	for _, e := range c.opt.Earlier {
		if h, ok := c.signedHead(e.Name, e.Note); ok {
			c.known = append(c.known, known{e.Name, h, "the earlier checkpoint"})
		}
	}
	if err := c.anchored(); err != nil {
		return err
	}
	b, err := c.read(checkpoint.File, maxNote)
	switch {
	case errors.Is(err, errCannotTell):
		return err
	case errors.Is(err, fs.ErrNotExist):
		c.problem(checkpoint.File, "it is missing")
	case err != nil:
		c.problem(checkpoint.File, "%v", err)
	default:
		if h, ok := c.signedHead(checkpoint.File, b); ok {
			c.inUse(b)
			c.signed = &h
			c.ring.head(b, c.keys)
			c.Origin, c.Signed, c.Root = h.Origin, h.Size, h.Root.String()
			c.known = append(c.known, known{checkpoint.File, h, ""})
		}
	}
	if s := c.state; s != nil && s.Head != nil {
		c.known = append(c.known, known{c.opt.stateName(), checkpoint.Head{Origin: s.Head.Origin, Size: s.Head.Size, Root: s.Head.Root}, "the checkpoint that the last verification saw"})
	}
	c.older()
	slices.SortStableFunc(c.known, func(a, b known) int { return cmp.Compare(a.Size, b.Size) })
	return nil
}

// older reports what is newer than the log's own checkpoint, and what is of
// another log.
func (c *check) older() {
	if c.signed == nil {
		return
	}
	for _, k := range c.known {
		switch {
		case k.Origin != c.signed.Origin:
			c.problem(k.name, "%s is of the log %q, but this one is %q", k.what, k.Origin, c.signed.Origin)
		case k.Size > c.signed.Size:
			c.problem(k.name, "%s is of %d records, but the log's is of %d: the log was cut short, or an older state of it was put back", k.what, k.Size, c.signed.Size)
		}
	}
	c.known = slices.DeleteFunc(c.known, func(k known) bool { return k.Origin != c.signed.Origin || k.Size > c.signed.Size })
}

// signedHead verifies the log's own signature on a checkpoint.
func (c *check) signedHead(path string, b []byte) (checkpoint.Head, bool) {
	h, others, err := checkpoint.Open(b, c.keys...)
	if err != nil {
		c.problem(path, "%v", err)
		return h, false
	}
	for _, name := range others {
		if path == checkpoint.File {
			c.note("the checkpoint also has a signature by the key %s, which was not given and is not verified", name)
		}
	}
	return h, true
}

// anchored reads the checkpoints that were anchored outside.
func (c *check) anchored() error {
	for _, name := range c.anchors {
		if base, ok := strings.CutSuffix(name, anchorStamp); ok {
			if _, found := slices.BinarySearch(c.anchors, base+anchorNote); !found {
				c.problem(anchorFolder+"/"+name, "the checkpoint that it stamps is missing")
			}
			continue
		}
		if err := c.anchor(anchorFolder + "/" + name); err != nil {
			return err
		}
	}
	return c.witnessed()
}

// witnessed reads the newest checkpoints that were cosigned: the newest of all
// and, of witnesses that are not in it, older ones.
func (c *check) witnessed() error {
	b, err := c.readNote(witnessed)
	if b == nil || err != nil {
		return err
	}
	notes, err := checkpoint.Several(b)
	if err != nil {
		c.problem(witnessed, "%v", err)
		return nil
	}
	for _, b := range notes {
		if h, ok := c.signedHead(witnessed, b); ok {
			c.known = append(c.known, known{witnessed, h, "the witnessed checkpoint"})
			c.vouched(Anchor{Path: witnessed, Note: b, Head: h})
		}
	}
	return nil
}

// readNote reads a file of notes. It returns nil if there is nothing to be read,
// or a problem was reported.
func (c *check) readNote(path string) ([]byte, error) {
	b, err := c.read(path, maxNote)
	switch {
	case errors.Is(err, errCannotTell):
		return nil, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errIrregular):
		return nil, nil // removed since it was listed, or reported with its name
	case err != nil:
		c.problem(path, "%v", err)
		return nil, nil
	}
	return b, nil
}

// anchor reads a checkpoint that was stamped.
func (c *check) anchor(path string) error {
	b, err := c.readNote(path)
	if b == nil || err != nil {
		return err
	}
	h, ok := c.signedHead(path, b)
	if !ok {
		return nil
	}
	a := Anchor{Path: path, Note: b, Head: h}
	if size, _ := anchorSize(strings.TrimPrefix(path, anchorFolder+"/")); size != h.Size {
		c.problem(path, "it is named by %d records, but says %d", size, h.Size)
	}
	stamp := strings.TrimSuffix(path, anchorNote) + anchorStamp
	if a.Stamp, err = c.read(stamp, maxNote); errors.Is(err, errCannotTell) {
		return err
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errIrregular) {
		c.problem(stamp, "%v", err)
	}
	c.known = append(c.known, known{path, h, "the anchored checkpoint"})
	c.vouched(a)
	return nil
}

// vouched has the hook look at what vouches for an anchor.
func (c *check) vouched(a Anchor) {
	if c.opt.Vouch == nil {
		c.unvouched++
		return
	}
	text, err := c.opt.Vouch(a)
	if err != nil {
		c.problem(a.Path, "%v", err)
	} else if text != "" {
		c.note("%s: %s", a.Path, text)
	}
}

// Checkpoints reads earlier checkpoints that a verifier kept.
func Checkpoints(files []string, read func(string) ([]byte, error)) ([]Earlier, error) {
	var list []Earlier
	for _, name := range files {
		b, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("--checkpoint %s: %w", name, err)
		}
		if len(b) > maxNote {
			return nil, fmt.Errorf("--checkpoint %s: %d bytes are too many for a checkpoint", name, len(b))
		}
		list = append(list, Earlier{name, b})
	}
	return list, nil
}

// root compares the root with that of each known head of the present size.
func (c *check) root() {
	var root checkpoint.Head
	for len(c.known) > 0 && c.known[0].Size == c.tree.Size() {
		k := c.known[0]
		c.known = c.known[1:]
		if root.Size == 0 {
			root = checkpoint.Head{Size: -1, Root: c.tree.Root()}
		}
		c.compare(k, root)
	}
}

func (c *check) compare(k known, got checkpoint.Head) {
	switch {
	case got.Root == k.Root:
		if k.what != "" {
			c.note("the log is consistent with %s of %d records (%s)", k.what, k.Size, k.name)
		}
	case k.what != "":
		c.problem(k.name, "%s of %d records is not one of this log: the first %d records of it were others", k.what, k.Size, k.Size)
	default:
		c.notSigned()
	}
}
