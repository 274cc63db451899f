package personal

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// DefaultMaxSubjects is how many subjects a day have keys of their own.
const DefaultMaxSubjects = 100_000

// SealerConfig says what is sealed, and for whom.
type SealerConfig struct {
	FS         durable.FS      // default: the operating system's
	Dir        string          // directory of keys
	Recipients []age.Recipient // who can open boxes; see ParseRecipients
	Members    []string        // what is sealed; default: DefaultMembers

	// Subjects gives the boxes of each authenticated user a key of its own, so
	// that Forget can destroy it.
	Subjects bool
	// MaxSubjects is how many users of one key, that is of one day and run, get
	// one. The boxes of the others are sealed under the day's. Default:
	// DefaultMaxSubjects. At most 1,000,000.
	MaxSubjects int

	Hold Hold // legal hold; nil: none
	Now  func() time.Time
}

// Sealer seals personal members of records. It is safe for concurrent use, and
// holds the lock of its directory until Close.
type Sealer struct {
	fs   durable.FS
	dir  string
	hold Hold
	now  func() time.Time
	lock *durable.Lock

	settings atomic.Pointer[settings]
	current  atomic.Pointer[dataKey]
	overflow atomic.Int64

	erasing sync.Mutex // serializes Forget, Destroy and Use; taken before mu
	mu      sync.Mutex // serializes changes of current, and guards the fields below
	closed  bool
	index   []byte // finds lines of subjects; nil if there never were any. Changed once, with erasing held too
}

// settings are what of a config can change while the sealer is open.
type settings struct {
	recipients  []age.Recipient
	set         memberSet
	maxSubjects int // 0: no subject keys
}

// indexName names the key that finds subjects' lines.
const indexName = "subjects"

// Check tells what is wrong with a config, without a look at the directory.
func (c SealerConfig) Check() error {
	_, err := newSealer(c)
	return err
}

// OpenSealer claims the directory personal in the directory of keys and
// finishes erasures that a crash interrupted. The first key is made when the
// first box is sealed.
func OpenSealer(c SealerConfig) (*Sealer, error) {
	s, err := newSealer(c)
	if err != nil {
		return nil, err
	}
	if s.lock, err = claim(s.fs, s.dir); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if err := s.loadIndex(s.settings.Load().maxSubjects > 0); err != nil {
		_ = s.lock.Unlock()
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return s, nil
}

func newSealer(c SealerConfig) (*Sealer, error) {
	s := &Sealer{fs: c.FS, dir: filepath.Join(c.Dir, "personal"), hold: c.Hold, now: c.Now}
	if s.fs == nil {
		s.fs = durable.OS{}
	}
	if s.now == nil {
		s.now = time.Now
	}
	set, err := c.settings()
	if err != nil {
		return nil, err
	}
	s.settings.Store(set)
	return s, nil
}

// settings checks what can change.
func (c SealerConfig) settings() (*settings, error) {
	if len(c.Recipients) == 0 {
		return nil, errors.New("sealing: no recipient: name at least one, or nobody can read what is sealed")
	}
	names := c.Members
	if len(names) == 0 {
		names = DefaultMembers
	}
	s := &settings{recipients: c.Recipients}
	var err error
	if s.set, err = parseMembers(names); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if c.Subjects {
		if s.maxSubjects = c.MaxSubjects; s.maxSubjects == 0 {
			s.maxSubjects = DefaultMaxSubjects
		}
		if s.maxSubjects < 0 || s.maxSubjects > maxSlots {
			return nil, fmt.Errorf("sealing: %d subjects a day: it must be 1 to %d", c.MaxSubjects, maxSlots)
		}
	}
	return s, nil
}

// Use changes recipients, members and subject keys; the rest of a config stays as
// it was. The next box has a new key, which is for the new recipients alone.
// Boxes that are being sealed may still have the old one. What was sealed is as
// it was: the old recipients open it, and Forget reaches it.
func (s *Sealer) Use(c SealerConfig) error {
	next, err := c.settings()
	if err != nil {
		return err
	}
	s.erasing.Lock()
	defer s.erasing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("sealing: %w", ErrClosed)
	}
	if s.index == nil {
		if err := s.loadIndex(next.maxSubjects > 0); err != nil {
			return fmt.Errorf("sealing: %w", err)
		}
	}
	s.settings.Store(next)
	s.retire()
	return nil
}

