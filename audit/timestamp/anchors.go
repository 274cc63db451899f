package timestamp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
)

// Names of the files. Part of the on-disk format; do not change.
const (
	Folder         = "anchors" // of the stamped checkpoints, in the log's directory
	checkpointKind = ".checkpoint"
	responseKind   = ".tsr"
	digits         = 20
)

// maxNote is longer than a checkpoint with hundreds of signatures.
const maxNote = 64 << 10

// CheckpointPath is the path of the checkpoint of a tree of the given size,
// relative to the log.
func CheckpointPath(size int64) string { return path(size, checkpointKind) }

// ResponsePath is the path of the time stamp over that checkpoint.
func ResponsePath(size int64) string { return path(size, responseKind) }

func path(size int64, kind string) string {
	return fmt.Sprintf("%s/%0*d%s", Folder, digits, size, kind)
}

// ParsePath reads the path of a file in Folder. stamp tells whether it is that
// of a time stamp or of a checkpoint.
func ParsePath(name string) (size int64, stamp, ok bool) {
	base, ok := strings.CutPrefix(name, Folder+"/")
	if !ok {
		return 0, false, false
	}
	number, stamp := strings.CutSuffix(base, responseKind)
	if !stamp {
		if number, ok = strings.CutSuffix(base, checkpointKind); !ok {
			return 0, false, false
		}
	}
	size, err := strconv.ParseInt(number, 10, 64)
	if err != nil || size < 0 || path(size, base[len(number):]) != name {
		return 0, false, false
	}
	return size, stamp, true
}

// Anchor is a checkpoint of the log that an authority has stamped.
type Anchor struct {
	checkpoint.Head // as the log's key signed it
	Stamp           // zero unless Verified
	Verified        bool
}

// Problem is something that the anchors of an honest log do not have.
type Problem struct {
	Path string // file, relative to the log
	What string
}

// Anchors is the outcome of Check.
type Anchors struct {
	List      []Anchor // by size
	Unstamped []int64  // sizes of checkpoints that have no time stamp; no problem
	Problems  []Problem
}

// Check verifies the anchors of a log, given its directory, the log's keys and
// the root certificates of the authorities. Each checkpoint must be signed by one
// of the keys and be of the size that its name says, and each time stamp must be
// valid over it. Whether the records have the root that an anchor has is for the
// caller to compare, who walks them. Without roots time stamps are not verified:
// the anchors are then checkpoints of the log without a time. An error means that
// the check could not be made.
func Check(dir fs.FS, keys []note.Verifier, roots *x509.CertPool) (*Anchors, error) {
	a := &Anchors{}
	files, err := fs.ReadDir(dir, Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the anchors: %w", err)
	}
	found := a.sort(files)
	for _, size := range slices.Sorted(maps.Keys(found)) {
		switch has := found[size]; {
		case !has.checkpoint:
			a.problem(ResponsePath(size), errors.New("the checkpoint that it stamps is missing"))
		case !has.stamp:
			a.Unstamped = append(a.Unstamped, size)
		default:
			a.check(dir, size, keys, roots)
		}
	}
	return a, nil
}

// pair tells which of the two files of an anchor are there.
type pair struct{ checkpoint, stamp bool }

// sort finds the anchors, by size, and the files that belong to none.
func (a *Anchors) sort(files []fs.DirEntry) map[int64]pair {
	found := map[int64]pair{}
	for _, f := range files {
		name := Folder + "/" + f.Name()
		if strings.HasSuffix(name, ".tmp") { // left from an interrupted write
			continue
		}
		size, stamp, ok := ParsePath(name)
		if !ok || !f.Type().IsRegular() {
			a.problem(name, errors.New("this file does not belong to the anchors of a log"))
			continue
		}
		has := found[size]
		has.stamp, has.checkpoint = has.stamp || stamp, has.checkpoint || !stamp
		found[size] = has
	}
	return found
}

func (a *Anchors) problem(name string, err error) {
	a.Problems = append(a.Problems, Problem{name, err.Error()})
}

// check verifies one anchor.
func (a *Anchors) check(dir fs.FS, size int64, keys []note.Verifier, roots *x509.CertPool) {
	signed, err := readFile(dir, CheckpointPath(size), maxNote)
	if err != nil {
		a.problem(CheckpointPath(size), err)
		return
	}
	response, err := readFile(dir, ResponsePath(size), MaxResponse)
	if err != nil {
		a.problem(ResponsePath(size), err)
		return
	}
	h, _, err := checkpoint.Open(signed, keys...)
	if err == nil && h.Size != size {
		err = fmt.Errorf("it is the checkpoint of a tree of size %d", h.Size)
	}
	if err != nil {
		a.problem(CheckpointPath(size), err)
		return
	}
	anchor := Anchor{Head: h}
	if roots != nil {
		if anchor.Stamp, err = Verify(response, signed, roots); err != nil {
			a.problem(ResponsePath(size), err)
			return
		}
		anchor.Verified = true
	}
	a.List = append(a.List, anchor)
}

// readFile reads a file that has at most so many bytes.
func readFile(dir fs.FS, name string, most int64) ([]byte, error) {
	info, err := fs.Stat(dir, name)
	if err == nil && info.Size() > most {
		err = fmt.Errorf("it has %d bytes, more than the %d that it may have", info.Size(), most)
	}
	if err != nil {
		return nil, err
	}
	b, err := fs.ReadFile(dir, name)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	return b, nil
}
