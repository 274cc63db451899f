// Package notary has outsiders see the head of a log, so that not even the
// holder of the log's key can rewrite what they saw: witnesses (C2SP
// tlog-witness) and a time-stamping authority (RFC 3161).
//
// The newest checkpoint with cosignatures is kept in the log's directory as
//
//	witnessed          a C2SP note: the checkpoint and the witnesses' lines
//
// and behind it, each after an empty line, the older notes of those witnesses
// who are not in it: one that is down keeps its newest cosignature. Besides,
//
// stamped checkpoints are kept as package timestamp draws them. A log.anchor record
// says when a witness begins or ceases to cosign, and that a checkpoint was
// stamped.
//
// An outsider that does not answer never stops the log. One that has seen
// another history of it does not either, but is an error in the server's log and
// a record with the outcome conflict.
package notary

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp/tsa"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// File is the name of the newest cosigned checkpoints in a log's directory. Part
// of the on-disk format; do not change.
const File = "witnessed"

// Config says who is asked, and how often.
type Config struct {
	Witnesses    []*witness.Client
	WitnessEvery time.Duration // default 1 min

	TSA        *tsa.Client
	StampEvery time.Duration // default 1 h
}

func (c *Config) setDefaults() {
	if c.WitnessEvery <= 0 {
		c.WitnessEvery = time.Minute
	}
	if c.StampEvery <= 0 {
		c.StampEvery = time.Hour
	}
}

// Notary works for one log, in a goroutine of its own.
type Notary struct {
	log      *audit.Log
	instance string
	logger   *slog.Logger
	store    tsa.Store

	ctx    context.Context
	cancel context.CancelFunc
	woken  chan struct{}
	ended  chan struct{}

	mu    sync.Mutex // guards the fields to the blank line
	cfg   Config
	group *witness.Group

	work    sync.Mutex        // held while somebody is asked; guards what follows
	seen    int64             // size that was cosigned by all
	seenBy  *witness.Group    // who they were
	stamped int64             // size that was stamped last
	last    map[string]string // outcome by outsider

	toldMu sync.Mutex // guards the field below
	told   []Anchor
}

// Anchor is how it last went with an outsider.
type Anchor struct {
	What    string // witness, timestamp
	Name    string
	Outcome string    // ok, failed, conflict
	Seen    time.Time // when it last saw the log's head; zero: not since the log was opened
	Size    int64     // of the log that it saw
	Error   string
}

// Anchors returns how it last went with each outsider that is asked now.
func (n *Notary) Anchors() []Anchor {
	cfg, group := n.settings()
	n.toldMu.Lock()
	defer n.toldMu.Unlock()
	var list []Anchor
	find := func(what, name string) {
		i := slices.IndexFunc(n.told, func(a Anchor) bool { return a.What == what && a.Name == name })
		if i < 0 {
			list = append(list, Anchor{What: what, Name: name})
			return
		}
		list = append(list, n.told[i])
	}
	if group != nil {
		for _, v := range group.Verifiers() {
			find(whatWitness, v.Name())
		}
	}
	if cfg.TSA != nil {
		find(whatTimestamp, cfg.TSA.URL)
	}
	return list
}

// The kinds of outsiders.
const (
	whatWitness   = "witness"
	whatTimestamp = "timestamp"
)

// note keeps how it went with an outsider.
func (n *Notary) note(r *audit.LogAnchor) {
	n.toldMu.Lock()
	defer n.toldMu.Unlock()
	i := slices.IndexFunc(n.told, func(a Anchor) bool { return a.What == r.What && a.Name == r.Name })
	if i < 0 {
		i = len(n.told)
		n.told = append(n.told, Anchor{What: r.What, Name: r.Name})
	}
	a := &n.told[i]
	a.Outcome, a.Error = r.Outcome, r.Error
	if r.Outcome == "ok" {
		a.Seen, a.Size = r.Time, r.Size
	}
}

// New makes a notary that asks nobody yet.
func New(log *audit.Log, instance string, logger *slog.Logger) *Notary {
	n := &Notary{
		log: log, instance: instance, logger: logger, store: tsa.Store{FS: log.FS(), Dir: log.Dir()},
		woken: make(chan struct{}, 1), ended: make(chan struct{}), last: map[string]string{},
	}
	n.cfg.setDefaults()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	go n.run()
	return n
}

// Set changes who is asked.
func (n *Notary) Set(c Config) error {
	group, err := witness.NewGroup(c.Witnesses...)
	if err != nil {
		return err
	}
	c.setDefaults()
	n.mu.Lock()
	n.cfg, n.group = c, group
	n.mu.Unlock()
	n.resume(group)
	select {
	case n.woken <- struct{}{}:
	default:
	}
	return nil
}

// resume reads what witnesses saw last. It saves them a request; without it
// they are asked.
func (n *Notary) resume(group *witness.Group) {
	notes, err := n.kept()
	for _, b := range notes {
		_, rerr := group.Resume(b, n.log.Verifiers()...)
		err = errors.Join(err, rerr)
	}
	if err != nil {
		n.logger.Warn("the checkpoint that was witnessed last cannot be used", "error", err)
	}
}