// loadIndex reads the key that finds subjects. If there is none, and there never
// were subjects, it makes one where it is needed.
func (s *Sealer) loadIndex(needed bool) (err error) {
	s.index, err = loadKey(s.fs, filepath.Join(s.dir, indexName+keySuffix), indexName)
	if err == nil {
		return s.fs.SyncDir(s.dir) // whoever made it may have failed here
	}
	if !errors.Is(err, ErrNoKey) {
		return err
	}
	entries, derr := s.fs.ReadDir(s.dir)
	if derr != nil {
		return derr
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), subjectsSuffix) {
			return fmt.Errorf("%w, but %s needs it to be forgotten from: put it back", err, e.Name())
		}
	}
	if needed {
		s.index, err = newKey(s.fs, s.dir, indexName)
		return err
	}
	return nil
}

// Close forgets the keys in memory and gives the directory up. What was sealed
// stays as it is.
func (s *Sealer) Close() error {
	s.erasing.Lock() // waits for an erasure that runs
	defer s.erasing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.retire()
	return s.lock.Unlock()
}

// retire ends the current key. The caller holds mu.
func (s *Sealer) retire() {
	if k := s.current.Swap(nil); k != nil {
		if k.subjects != nil {
			k.subjects.retire()
		}
	}
}

// Overflow returns how many boxes were sealed under a day's key although their
// user should have had a key of its own, because there were too many: Forget
// does not reach them.
func (s *Sealer) Overflow() int64 { return s.overflow.Load() }

// buffers are reused between boxes.
type buffers struct{ text, aad, ref []byte }

var bufferPool = sync.Pool{New: func() any { return new(buffers) }}

// Seal takes the members that are to be sealed out of an event and puts the box
// with them into it. An event without any of them gets no box. The members are
// gone after an error, too: nothing that should be sealed is ever recorded in
// the clear.
//
// It must run after the policy and before pseudonyms; see Protector.
func (s *Sealer) Seal(ev *audit.Event) error {
	b, _ := bufferPool.Get().(*buffers)
	defer bufferPool.Put(b)
	set := s.settings.Load().set
	b.text = appendBox(b.text[:0], ev, set)
	subject := ev.User
	set.remove(ev)
	if len(b.text) == 0 {
		return nil
	}
	defer clear(b.text)
	for {
		k, err := s.key()
		if err != nil {
			return fmt.Errorf("sealing: %w", err)
		}
		switch err := s.sealWith(k, ev, subject, b); {
		case err == nil:
			return nil
		case !errors.Is(err, errRetired):
			s.replace(k)
			return fmt.Errorf("sealing: %w", err)
		}
		s.replace(k)
	}
}

func (s *Sealer) sealWith(k *dataKey, ev *audit.Event, subject string, b *buffers) error {
	box := k.box
	b.ref = append(b.ref[:0], k.id...)
	if k.subjects != nil && subject != "" {
		sk, ok, err := k.subjects.key(subject)
		if err != nil {
			return err
		}
		if ok {
			b.ref = appendSlot(append(b.ref, '/'), sk.slot)
			box = aead(sk.key[:])
		} else {
			s.overflow.Add(1)
		}
	}
	ev.PersonalKey = string(b.ref)
	b.aad = appendAAD(b.aad[:0], ev.ID, ev.PersonalKey)
	ev.Personal = box.Seal(ev.Personal[:0], nil, b.text, b.aad) //nolint:gosec // G407: the AEAD draws a random nonce itself
	return nil
}

// key returns the key of today.
func (s *Sealer) key() (*dataKey, error) {
	today := dayOf(s.now())
	if k := s.current.Load(); k != nil && k.day == today && k.boxes.Add(1) <= maxBoxes {
		return k, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if k := s.current.Load(); k != nil && k.day == today && k.boxes.Add(1) <= maxBoxes {
		return k, nil // another one made it meanwhile
	}
	s.retire()
	k, err := s.newDataKey(today)
	if err != nil {
		return nil, err
	}
	s.current.Store(k)
	return k, nil
}

// replace ends a key that is of no more use, unless that was done.
func (s *Sealer) replace(k *dataKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() == k {
		s.retire()
	}
}
