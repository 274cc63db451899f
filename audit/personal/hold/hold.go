// Package hold keeps legal holds: orders that records of some time must not be
// erased, whatever retention or a request to forget says.
//
// Holds fail safe. If their file cannot be read, or is not as it was written,
// everything is held.
package hold

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// File is the name of the file with the holds, in the directory of state. Part
// of the on-disk format; do not change.
const File = "holds.json"

// ErrHeld means that a hold forbids an erasure.
var ErrHeld = errors.New("held")

// Hold is an order not to erase records.
type Hold struct {
	Name   string    `json:"name"`          // names it among those in force
	Reason string    `json:"reason"`        // why
	By     string    `json:"by"`            // who set it
	At     time.Time `json:"at"`            // when it was set
	From   time.Time `json:"from,omitzero"` // first time of records that are held; zero: from the beginning
	To     time.Time `json:"to,omitzero"`   // first time after; zero: for all times to come

	Released *Release `json:"released,omitempty"` // nil while it is in force
}

// Release ends a hold.
type Release struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// Holds are the holds in a directory. They are read from the file whenever they
// are asked for, so that a hold that another process set counts at once. It is
// safe for concurrent use.
type Holds struct {
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	fs  durable.FS
	dir string

	mu   sync.Mutex // serializes changes, and guards seen
	seen bool       // the file was there: it does not go away by itself
}

// Open returns the holds of a directory, which it makes if need be. Changes lock
// the directory for a moment, so nobody else may lock it for long.
func Open(fsys durable.FS, dir string) (*Holds, error) {
	if err := durable.MakeDir(fsys, dir); err != nil {
		return nil, fmt.Errorf("legal holds: %w", err)
	}
	h := &Holds{fs: fsys, dir: dir}
	_, err := h.List()
	return h, err
}

func (h *Holds) path() string { return filepath.Join(h.dir, File) }

func (h *Holds) now() time.Time {
	if h.Now != nil {
		return h.Now()
	}
	return time.Now()
}

// List returns all holds in the order in which they were set, with those that
// were released.
func (h *Holds) List() ([]Hold, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.read()
}

func (h *Holds) read() ([]Hold, error) {
	b, err := h.fs.ReadFile(h.path())
	if errors.Is(err, fs.ErrNotExist) {
		if h.seen {
			return nil, fmt.Errorf("legal holds: %s is gone: put it back; until then nothing is erased", h.path())
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("legal holds: %w: until it can be read nothing is erased", err)
	}
	h.seen = true
	list, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("legal holds: %s is damaged, or was edited: %w: restore it; until then nothing is erased", h.path(), err)
	}
	return list, nil
}

// Set puts a hold in force. Name, Reason and By are needed; At and Released are
// set here. When it returns, the hold outlives a crash.
func (h *Holds) Set(order Hold) error {
	order.At, order.Released = h.now().UTC().Truncate(time.Second), nil
	order.From, order.To = order.From.UTC(), order.To.UTC()
	if err := order.check(); err != nil {
		return fmt.Errorf("setting hold %q: %w", order.Name, err)
	}
	err := h.change(func(list []Hold) ([]Hold, error) {
		if find(list, order.Name) >= 0 {
			return nil, errors.New("one of this name is in force: choose another name, or release that one")
		}
		return append(list, order), nil
	})
	if err != nil {
		return fmt.Errorf("setting hold %q: %w", order.Name, err)
	}
	return nil
}

// Release ends the hold of a name that is in force. It stays in the list.
func (h *Holds) Release(name, reason, by string) error {
	err := h.change(func(list []Hold) ([]Hold, error) {
		i := find(list, name)
		if i < 0 {
			return nil, errors.New("no hold of this name is in force")
		}
		list[i].Released = &Release{reason, by, h.now().UTC().Truncate(time.Second)}
		return list, list[i].check()
	})
	if err != nil {
		return fmt.Errorf("releasing hold %q: %w", name, err)
	}
	return nil
}

// find returns the index of the hold in force of a name, or -1.
func find(list []Hold, name string) int {
	for i, h := range list {
		if h.Name == name && h.Released == nil {
			return i
		}
	}
	return -1
}

// change reads the list, changes it and writes it, against other processes too.
func (h *Holds) change(fn func([]Hold) ([]Hold, error)) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	lock, err := durable.LockDir(h.dir)
	if err != nil {
		return fmt.Errorf("%s: %w", h.dir, err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	list, err := h.read()
	if err != nil {
		return err
	}
	if list, err = fn(list); err != nil {
		return err
	}
	b, err := encode(list)
	if err != nil {
		return err
	}
	if _, err := parse(b); err != nil {
		return err // what could not be read back must not be written
	}
	return durable.WriteFile(h.fs, h.path(), b)
}

// Check returns an error if records of the times from (zero: the beginning) to
// to (exclusive; zero: all to come) must not be erased: ErrHeld, with the names
// of the holds, or the error because of which that cannot be told. It serves as
// personal.Hold.
func (h *Holds) Check(from, to time.Time) error {
	list, err := h.List()
	if err != nil {
		return err
	}
	var names []string
	for _, o := range list {
		if o.Released == nil && (to.IsZero() || o.From.Before(to)) && (o.To.IsZero() || from.Before(o.To)) {
			names = append(names, o.Name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("%w by legal hold %s: release it first", ErrHeld, strings.Join(names, ", "))
	}
	return nil
}

// Blocks reports whether records older than a time must not be erased. It is
// true, too, if that cannot be told; Check says why.
func (h *Holds) Blocks(upto time.Time) bool { return h.Check(time.Time{}, upto) != nil }
