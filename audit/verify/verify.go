// Package verify checks a log against its signed checkpoint. It shares with
// the writer of the log only the definition of the format: it imports neither
// Caddy nor package audit.
//
// It reads every byte of every file of the log, each once and in constant
// memory, and checks that
//
//   - the checkpoint is signed by the given key;
//   - the records are there from 0 on without a gap, each whole and valid, and
//     each one JSON object that no two readers can read differently;
//   - the tree over the records has the root that the checkpoint signs, and had
//     the root that each anchored, witnessed or earlier checkpoint signs when it
//     was of that size;
//   - each stored hash tile is the one that the records give;
//   - each sealed segment is the file, and has the contents, that its rollup
//     record says, counter by counter;
//   - the file of rollups is a copy of the rollup records;
//   - there is no file that does not belong to a log.
//
// Of a log whose oldest records were removed after their time of retention the
// tree is made again from its tiles; a log.erase record must say so.
package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
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
	Records  int64     `json:"records"`  // whole and valid records found, the resumed ones with them
	Signed   int64     `json:"signed"`   // records under the checkpoint
	Root     string    `json:"root"`     // that the checkpoint signs
	Pruned   int64     `json:"pruned"`   // records before this one were removed: they are verified by their hashes only
	Resumed  int64     `json:"resumed"`  // records before this one were verified by an earlier run and not read again
	Segments int       `json:"segments"` // files
	Sealed   int       `json:"sealed"`
	Tiles    int64     `json:"tiles"`
	From     string    `json:"from"` // time of the first record
	To       string    `json:"to"`   // time of the last record
	Problems []Problem `json:"problems"`
	Notes    []string  `json:"notes"` // what is worth knowing and no problem
}

// OK reports whether nothing was found wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Progress is how far a verification is.
type Progress struct {
	Segments, OfSegments int
	Bytes, OfBytes       int64 // of segment files
	Records              int64 // bytes of records that were read
	Elapsed              time.Duration
}

// Rate is how many bytes of records were verified in a second.
func (p Progress) Rate() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.Records) / p.Elapsed.Seconds()
}

// Options of Dir. The zero value verifies all of the log.
type Options struct {
	// Progress, if not nil, is told now and then how far the verification is,
	// and at the end of each segment.
	Progress func(Progress)
	// Earlier are checkpoints that were kept. The log must be consistent with
	// each.
	Earlier []Earlier
	// Vouch, if not nil, verifies what others sign on an anchored or witnessed
	// checkpoint. It returns a note for the report, or an error, which is a
	// problem. Without it the report says how many were not verified.
	Vouch func(Anchor) (string, error)
	// State, if not nil, is what an earlier verification of the log kept. The
	// log must be consistent with the checkpoint that it saw, and the segments
	// that it verified are not read again if their files did not change.
	State *State
	// Full reads all of the log again, in spite of State.
	Full bool
	// Save, if not nil, keeps the state after a segment, at most once a second,
	// and at the end if nothing was found wrong. Its error ends the
	// verification.
	Save func(*State) error
	// StateName is what reports call the state; default: the state file.
	StateName string
	// Now is the clock; default: time.Now.
	Now func() time.Time
}

func (o *Options) stateName() string {
	if o.StateName == "" {
		return "the state file"
	}
	return o.StateName
}

// Dir verifies the log in a directory. An error means that the verification
// could not be made; what is wrong with the log is in the report.
func Dir(dir fs.FS, keys []note.Verifier, opt Options) (*Report, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if _, err := fs.Lstat(dir, records.Folder); errors.Is(err, fs.ErrNotExist) {
		if _, err := fs.Lstat(dir, checkpoint.File); errors.Is(err, fs.ErrNotExist) {
			return nil, errors.New("this is not a log: it has neither a checkpoint nor segments")
		}
	}
	resume, why := opt.State != nil && !opt.Full, ""
	for {
		c := newCheck(dir, keys, opt)
		if why != "" {
			c.note("all of the log was read again: %s", why)
		}
		err := c.run(resume)
		var full *fullError
		if resume && errors.As(err, &full) {
			resume, why = false, full.why
			continue
		}
		if err != nil {
			return nil, err
		}
		return &c.Report, nil
	}
}

// check is a verification at work.
type check struct {
	Report
	dir   fs.FS
	keys  []note.Verifier
	opt   Options
	state *State // that was given

	began   time.Time
	done    Progress
	told    time.Time
	saved   time.Time
	anchors []string // names of files
	highest [8]tree.Tile

	signed    *checkpoint.Head
	known     []known // heads that were not yet compared, by size
	unvouched int

	ring     keyring
	tree     tree.Tree
	record   member.Record
	tileBuf  []byte
	rollups  rollupCheck
	verified []File // verified sealed segments from the first on without a gap, for the state
	prefix   bool   // so far there was no other
	lost     int64  // tiles that are not present
	wrong    []Problem
	closed   bool   // the last record is log.close
	opened   int64  // the last log.open record
	broken   bool   // the walk ended at a bad record
	time     []byte // of the last record
	next     *State // to be kept: it ends before the first open segment
	failed   error  // that ends the verification
	retained int64  // a log.erase record says that records before this one were removed

	oldest    string // path of the first segment
	lastFirst int64  // first record of the last segment
}

