package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// stateSuffix ends the name of a state file, which is OriginHash and this. Part
// of the on-disk format; do not change.
const stateSuffix = ".checkpoint"

// state is what the witness remembers of a log. On disk it is the newest
// checkpoint that the witness cosigned, with the signature of the log that the
// witness verified and its own cosignature: a C2SP signed-note.
//
// What is in memory is on disk, names included. Nothing that came of a write
// which failed is ever answered, so the next request may go on from the state
// before it, whatever the failed write left on the disk.
type state struct {
	mu   sync.Mutex // held while the file is written
	head checkpoint.Head
	note []byte // nil if the witness never cosigned a checkpoint of the log
	line string // the cosignature in note; empty if it is by another key
	time time.Time
}

// files keeps states in a directory.
type files struct {
	fs  durable.FS
	dir string
}

func (f files) name(origin string) string {
	return filepath.Join(f.dir, OriginHash(origin)+stateSuffix)
}

// load reads the state of a log. A file that is not signed by the witness or by
// the log is an error: with it gone or wrong the witness could cosign a fork.
func (f files) load(l Log, key *cosignature.Key) (*state, error) {
	name := f.name(l.Origin)
	b, err := f.fs.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &state{head: checkpoint.Head{Origin: l.Origin, Root: emptyRoot}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what the witness saw last of %s: %w", l.Origin, err)
	}
	s, err := parseState(b, l, key)
	if err != nil {
		return nil, fmt.Errorf("%s, what the witness saw last of %s: %w; restore the file: without it the witness could cosign another history", name, l.Origin, err)
	}
	return s, nil
}

func parseState(b []byte, l Log, key *cosignature.Key) (*state, error) {
	keys := append([]note.Verifier{key.Verifier()}, l.Keys...)
	n, err := note.Open(b, note.VerifierList(keys...))
	if err != nil {
		return nil, err
	}
	head, err := checkpoint.ParseText(n.Text)
	if err != nil {
		return nil, err
	}
	if head.Origin != l.Origin {
		return nil, fmt.Errorf("it is of %q", head.Origin)
	}
	s := &state{head: head, note: b}
	for _, sig := range n.Sigs {
		if sig.Name == key.Name() && sig.Hash == key.Verifier().KeyHash() {
			s.line = sigPrefix + sig.Name + " " + sig.Base64 + "\n"
			if s.time, err = cosignature.Time(sig); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// check is the witness's decision. s.mu is held.
func (s *state) check(r *request, head checkpoint.Head) error {
	if r.old != s.head.Size {
		return &conflict{s.head.Size}
	}
	switch {
	case head.Size == 0 && head.Root != emptyRoot:
		return refuse(http.StatusUnprocessableEntity, "a tree of size 0 has the hash of the empty string as its root")
	case r.old == 0 && len(r.proof) > 0:
		return refuse(http.StatusUnprocessableEntity, "a proof from size 0 is empty")
	case r.old == 0:
		return nil
	case r.old == head.Size && s.head.Root != head.Root:
		return refuse(http.StatusUnprocessableEntity, "the witness has cosigned another root at size %d", head.Size)
	case tlog.CheckTree(r.proof, head.Size, head.Root, r.old, s.head.Root) != nil:
		return refuse(http.StatusUnprocessableEntity, "the consistency proof from size %d to %d does not verify", r.old, head.Size)
	}
	return nil
}

// cosign makes the new state from a verified checkpoint and returns the
// cosignature after that state is on disk. s.mu is held and check passed.
func (s *state) cosign(f files, key *cosignature.Key, n *note.Note, head checkpoint.Head, now time.Time) (string, error) {
	if now = now.Truncate(time.Second); now.Before(s.time) {
		now = s.time // the clock was set back
	}
	if s.line != "" && now.Equal(s.time) && string(s.text()) == n.Text {
		return s.line, nil // asked again within a second
	}
	signed, line, err := cosigned(n, key.At(now))
	if err != nil {
		return "", err
	}
	if err := durable.WriteFile(f.fs, f.name(head.Origin), signed); err != nil {
		return "", fmt.Errorf("recording size %d of %s: %w", head.Size, head.Origin, err)
	}
	s.head, s.note, s.line, s.time = head, signed, line, now
	return line, nil
}

// text is the text of the state's checkpoint.
func (s *state) text() []byte {
	text, _, err := splitNote(s.note)
	if err != nil {
		return nil
	}
	return text
}

// cosigned returns the note with its verified signatures and one more, and that
// one's line. All lines are spelled canonically.
func cosigned(n *note.Note, signer note.Signer) (signed []byte, line string, err error) {
	b := []byte(n.Text + "\n")
	for _, sig := range n.Sigs {
		l, err := parseSigLine(sigPrefix + sig.Name + " " + sig.Base64)
		if err != nil {
			return nil, "", err
		}
		b = append(b, l.String()...)
	}
	sig, err := signer.Sign([]byte(n.Text))
	if err != nil {
		return nil, "", err
	}
	line = sigLine{signer.Name(), signer.KeyHash(), sig}.String()
	return append(b, line...), line, nil
}

// emptyRoot is the root of the tree of size 0 (RFC 6962, section 2.1).
var emptyRoot = new(tree.Tree).Root()
