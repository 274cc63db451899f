// Package verify checks a log against its signed checkpoint. It shares with
// the writer of the log only the definition of the format: it imports neither
// Caddy nor package audit.
//
// It reads every byte of every file of the log and checks that
//
//   - the checkpoint is signed by the given key;
//   - the records are there from 0 on without a gap, each whole and valid;
//   - the tree over the records has the root that the checkpoint signs;
//   - each stored hash tile is the one that the records give;
//   - each sealed segment is the file, and has the contents, that its rollup
//     record says;
//   - there is no file that does not belong to a log.
package verify

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Problem is something that a log which nobody tampered with does not have.
type Problem struct {
	Path string `json:"path"` // file, relative to the log
	Seq  int64  `json:"seq"`  // first bad record, if IsRecord
	What string `json:"what"`

	IsRecord bool `json:"is_record"` // whether Seq is known
}

func (p Problem) String() string {
	if p.IsRecord {
		return fmt.Sprintf("record %d in %s: %s", p.Seq, p.Path, p.What)
	}
	return fmt.Sprintf("%s: %s", p.Path, p.What)
}

// Report is the outcome of a verification.
type Report struct {
	Origin   string    `json:"origin"`
	Records  int64     `json:"records"` // whole and valid records found
	Signed   int64     `json:"signed"`  // records under the checkpoint
	Root     string    `json:"root"`    // that the checkpoint signs
	Segments int       `json:"segments"`
	Sealed   int       `json:"sealed"`
	Tiles    int       `json:"tiles"`
	From     string    `json:"from"` // time of the first record
	To       string    `json:"to"`   // time of the last record
	Problems []Problem `json:"problems"`
	Notes    []string  `json:"notes"` // what is worth knowing and no problem
}

// OK reports whether nothing was found wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Options of Dir.
type Options struct {
	// Progress, if not nil, is told after each segment how many of how many
	// segments are done.
	Progress func(done, total int)
}

// Dir verifies the log in a directory. An error means that the verification
// could not be made; what is wrong with the log is in the report.
func Dir(dir fs.FS, keys []note.Verifier, opt Options) (*Report, error) {
	c := &check{dir: dir, records: records.Dir{FS: dir}, opt: opt, rollups: map[int64]rollup{}, found: map[int64]*tally{}}
	if _, err := fs.Stat(dir, records.Folder); errors.Is(err, fs.ErrNotExist) {
		if _, err := fs.Stat(dir, checkpoint.File); errors.Is(err, fs.ErrNotExist) {
			return nil, errors.New("this is not a log: it has neither a checkpoint nor segments")
		}
	}
	if err := c.files(); err != nil {
		return nil, err
	}
	c.head(keys)
	c.walk()
	c.end()
	return &c.Report, nil
}

// check is a verification at work.
type check struct {
	Report
	dir     fs.FS
	records records.Dir
	opt     Options

	signed  *checkpoint.Head
	tree    tree.Tree
	rollups map[int64]rollup // by first record of the segment; the newest counts
	found   map[int64]*tally // what the segments really hold
	tiles   map[string]bool  // tile files present and not yet compared
	lost    int              // tiles that are not present
	wrong   []Problem        // tiles that differ; who is at fault shows at the end
	closed  bool             // the last record is log.close
	rooted  bool             // the root was compared
	broken  bool             // the walk ended at a bad record

	lastFirst int64 // first record of the last segment
	keys      keyring
}

func (c *check) problem(path, what string, args ...any) {
	c.Problems = append(c.Problems, Problem{Path: path, What: fmt.Sprintf(what, args...)})
}

func (c *check) badRecord(path string, seq int64, what string) {
	c.Problems = append(c.Problems, Problem{Path: path, Seq: seq, IsRecord: true, What: what})
}

func (c *check) note(what string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(what, args...))
}

// tempSuffix ends the names of files that were not yet renamed into place.
const tempSuffix = ".tmp"

// files looks at the name of every file.
func (c *check) files() error {
	c.tiles = map[string]bool{}
	return fs.WalkDir(c.dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasSuffix(path, tempSuffix) {
			c.note("%s is left from an interrupted write and is not part of the log", path)
			return nil
		}
		if path == checkpoint.File {
			return nil
		}
		if path == reserveFile {
			c.reserve()
			return nil
		}
		if name, ok := strings.CutPrefix(path, records.Folder+"/"); ok {
			if _, _, ok := segment.ParseName(name); ok {
				return nil
			}
		}
		if t, err := tree.ParsePath(path); err == nil && t.Level != tree.Entries && t.Width == tree.Width {
			c.tiles[path] = true
			return nil
		}
		c.problem(path, "this file does not belong to a log")
		return nil
	})
}