func newCheck(dir fs.FS, keys []note.Verifier, opt Options) *check {
	c := &check{dir: dir, keys: keys, opt: opt, state: opt.State, prefix: true, began: opt.Now()}
	c.Problems, c.Notes = []Problem{}, []string{}
	c.rollups.init()
	return c
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

// run makes the verification. The file of rollups, the anchors, the checkpoint
// and the segments are looked at in this order, in which each may lag behind
// what follows in a log that is being written.
func (c *check) run(resume bool) error {
	if err := c.files(); err != nil {
		return fmt.Errorf("%w: %w", errCannotTell, err)
	}
	if err := c.openRollups(); err != nil {
		return err
	}
	defer c.closeRollups()
	begun, err := c.segments()
	if err != nil {
		return err
	}
	if n := len(begun); n > 0 { // before the checkpoint is read, which then signs all before it
		c.lastFirst = begun[n-1].First
	}
	if err := c.heads(); err != nil {
		return err
	}
	list, err := c.segments()
	if err != nil {
		return err
	}
	if err := c.walk(list, resume); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	return c.keep(true)
}

// segments lists the segments, without those that are no regular files.
func (c *check) segments() ([]records.Segment, error) {
	if info, err := fs.Lstat(c.dir, records.Folder); err == nil && !info.IsDir() {
		return nil, nil // its name was reported
	}
	list, err := records.Dir{FS: c.dir}.Segments()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errCannotTell, err)
	}
	list = slices.DeleteFunc(list, func(s records.Segment) bool {
		info, err := fs.Lstat(c.dir, s.Path())
		return err == nil && !info.Mode().IsRegular()
	})
	c.Segments, c.done.OfSegments = len(list), len(list)
	if len(list) > 0 {
		c.oldest = list[0].Path()
	}
	return list, nil
}

// walk goes through the segments, up to the first bad record.
func (c *check) walk(list []records.Segment, resume bool) error {
	if resume {
		rest, err := c.resume(list)
		if err != nil {
			return err
		}
		list = rest
	} else if len(list) > 0 && list[0].First > 0 {
		if err := c.pruned(list[0]); err != nil || c.broken {
			return err
		}
	}
	c.root()
	for i, s := range list {
		if s.First != c.tree.Size() {
			c.badRecord(s.Path(), c.tree.Size(), fmt.Sprintf("it is missing: the segment before ends with record %d, this one begins with %d", c.tree.Size()-1, s.First))
			c.broken = true
			return nil
		}
		ok, err := c.segment(s, i == len(list)-1)
		if err != nil {
			return err
		}
		if !ok {
			c.broken = true
			return nil
		}
		c.done.Segments++
		c.progress(true)
		if err := c.keep(false); err != nil {
			return err
		}
	}
	return nil
}

// progress tells how far the verification is, ten times a second.
func (c *check) progress(now bool) {
	if c.opt.Progress == nil {
		return
	}
	t := c.opt.Now()
	if !now && t.Sub(c.told) < time.Second/10 {
		return
	}
	c.told, c.done.Elapsed = t, t.Sub(c.began)
	c.opt.Progress(c.done)
}

// end makes the checks that need all of the log.
func (c *check) end() error {
	c.To = string(c.time)
	if !c.broken {
		c.extent()
		c.retention()
		c.keysInUse()
		c.rollups.end(c)
		for level, t := range c.highest {
			if t.Width > 0 && t.Index >= c.tree.Size()>>(8*(level+1)) {
				c.problem(tree.TilePath(t.Level, t.Index, t.Width), "the log has too few records for this tile")
			}
		}
		if err := c.endRollups(); err != nil {
			return err
		}
	}
	for _, p := range c.wrong {
		p.IsRecord = false // after the root agreed, the tile is at fault
		c.Problems = append(c.Problems, p)
	}
	if c.lost > 0 {
		c.note("%d hash tiles are not there; they are derived from the records and are made again when the log is opened", c.lost)
	}
	if c.unvouched > 0 {
		c.note("%d anchored or witnessed checkpoints are this log's; the time stamps and cosignatures on them were not verified", c.unvouched)
	}
	return nil
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

// sorted returns the keys of a map in order.
func sorted[V any](m map[int64]V) []int64 { return slices.Sorted(maps.Keys(m)) }
