package witness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
)

// Group asks several witnesses, each on its own: one that is down delays or
// harms nothing but its own cosignature. It starts no goroutine that outlives a
// call.
type Group struct {
	clients []*Client

	mu    sync.Mutex
	sizes []int64 // what each witness acknowledged last; 0 if not known
}

// NewGroup makes a group. The order of the clients is that of the signatures in
// a merged note. No two may be for one key.
func NewGroup(clients ...*Client) (*Group, error) {
	for i, c := range clients {
		if err := c.Validate(); err != nil {
			return nil, err
		}
		for _, d := range clients[:i] {
			if d.Verifier.String() == c.Verifier.String() {
				return nil, fmt.Errorf("witness %s is there twice", c.Verifier)
			}
		}
	}
	return &Group{clients: slices.Clone(clients), sizes: make([]int64, len(clients))}, nil
}

// Verifiers returns the witnesses' keys, in their order.
func (g *Group) Verifiers() []*cosignature.Verifier {
	keys := make([]*cosignature.Verifier, len(g.clients))
	for i, c := range g.clients {
		keys[i] = c.Verifier
	}
	return keys
}

// Witnessed is a checkpoint with the cosignatures that it got. Note is all that
// needs to be kept of it.
type Witnessed struct {
	Head checkpoint.Head
	By   []checkpoint.Cosignature // in the order of the group
	Note []byte                   // checkpoint and signature lines
}

// Resume reads the note of a Witnessed that was kept, verifies it by the keys
// of the log and of the group, and remembers what the witnesses saw last, which
// saves each a request. A log whose own tree is smaller than the note's, or does
// not have the note's root at its size, was rolled back or rewritten.
func (g *Group) Resume(note []byte, keys ...note.Verifier) (Witnessed, error) {
	head, by, _, err := checkpoint.Cosigned(note, keys, g.Verifiers())
	if err != nil {
		return Witnessed{}, fmt.Errorf("reading the witnessed checkpoint: %w", err)
	}
	for i, c := range g.clients {
		if slices.ContainsFunc(by, func(s checkpoint.Cosignature) bool { return s.Witness == c.Verifier }) {
			g.acknowledged(i, head.Size)
		}
	}
	return Witnessed{head, by, note}, nil
}

func (g *Group) acknowledged(i int, size int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sizes[i] = max(g.sizes[i], size)
}

// Submit asks all witnesses at once to cosign a checkpoint that the log has
// signed, and waits for all of them: at most twice the largest timeout. It
// returns the checkpoint with every cosignature that it got, and for each
// witness, in their order, nil or what went wrong. Cosignatures of the group
// that the checkpoint came with are kept if they verify and no newer one came.
// Head and Note are zero if the checkpoint is malformed; all errors then say so.
func (g *Group) Submit(ctx context.Context, signed []byte, prove Prover) (Witnessed, []error) {
	errs := make([]error, len(g.clients))
	m, err := newMerge(signed, g.Verifiers())
	if err != nil {
		for i := range errs {
			errs[i] = fmt.Errorf("submitting to witnesses: %w", err)
		}
		return Witnessed{}, errs
	}
	own := m.log()
	var all sync.WaitGroup
	for i, c := range g.clients {
		all.Go(func() {
			cosig, err := c.Submit(ctx, g.old(i, m.head.Size), own, prove)
			if errs[i] = err; err != nil {
				return
			}
			m.got[i] = cosig // each goroutine has its own element
			g.acknowledged(i, m.head.Size)
		})
	}
	all.Wait()
	return m.witnessed(), errs
}

// old is the size from which to prove to a witness.
func (g *Group) old(i int, size int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return min(g.sizes[i], size)
}

// merge puts a note together.
type merge struct {
	head checkpoint.Head
	text []byte
	rest []sigLine     // of keys outside the group
	got  []Cosignature // of the group, in its order; an empty Line is none
}

func newMerge(signed []byte, keys []*cosignature.Verifier) (*merge, error) {
	head, err := checkpoint.Peek(signed)
	if err != nil {
		return nil, err
	}
	text, lines, err := splitNote(signed)
	if err != nil {
		return nil, err
	}
	m := &merge{head: head, text: text, got: make([]Cosignature, len(keys))}
	for _, line := range lines {
		i := slices.IndexFunc(keys, func(k *cosignature.Verifier) bool { return line.by(k) })
		switch {
		case i < 0 && !slices.ContainsFunc(m.rest, func(l sigLine) bool { return l.String() == line.String() }):
			m.rest = append(m.rest, line)
		case i >= 0:
			if c, err := verified(line, keys[i], text); err == nil && c.Time.After(m.got[i].Time) {
				m.got[i] = c
			}
		}
	}
	if len(m.rest) == 0 {
		return nil, errors.New("the checkpoint is not signed by its log")
	}
	return m, nil
}

// log is the checkpoint without the group's cosignatures.
func (m *merge) log() []byte {
	var b strings.Builder
	b.Write(m.text)
	b.WriteByte('\n')
	for _, line := range m.rest {
		b.WriteString(line.String())
	}
	return []byte(b.String())
}

func (m *merge) witnessed() Witnessed {
	w := Witnessed{Head: m.head, Note: m.log()}
	for _, c := range m.got {
		if c.Line != "" {
			w.By = append(w.By, c.Cosignature)
			w.Note = append(w.Note, c.Line...)
		}
	}
	return w
}
