package personal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// faultFS is a file system whose n-th mutating operation, counted from arming,
// fails, and with it all that come after, as if the process had died. Where
// persist is set the failing operation has its effect all the same.
type faultFS struct {
	durable.OS
	armed   atomic.Bool
	left    atomic.Int64
	persist bool
	once    bool // only the n-th fails
}

var errFault = errors.New("injected fault")

func (f *faultFS) arm(n int64) { f.left.Store(n); f.armed.Store(true) }

func (f *faultFS) fault(op func() error) error {
	if !f.armed.Load() {
		return op()
	}
	switch n := f.left.Add(-1); {
	case n > 0, n < 0 && f.once:
		return op()
	case n == 0 && f.persist:
		return errors.Join(op(), errFault)
	}
	return errFault
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag == os.O_RDONLY {
		return f.OS.OpenFile(name, flag, perm)
	}
	var file durable.File
	err := f.fault(func() (err error) {
		file, err = f.OS.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *faultFS) Rename(from, to string) error {
	return f.fault(func() error { return f.OS.Rename(from, to) })
}

func (f *faultFS) Link(from, to string) error {
	return f.fault(func() error { return f.OS.Link(from, to) })
}

func (f *faultFS) Remove(name string) error {
	return f.fault(func() error { return f.OS.Remove(name) })
}

func (f *faultFS) SyncDir(name string) error {
	return f.fault(func() error { return nil }) // the process dies here, not the machine
}

type faultFile struct {
	durable.File
	fs *faultFS
}

func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.fault(func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	if errors.Is(err, errFault) && n == 0 {
		n, _ = f.File.WriteAt(p[:len(p)/2], off) // a short write
	}
	return n, err
}

func (f *faultFile) Sync() error { return f.fs.fault(func() error { return nil }) }

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is a directory of keys, an auditor and a clock.
type bench struct {
	testing.TB
	dir      string
	clock    *clock
	identity *age.X25519Identity
	fs       durable.FS
	hold     Hold
}

func newBench(t testing.TB) *bench {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{TB: t, dir: t.TempDir(), clock: newClock(), identity: identity, fs: durable.OS{}}
}

func (b *bench) config() SealerConfig {
	return SealerConfig{FS: b.fs, Dir: b.dir, Recipients: []age.Recipient{b.identity.Recipient()}, Now: b.clock.now, Hold: b.hold}
}

func (b *bench) sealer(c SealerConfig) *Sealer {
	b.Helper()
	s, err := OpenSealer(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func (b *bench) subjects() *Sealer {
	b.Helper()
	c := b.config()
	c.Subjects = true
	return b.sealer(c)
}

func (b *bench) pseudonyms(u Unit) *Pseudonyms {
	b.Helper()
	p, err := OpenPseudonyms(PseudonymConfig{FS: b.fs, Dir: b.dir, Unit: u, Now: b.clock.now, Hold: b.hold})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close() })
	return p
}

// box is what a record keeps of a sealed event.
type box struct {
	id   audit.ID
	ref  string
	data []byte
	user string
}

func (b *bench) event(user string) audit.Event {
	now := b.clock.now()
	return audit.Event{
		Start: now, ID: audit.NewID(now), ClientIP: "192.0.2.7", ClientPort: "5000", Peer: "10.0.0.1:80",
		Method: "GET", Host: "example.com", Path: "/x", Query: "a=secret", Agent: "curl", User: user, Status: 200,
	}
}

func (b *bench) seal(s *Sealer, user string) box {
	b.Helper()
	x, err := b.trySeal(s, user)
	if err != nil {
		b.Fatal(err)
	}
	return x
}

func (b *bench) trySeal(s *Sealer, user string) (box, error) {
	b.Helper()
	ev := b.event(user)
	err := s.Seal(&ev)
	if ev.ClientIP+ev.ClientPort+ev.Peer+ev.User+ev.Agent != "" {
		b.Errorf("members are left in the clear: %+v", ev)
	}
	return box{ev.ID, ev.PersonalKey, ev.Personal, user}, err
}

func (b *bench) open(x box) (Fields, error) {
	return NewOpener(durable.OS{}, b.dir, b.identity).Open(x.id, x.ref, x.data)
}

// readable fails the test unless a box opens to what was sealed.
func (b *bench) readable(x box) {
	b.Helper()
	f, err := b.open(x)
	if err != nil || f.User != x.user || f.ClientIP != "192.0.2.7" || f.Agent != "curl" {
		b.Errorf("%s of %q: %+v, %v", x.ref, x.user, f, err)
	}
}

// unreadable fails the test unless a box does not open, for the given reason.
func (b *bench) unreadable(x box, want error) {
	b.Helper()
	if f, err := b.open(x); !errors.Is(err, want) {
		b.Errorf("%s of %q: %+v, %v; want %v", x.ref, x.user, f, err, want)
	}
}

// files lists the directory personal.
func (b *bench) files(pattern string) []string {
	b.Helper()
	list, err := filepath.Glob(filepath.Join(b.dir, pattern))
	if err != nil {
		b.Fatal(err)
	}
	return list
}

// tidy fails the test if a copy of a key is left.
func (b *bench) tidy() {
	b.Helper()
	for _, name := range append(b.files("*/*.tmp"), b.files("*/*.old")...) {
		b.Errorf("left behind: %s", strings.TrimPrefix(name, b.dir))
	}
}