// reserveFile is room that the log keeps for a full disk.
const reserveFile = "reserve"

// reserve checks that the reserve holds nothing.
func (c *check) reserve() {
	b, err := fs.ReadFile(c.dir, reserveFile)
	if err != nil {
		c.problem(reserveFile, "it cannot be read: %v", err)
	} else if at := segment.NotBlank(b); at >= 0 {
		c.problem(reserveFile, "byte %d is not zero, but the file is a reserve", at)
	}
}

// head verifies the checkpoint.
func (c *check) head(keys []note.Verifier) {
	b, err := fs.ReadFile(c.dir, checkpoint.File)
	if err != nil {
		c.problem(checkpoint.File, "it cannot be read: %v", err)
		return
	}
	h, others, err := checkpoint.Open(b, keys...)
	if err != nil {
		c.problem(checkpoint.File, "%v", err)
		return
	}
	c.signed = &h
	c.keys.head(b, keys, others)
	c.Origin, c.Signed, c.Root = h.Origin, h.Size, h.Root.String()
	for _, name := range others {
		c.note("the checkpoint also has a signature by the key %s, which was not given and is not verified", name)
	}
}

// walk goes through the segments, up to the first bad record.
func (c *check) walk() {
	list, err := c.records.Segments()
	if err != nil {
		c.problem(records.Folder, "it cannot be read: %v", err)
		c.broken = true
		return
	}
	c.Segments = len(list)
	c.root()
	for i, s := range list {
		if s.First != c.tree.Size() {
			c.badRecord(s.Path(), c.tree.Size(), fmt.Sprintf("it is missing: the segment before ends with record %d, this one begins with %d", c.tree.Size()-1, s.First))
			c.broken = true
			return
		}
		c.lastFirst = s.First
		if !c.segment(s, i == len(list)-1) {
			c.broken = true
			return
		}
		if c.opt.Progress != nil {
			c.opt.Progress(i+1, len(list))
		}
	}
}

// segment verifies one segment and reports whether to go on.
func (c *check) segment(s records.Segment, last bool) bool {
	t := &tally{first: s.First, kinds: map[string]int64{}}
	c.found[s.First] = t
	frames, err := c.read(s, t)
	if err != nil {
		c.badRecord(s.Path(), s.First, err.Error())
		return false
	}
	valid, next, err := segment.Scan(frames, s.First, func(seq int64, record []byte) error {
		c.record(s, seq, record, t)
		return nil
	})
	if err == nil {
		if at := segment.NotBlank(frames[valid:]); at >= 0 {
			err = fmt.Errorf("byte %d is not zero, but lies after the last record", valid+at)
		} else if valid < len(frames) && (!last || c.closed) {
			err = fmt.Errorf("%d bytes follow the last record", len(frames)-valid)
		}
	}
	if err == nil {
		return true
	}
	if last && !s.Sealed && !c.closed && c.signed != nil && next >= c.signed.Size && !segment.LaterCommit(frames[valid:], next) {
		c.note("%s has %d bytes of an unfinished write after record %d, the last one; a crash leaves such a tail", s.Path(), len(bytes.TrimRight(frames[valid:], "\x00")), next-1)
		return true
	}
	c.badRecord(s.Path(), next, err.Error())
	return false
}

