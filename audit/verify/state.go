package verify

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// stateVersion changes when an older version cannot read the state.
const stateVersion = 1

// State is what a verification keeps for the next one: how far the log was
// verified, and the newest checkpoint that it was verified against. It is JSON,
// about 150 bytes for each sealed segment. Whoever can change it can make the
// next verification pass over a segment: it belongs to the verifier, not to the
// host of the log.
type State struct {
	Version int `json:"version"`
	// Head is the newest checkpoint that a whole verification found true.
	Head *StateHead `json:"head,omitempty"`

	// The sealed segments from the beginning of the log, or of what is left of
	// it, that were verified without a gap.
	Files   []File       `json:"files,omitempty"`
	Size    int64        `json:"size"`           // records in and before them
	Edge    [][]Digest   `json:"edge,omitempty"` // of the tree of that size, by level
	Pruned  int64        `json:"pruned,omitempty"`
	Erased  int64        `json:"erased,omitempty"` // upto of a log.erase record
	From    string       `json:"from,omitempty"`
	Closed  bool         `json:"closed,omitempty"` // the last record is log.close
	Newest  int64        `json:"newest_rollup"`
	Pending []StateTally `json:"pending,omitempty"`
	Keys    []period     `json:"keys,omitempty"` // that signed, by log.open records
}

// StateHead is what a checkpoint says.
type StateHead struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"`
	Root   tree.Hash `json:"root"`
}

// File is a sealed segment that was verified.
type File struct {
	First  int64  `json:"first"`
	Next   int64  `json:"next"`
	Bytes  int64  `json:"bytes"`
	SHA256 Digest `json:"sha256"`
}

// StateTally is a segment that waits for its rollup record.
type StateTally struct {
	First    int64           `json:"first"`
	Records  int64           `json:"records"`
	Bytes    int64           `json:"bytes"`
	From     string          `json:"from"`
	To       string          `json:"to"`
	Kinds    json.RawMessage `json:"kinds"`
	Requests json.RawMessage `json:"requests"`
	Differs  string          `json:"differs,omitempty"`
	Seq      int64           `json:"seq,omitempty"`
}

// Digest is a SHA-256 hash, in JSON hex.
type Digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != 2*len(d) {
		return fmt.Errorf("%q is not a SHA-256 hash", b)
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// ErrState means that a state file is not one, or is damaged.
var ErrState = errors.New("the state file is damaged: remove it to verify all of the log again")

// ParseState reads a state.
func ParseState(b []byte) (*State, error) {
	s := &State{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if d.More() {
		return nil, fmt.Errorf("%w: something follows it", ErrState)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%w: it is of version %d, not %d", ErrState, s.Version, stateVersion)
	}
	if what := s.wrong(); what != "" {
		return nil, fmt.Errorf("%w: %s", ErrState, what)
	}
	return s, nil
}

// wrong tells what no state can have.
func (s *State) wrong() string {
	at := s.Pruned
	for _, f := range s.Files {
		if f.First != at || f.Next <= f.First || f.Bytes < 0 {
			return fmt.Sprintf("the segment that begins with record %d does not follow the one before", f.First)
		}
		at = f.Next
	}
	switch {
	case s.Pruned < 0 || s.Erased < 0 || len(s.Files) == 0 && s.Size != 0 || len(s.Files) > 0 && at != s.Size:
		return "its numbers do not fit together"
	case s.Newest < -1 || s.Newest >= max(s.Size, 1):
		return "its newest rollup record is not in it"
	case s.Head != nil && s.Head.Size < 0:
		return "its checkpoint is of no size"
	case len(s.Edge) > 8:
		return "its tree has too many levels"
	}
	for level, hashes := range s.Edge {
		if int64(len(hashes)) != s.Size>>(8*level)%tree.Width {
			return fmt.Sprintf("its tree does not have the hashes of level %d", level)
		}
	}
	if s.Size>>(8*len(s.Edge)) > 0 {
		return "its tree has too few levels"
	}
	for _, p := range s.Pending {
		if p.First < s.Pruned || p.Records < 1 || p.First > s.Size-p.Records {
			return "a segment that waits for its rollup record is not in it"
		}
	}
	return ""
}

// LoadState reads a state file. It returns nil if there is none.
func LoadState(name string) (*State, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nil is the answer
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state file: %w", err)
	}
	s, err := ParseState(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Store writes a state file: after a crash at any moment it holds the old state
// or the new one.
func (s *State) Store(name string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the state file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*"+tempSuffix)
	if err != nil {
		return fmt.Errorf("writing the state file: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing the state file: %w", err)
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("writing the state file: %w", err)
	}
	_ = d.Sync() // not every system can; the file is there or the old one is
	return d.Close()
}

// tally turns a pending segment into what the state keeps.
func (p *pending) tally(first int64) StateTally {
	return StateTally{
		First: first, Records: p.segment.Records, Bytes: p.segment.Bytes, From: p.segment.From, To: p.segment.To,
		Kinds: p.members.Kinds, Requests: p.members.Requests, Differs: p.differs, Seq: p.seq,
	}
}

func (t *StateTally) pending(path string, f File) *pending {
	return &pending{
		path: path, sealed: true, differs: t.Differs, seq: t.Seq,
		segment: rollup.Segment{First: t.First, Records: t.Records, From: t.From, To: t.To, Bytes: t.Bytes},
		file:    rollup.Sealed{Bytes: f.Bytes, SHA256: f.SHA256},
		members: rollup.Members{Kinds: t.Kinds, Requests: t.Requests},
	}
}