// kept reads the notes that are kept, newest first.
func (n *Notary) kept() ([][]byte, error) {
	b, err := durable.ReadFile(n.log.FS(), n.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return checkpoint.Several(b)
}

// keep adds a note to those that are kept. A file that is none is replaced.
func (n *Notary) keep(note []byte) error {
	kept, err := n.kept()
	if errors.Is(err, checkpoint.ErrMalformed) {
		n.logger.Warn("the file of witnessed checkpoints is not one and is made anew", "error", err)
	} else if err != nil {
		return err
	}
	notes, err := checkpoint.Newest(kept, note)
	if err != nil { // one of those that were there
		n.logger.Warn("the file of witnessed checkpoints is not one and is made anew", "error", err)
		notes = [][]byte{note}
	}
	return durable.WriteFile(n.log.FS(), n.file(), checkpoint.Join(notes))
}

func (n *Notary) file() string { return filepath.Join(n.log.Dir(), File) }

// Close ends the notary and gives up what it is waiting for.
func (n *Notary) Close() {
	n.cancel()
	<-n.ended
}

func (n *Notary) run() {
	defer close(n.ended)
	now := time.Now()
	witness, stamp := now, now
	for {
		cfg, _ := n.settings()
		if now = time.Now(); len(cfg.Witnesses) > 0 && !now.Before(witness) {
			n.Witness(n.ctx)
			witness = now.Add(cfg.WitnessEvery)
		}
		if cfg.TSA != nil && !now.Before(stamp) {
			n.Stamp(n.ctx)
			stamp = now.Add(cfg.StampEvery)
		}
		next := now.Add(time.Hour)
		if len(cfg.Witnesses) > 0 && witness.Before(next) {
			next = witness
		}
		if cfg.TSA != nil && stamp.Before(next) {
			next = stamp
		}
		due := time.NewTimer(time.Until(next))
		select {
		case <-n.ctx.Done():
			due.Stop()
			return
		case <-n.woken:
			due.Stop()
			witness = time.Now()
			stamp = witness
		case <-due.C:
		}
	}
}

func (n *Notary) settings() (Config, *witness.Group) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg, n.group
}

// Witness has the newest checkpoint cosigned, unless all witnesses have seen
// it.
func (n *Notary) Witness(ctx context.Context) {
	n.work.Lock()
	defer n.work.Unlock()
	_, group := n.settings()
	note, head, _ := n.log.Checkpoint()
	if group == nil || group == n.seenBy && head.Size == n.seen {
		return
	}
	got, errs := group.Submit(ctx, note, n.log.ProveConsistency)
	if ctx.Err() != nil {
		return
	}
	if len(got.By) > 0 {
		if err := n.keep(got.Note); err != nil {
			n.logger.Warn("keeping the witnessed checkpoint", "error", err)
		}
	}
	all := true
	for i, v := range group.Verifiers() {
		all = all && errs[i] == nil
		n.tell(whatWitness, v.Name(), head, errs[i])
	}
	if all {
		n.seen, n.seenBy = head.Size, group
	}
}

// Stamp has the newest checkpoint stamped, if the log has grown.
func (n *Notary) Stamp(ctx context.Context) {
	n.work.Lock()
	defer n.work.Unlock()
	cfg, _ := n.settings()
	note, head, _ := n.log.Checkpoint()
	if cfg.TSA == nil || head.Size == n.stamped {
		return
	}
	token, err := cfg.TSA.Stamp(ctx, note)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		if err = n.store.Put(note, token.Response); errors.Is(err, fs.ErrExist) {
			err = nil // stamped before a restart
		}
	}
	if err == nil {
		n.stamped = head.Size
		delete(n.last, "timestamp "+cfg.TSA.URL) // each stamp is worth a record
	}
	n.tell(whatTimestamp, cfg.TSA.URL, head, err)
}

// tell records how it went, if it went otherwise than the last time.
func (n *Notary) tell(what, name string, head checkpoint.Head, err error) {
	r := audit.LogAnchor{Time: time.Now(), What: what, Name: name, Outcome: "ok", Size: head.Size, Root: head.Root.String()}
	switch {
	case errors.Is(err, witness.ErrAhead), errors.Is(err, witness.ErrFork):
		r.Outcome, r.Error = "conflict", err.Error()
		n.logger.Error("an outsider has seen another history of the audit log", "what", what, "name", name, "error", err)
	case err != nil:
		r.Outcome, r.Error = "failed", err.Error()
	}
	n.note(&r)
	id := what + " " + name
	if n.last[id] == r.Outcome {
		return
	}
	if r.Outcome == "failed" {
		n.logger.Warn("an outsider did not see the head of the audit log", "what", what, "name", name, "error", err)
	}
	n.last[id] = r.Outcome
	if _, err := n.log.Enqueue(n.ctx, r.AppendBody(nil, n.instance)); err != nil {
		n.logger.Warn("recording that the audit log was anchored", "error", fmt.Errorf("%s %s: %w", what, r.Outcome, err))
	}
}