// read returns the frames of a segment. Of a sealed one it notes the hash of
// the file; of one that exists in both forms it compares them.
func (c *check) read(s records.Segment, t *tally) ([]byte, error) {
	b, err := fs.ReadFile(c.dir, s.Path())
	if errors.Is(err, fs.ErrNotExist) && !s.Sealed { // sealed since it was listed: its rollup may be yet to come
		if b, err = fs.ReadFile(c.dir, records.Segment{First: s.First, Sealed: true}.Path()); err == nil {
			return segment.Open(s.First, b)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if s.Sealed {
		c.Sealed++
		t.sealed, t.sealedBytes, t.hash = true, int64(len(b)), sha256.Sum256(b)
		b, err = segment.Open(s.First, b)
		return b, err
	}
	other := records.Segment{First: s.First, Sealed: true}
	if twin, err := fs.ReadFile(c.dir, other.Path()); err == nil {
		frames, err := segment.Open(s.First, twin)
		if err != nil {
			c.problem(other.Path(), "%v", err)
		} else if !bytes.Equal(frames, b) {
			c.problem(other.Path(), "it differs from %s", s.Path())
		}
	}
	return b, nil
}

// record takes one valid record into the tree and the tallies.
func (c *check) record(s records.Segment, seq int64, record []byte, t *tally) {
	h, err := parse(record)
	if err != nil {
		c.badRecord(s.Path(), seq, err.Error())
	}
	if (seq == 0 || c.closed) && h.Kind != "log.open" {
		c.badRecord(s.Path(), seq, "a log begins, and goes on after a log.close, with a log.open")
	}
	if seq == 0 {
		c.From = h.Time
	}
	c.To, c.closed = h.Time, h.Kind == "log.close"
	t.add(h, len(record))
	if err := c.keys.record(h.Kind, seq, record); err != nil {
		c.badRecord(s.Path(), seq, err.Error())
	}
	if h.Kind == "rollup" {
		h.rollup.seq, h.rollup.path = seq, s.Path()
		c.rollups[h.rollup.Segment.First] = h.rollup
	}
	c.Records++
	c.tree.Append(tlog.RecordHash(record), c.tile)
	c.root()
}

// root compares the root when the tree has the size that was signed.
func (c *check) root() {
	if c.signed == nil || c.rooted || c.tree.Size() != c.signed.Size {
		return
	}
	c.rooted = true
	if c.tree.Root() == c.signed.Root {
		return
	}
	if len(c.wrong) > 0 && c.wrong[0].IsRecord { // the tiles tell which record it is
		c.badRecord(c.wrong[0].Path, c.wrong[0].Seq, "its hash is not the one in the log's tiles, and the records do not have the root that the checkpoint signs")
		return
	}
	first := c.tree.Size() - c.tree.Size()%tree.Width
	if c.lost > 0 {
		first = 0
	}
	c.badRecord(checkpoint.File, first, fmt.Sprintf("the records do not have the root that the checkpoint signs; the first that differs from the log's tiles is one of %d to %d", first, c.tree.Size()-1))
}

// tile compares a full tile with the file that holds it.
func (c *check) tile(level int, index int64, hashes []tree.Hash) {
	path := tree.TilePath(level, index, tree.Width)
	if !c.tiles[path] {
		c.lost++
		return
	}
	delete(c.tiles, path)
	c.Tiles++
	b, err := fs.ReadFile(c.dir, path)
	if err != nil {
		c.problem(path, "it cannot be read: %v", err)
		return
	}
	if bytes.Equal(b, tree.Join(hashes)) {
		return
	}
	p := Problem{Path: path, What: "it is not the tile that the records give"}
	stored, err := tree.Split(b)
	if err == nil && len(stored) == tree.Width && level == 0 {
		for i := range hashes {
			if stored[i] != hashes[i] {
				p.IsRecord, p.Seq = true, index*tree.Width+int64(i)
				break
			}
		}
	}
	c.wrong = append(c.wrong, p)
}

// end makes the checks that need all of the log.
func (c *check) end() {
	if !c.broken {
		c.extent()
		c.sealedSegments()
		c.keysInUse()
		for path := range c.tiles {
			c.problem(path, "the log has too few records for this tile")
		}
	}
	for _, p := range c.wrong {
		p.IsRecord = false // after the root agreed, the tile is at fault
		c.Problems = append(c.Problems, p)
	}
	if c.lost > 0 {
		c.note("%d hash tiles are not there; they are derived from the records and are made again when the log is opened", c.lost)
	}
}

// extent compares the length of the log with the checkpoint.
func (c *check) extent() {
	if c.signed == nil {
		return
	}
	if c.tree.Size() < c.signed.Size {
		c.badRecord(records.Folder, c.tree.Size(), fmt.Sprintf("it is missing: the log ends with record %d, but the checkpoint signs %d records", c.tree.Size()-1, c.signed.Size))
	}
	if n := c.tree.Size() - c.signed.Size; n > 0 {
		c.note("%d records after the checkpoint are not signed yet: nothing vouches for them", n)
	}
	if c.signed.Size < c.lastFirst { // a segment begins when all before it is signed
		c.badRecord(checkpoint.File, c.signed.Size, fmt.Sprintf("no checkpoint signs it, but the last segment begins with record %d, and a segment begins when all before it is signed", c.lastFirst))
	}
}
