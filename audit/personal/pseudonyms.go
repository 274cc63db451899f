package personal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// PseudonymConfig says how pseudonyms are made.
type PseudonymConfig struct {
	FS   durable.FS // default: the operating system's
	Dir  string     // directory of keys
	Unit Unit       // default: Month
	Hold Hold       // legal hold; nil: none
	Now  func() time.Time
}

// Pseudonyms makes pseudonyms under keys that change with the period. It is
// safe for concurrent use. It holds the lock of its directory until Close.
type Pseudonyms struct {
	fs   durable.FS
	dir  string
	hold Hold
	now  func() time.Time
	lock *durable.Lock

	current atomic.Pointer[pseudonymKey] // the key used last

	mu     sync.Mutex // guards the fields below and the making and destroying of keys
	unit   Unit
	keys   map[string]*pseudonymKey
	closed bool
}

// maxCached is how many periods' keys are kept in memory: a log is written in
// the order of time, but for requests that last.
const maxCached = 4

// OpenPseudonyms claims the directory pseudonyms in the directory of keys. Keys
// are made when they are first needed.
func OpenPseudonyms(c PseudonymConfig) (*Pseudonyms, error) {
	p := &Pseudonyms{fs: c.FS, dir: filepath.Join(c.Dir, "pseudonyms"), unit: c.Unit, hold: c.Hold, now: c.Now, keys: map[string]*pseudonymKey{}}
	if p.fs == nil {
		p.fs = durable.OS{}
	}
	if p.unit == "" {
		p.unit = Month
	}
	if p.now == nil {
		p.now = time.Now
	}
	if _, err := p.unit.At(p.now()); err != nil {
		return nil, fmt.Errorf("pseudonyms: %w", err)
	}
	lock, err := claim(p.fs, p.dir)
	if err != nil {
		return nil, fmt.Errorf("pseudonyms: %w", err)
	}
	p.lock = lock
	return p, nil
}

// Close forgets the keys in memory and gives the directory up.
func (p *Pseudonyms) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.current.Store(nil)
	clear(p.keys)
	return p.lock.Unlock()
}

// Use changes how long a key is used, from the next pseudonym on. The periods
// that were begun keep their keys and names, so that what was recorded under them
// can still be looked up and their keys be destroyed.
func (p *Pseudonyms) Use(u Unit) error {
	if u == "" {
		u = Month
	}
	if _, err := u.At(p.now()); err != nil {
		return fmt.Errorf("pseudonyms: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unit = u
	p.current.Store(nil)
	return nil
}

// Pseudonym returns what stands for a value of a member (ClientIP, Peer or
// User) in the records of time t. Of the address in Peer the port is dropped.
// An empty value has none. ErrDestroyed means that the period's key is gone: the
// value must be left out.
func (p *Pseudonyms) Pseudonym(member, value string, t time.Time) (string, error) {
	if value == "" {
		return "", nil
	}
	k := p.current.Load()
	if k == nil || t.Before(k.period.From) || !t.Before(k.period.To) {
		var err error
		if k, err = p.key(t); err != nil {
			return "", err
		}
	}
	return k.pseudonym(member, value), nil
}

// key returns the key of the period of t, and makes it if there never was one.
func (p *Pseudonyms) key(t time.Time) (*pseudonymKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("pseudonyms: %w", ErrClosed)
	}
	period, err := p.unit.At(t)
	if err != nil {
		return nil, fmt.Errorf("pseudonyms: %w", err)
	}
	k := p.keys[period.Name]
	if k == nil {
		raw, err := loadPseudonymKey(p.fs, p.dir, period.Name)
		switch {
		case err == nil:
			err = p.fs.SyncDir(p.dir) // whoever made it may have failed here
		case errors.Is(err, ErrNoKey):
			raw, err = newKey(p.fs, p.dir, period.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("pseudonyms of %s: %w", period.Name, err)
		}
		k = newPseudonymKey(period, raw)
		clear(raw)
		if len(p.keys) >= maxCached {
			clear(p.keys)
		}
		p.keys[period.Name] = k
	}
	p.current.Store(k)
	return k, nil
}

// Lookup returns the pseudonym that a value has in a period, to search the log
// for it. It makes no key: ErrNoKey means that no record of the period has
// pseudonyms, ErrDestroyed that nobody can tell any more.
func (p *Pseudonyms) Lookup(period, member, value string) (string, error) {
	return Lookup(p.fs, filepath.Dir(p.dir), period, member, value)
}

// Lookup is Pseudonyms.Lookup for a directory of keys that may be in use.
func Lookup(fsys durable.FS, dir, period, member, value string) (string, error) {
	if !slices.Contains([]string{ClientIP, Peer, User}, member) {
		return "", fmt.Errorf("member %q has no pseudonyms: it must be %s, %s or %s", member, ClientIP, Peer, User)
	}
	parsed, err := ParsePeriod(period)
	if err != nil {
		return "", err
	}
	raw, err := loadPseudonymKey(fsys, filepath.Join(dir, "pseudonyms"), parsed.Name)
	if err != nil {
		return "", fmt.Errorf("pseudonyms of %s: %w", parsed.Name, err)
	}
	return newPseudonymKey(parsed, raw).pseudonym(member, value), nil
}

// Periods lists the periods whose keys exist, in the order of their names.
func (p *Pseudonyms) Periods() ([]Period, error) { return Periods(p.fs, filepath.Dir(p.dir)) }

// Periods is Pseudonyms.Periods for a directory of keys that may be in use. One
// without pseudonyms has none.
func Periods(fsys durable.FS, dir string) ([]Period, error) {
	entries, err := fsys.ReadDir(filepath.Join(dir, "pseudonyms"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing pseudonym keys: %w", err)
	}
	var list []Period
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), keySuffix); ok {
			if period, err := ParsePeriod(name); err == nil {
				list = append(list, period)
			}
		}
	}
	return list, nil
}

// Destroy destroys the key of a period that is over. From then on nobody can
// tell whose a pseudonym of the period is, but by a copy of the key that was
// kept elsewhere. It can be repeated after an error.
func (p *Pseudonyms) Destroy(period string) (Erasure, error) {
	e := Erasure{What: ErasedPeriod, Period: period}
	parsed, err := ParsePeriod(period)
	if err != nil {
		return e, fmt.Errorf("%w: %w", ErrPeriod, err)
	}
	if !parsed.To.Before(p.now()) {
		return e, fmt.Errorf("%w: period %s is not over: its key is in use until %s", ErrPeriod, period, parsed.To.Format(time.RFC3339))
	}
	if p.hold != nil {
		if err := p.hold(parsed.From, parsed.To); err != nil {
			return e, fmt.Errorf("destroying the pseudonym key of %s: %w", period, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return e, fmt.Errorf("pseudonyms: %w", ErrClosed)
	}
	if _, err := loadPseudonymKey(p.fs, p.dir, period); errors.Is(err, ErrNoKey) {
		return e, fmt.Errorf("pseudonyms of %s: %w", period, err)
	}
	delete(p.keys, period)
	if k := p.current.Load(); k != nil && k.period.Name == period {
		p.current.Store(nil)
	}
	if _, err := destroy(p.fs, p.dir, period, p.now()); err != nil {
		return e, fmt.Errorf("destroying the pseudonym key of %s: %w", period, err)
	}
	e.Keys, e.Files = 1, 1
	return e, nil
}

// keyHeader begins a file with a key. Part of the on-disk format.
const keyHeader = "caddy-soc2-key-v1"

// formatKey is the text of a key file: what it is, what it is for and the key.
func formatKey(name string, key []byte) []byte {
	return []byte(keyHeader + " " + name + " " + base64.RawStdEncoding.EncodeToString(key) + "\n")
}

// parseKey reads the text of a key file for a name.
func parseKey(text []byte, name string) ([]byte, error) {
	head := keyHeader + " " + name + " "
	rest, ok := strings.CutPrefix(string(text), head)
	if !ok {
		return nil, fmt.Errorf("it does not begin with %q: it is damaged, or the key of something else", head)
	}
	body, ok := strings.CutSuffix(rest, "\n")
	key, err := base64.RawStdEncoding.Strict().DecodeString(body)
	if !ok || err != nil || strings.ContainsAny(body, "\r\n") || len(key) != keySize {
		return nil, errors.New("it is damaged")
	}
	return key, nil
}

// newKey makes and stores a key.
func newKey(fsys durable.FS, dir, name string) ([]byte, error) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	if err := durable.NewFile(fsys, filepath.Join(dir, name+keySuffix), formatKey(name, key)); err != nil {
		return nil, err
	}
	return key, nil
}

// loadPseudonymKey reads a key. That it is to be destroyed counts as done.
func loadPseudonymKey(fsys durable.FS, dir, name string) ([]byte, error) {
	switch _, err := fsys.ReadFile(filepath.Join(dir, name+destroyedSuffix)); {
	case err == nil:
		return nil, ErrDestroyed
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading key: %w", err)
	}
	return loadKey(fsys, filepath.Join(dir, name+keySuffix), name)
}

// loadKey reads a key file, which nobody but its owner may be able to read.
func loadKey(fsys durable.FS, path, name string) ([]byte, error) {
	info, err := stat(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	if info == nil {
		return nil, fmt.Errorf("%s: %w", path, ErrNoKey)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("reading key: %s has mode %04o, so others can read it: chmod 600 it", path, mode)
	}
	text, err := fsys.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	key, err := parseKey(text, name)
	clear(text)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", path, err)
	}
	return key, nil
}
