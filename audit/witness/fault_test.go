package witness_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

var errFault = errors.New("injected fault")

// disk is a file system in memory that knows what a power cut would leave.
type disk struct {
	durable.FS // calls that the witness does not make panic

	mu     sync.Mutex
	rand   *rand.Rand        // what a power cut leaves of what was not synced; nil: nothing
	names  map[string]*inode // what is read
	synced map[string]*inode // what a power cut leaves of the names
	ops    []string          // writes, syncs and renames, in their order

	failAt   int  // operations until one fails; below zero: none does
	persists bool // whether that one happened all the same
	dead     bool // whether all after it fail too
}

type inode struct{ data, synced []byte }

func newDisk(seed uint64) *disk {
	return &disk{names: map[string]*inode{}, synced: map[string]*inode{}, failAt: -1, rand: rand.New(rand.NewPCG(seed, 0))}
}

// do counts an operation and makes it, unless it is the one that fails.
func (d *disk) do(op string, change func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fails := d.failAt == 0
	if d.failAt > 0 || fails && !d.dead {
		d.failAt--
	}
	if !fails || d.persists {
		d.ops = append(d.ops, op)
		change()
	}
	if fails {
		if d.dead {
			d.persists = false
		}
		return errFault
	}
	return nil
}

// crash ends what a process knew; a power cut also loses what was not synced,
// or part of it.
func (d *disk) crash(power bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt, d.dead, d.persists = -1, false, false
	if !power {
		return
	}
	if d.rand == nil || d.rand.IntN(2) == 0 {
		d.names = maps.Clone(d.synced) // else the names happened to be written
	}
	for _, i := range d.names {
		if d.rand == nil || d.rand.IntN(2) == 0 {
			i.data = bytes.Clone(i.synced)
		}
		i.synced = bytes.Clone(i.data)
	}
	d.synced = maps.Clone(d.names)
}

func (d *disk) MkdirAll(string, fs.FileMode) error { return nil }

// Stat finds every directory: the model has but one.
func (*disk) Stat(string) (fs.FileInfo, error) { return nil, nil } //nolint:nilnil // nobody looks

func (d *disk) ReadFile(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.names[name]; i != nil {
		return bytes.Clone(i.data), nil
	}
	return nil, fs.ErrNotExist
}

func (d *disk) OpenFile(name string, flag int, _ fs.FileMode) (durable.File, error) {
	if flag&(os.O_CREATE|os.O_TRUNC) != os.O_CREATE|os.O_TRUNC {
		return nil, fmt.Errorf("opened with flags %#x", flag)
	}
	i := &inode{}
	err := d.do("create", func() { d.names[name] = i })
	return diskFile{disk: d, inode: i}, err
}

func (d *disk) Rename(from, to string) error {
	return d.do("rename", func() {
		d.names[to] = d.names[from]
		delete(d.names, from)
	})
}

func (d *disk) Remove(name string) error {
	return d.do("remove", func() { delete(d.names, name) })
}

func (d *disk) SyncDir(string) error {
	return d.do("sync directory", func() { d.synced = maps.Clone(d.names) })
}

type diskFile struct {
	durable.File
	disk  *disk
	inode *inode
}

func (f diskFile) WriteAt(p []byte, _ int64) (int, error) {
	return len(p), f.disk.do("write", func() { f.inode.data = bytes.Clone(p) })
}

func (f diskFile) Sync() error {
	return f.disk.do("sync", func() { f.inode.synced = bytes.Clone(f.inode.data) })
}

func (f diskFile) Close() error { return nil }

// TestTheStateIsOnDiskBeforeTheCosignatureLeaves watches the order.
func TestTheStateIsOnDiskBeforeTheCosignatureLeaves(t *testing.T) {
	l := newLog(t, "a").grow(3)
	d := newDisk(0)
	s, err := witness.Open(witness.Config{Dir: t.TempDir(), Key: newKey(t, "w"), Logs: []witness.Log{l.known()}, FS: d})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	d.ops = nil
	s.ServeHTTP(&recorder{d}, httptest.NewRequest("POST", "/add-checkpoint", strings.NewReader(l.body(0))))
	want := "create write sync rename sync directory answer"
	if got := strings.Join(d.ops, " "); got != want {
		t.Errorf("order: %s, want %s", got, want)
	}
}

type recorder struct{ disk *disk }

func (r *recorder) Header() http.Header { return http.Header{} }
func (r *recorder) WriteHeader(int)     {}
func (r *recorder) Write(p []byte) (int, error) {
	r.disk.ops = append(r.disk.ops, "answer")
	return len(p), nil
}

// TestNoCosignatureLeavesWhenTheStateIsNotWritten fails each operation of a
// write, done and not done, and goes on.
func TestNoCosignatureLeavesWhenTheStateIsNotWritten(t *testing.T) {
	for op, name := range []string{"create", "write", "sync", "rename", "sync directory"} {
		for _, persists := range []bool{false, true} {
			l := newLog(t, "a").grow(3)
			d := newDisk(0)
			s, err := witness.Open(witness.Config{Dir: t.TempDir(), Key: newKey(t, "w"), Logs: []witness.Log{l.known()}, FS: d})
			if err != nil {
				t.Fatal(err)
			}
			send := func(method, path, body string) (int, string) {
				rec := httptest.NewRecorder()
				s.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
				return rec.Code, rec.Body.String()
			}
			d.failAt, d.persists = op, persists
			if status, answer := send("POST", "/add-checkpoint", l.body(0)); status != 500 || strings.Contains(answer, "—") || strings.Contains(answer, "fault") {
				t.Errorf("%s fails, persists %v: %d %q", name, persists, status, answer)
			}
			if status, _ := send("GET", "/"+witness.OriginHash("a")+"/checkpoint", ""); status != 404 {
				t.Errorf("%s fails, persists %v: a monitor gets %d", name, persists, status)
			}
			if status, answer := send("POST", "/add-checkpoint", l.grow(4).body(0)); status != 200 {
				t.Errorf("after %s failed, persists %v: %d %q", name, persists, status, answer)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestWhatIsReadAtTheStartIsNotLost: a write fails after its rename, the process
// dies, the next one reads the file and shows it, and then the power is cut.
func TestWhatIsReadAtTheStartIsNotLost(t *testing.T) {
	l := newLog(t, "a").grow(3)
	d := newDisk(0)
	d.rand = nil
	config := witness.Config{Dir: t.TempDir(), Key: newKey(t, "w"), Logs: []witness.Log{l.known()}, FS: d}
	var s *witness.Server
	start := func() {
		t.Helper()
		var err error
		if s, err = witness.Open(config); err != nil {
			t.Fatal(err)
		}
	}
	stop := func(power bool) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		d.crash(power)
	}
	send := func(method, path, body string) int {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
		return rec.Code
	}
	start()
	d.failAt = 4 // the sync of the directory
	if status := send("POST", "/add-checkpoint", l.body(0)); status != 500 {
		t.Fatalf("answered %d", status)
	}
	stop(false)
	start()
	if status := send("GET", "/"+witness.OriginHash("a")+"/checkpoint", ""); status != 200 {
		t.Fatalf("answered %d", status)
	}
	stop(true)
	start()
	if status := send("POST", "/add-checkpoint", l.fork(0, 3).body(0)); status != 409 {
		t.Errorf("a fork of what was shown before the power cut: answered %d", status)
	}
	stop(false)
}

// at is the head of the log's first n records.
func (l *testLog) at(n int64) checkpoint.Head {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	root, err := tlog.TreeHash(n, tree.Reader{Tree: &l.tree, Load: l.load})
	if err != nil {
		l.t.Fatal(err)
	}
	return checkpoint.Head{Origin: l.origin, Size: n, Root: root}
}

// story is a witness whose machine fails, and a log that tries to have several
// histories cosigned.
type story struct {
	t     *testing.T
	seed  uint64
	rand  *rand.Rand
	disk  *disk
	dir   string
	key   *cosignature.Key
	logs  []*testLog // histories of one log
	clock *clock
	s     *witness.Server

	size int64           // the largest that was cosigned
	root tlog.Hash       // its root
	time time.Time       // and its time
	sent map[string]bool // how often which answer came
}

func (y *story) open() {
	y.t.Helper()
	s, err := witness.Open(witness.Config{Dir: y.dir, Key: y.key, Logs: []witness.Log{y.logs[0].known()}, FS: y.disk, Now: y.clock.now})
	if err != nil {
		y.t.Fatalf("seed %d: %v", y.seed, err)
	}
	y.s = s
}

// fail arms a fault, or crashes the machine and starts it again.
func (y *story) fail() {
	y.disk.failAt, y.disk.persists, y.disk.dead = y.rand.IntN(6), y.rand.IntN(2) == 0, y.rand.IntN(2) == 0
	y.submit()
	if y.disk.dead || y.rand.IntN(3) == 0 {
		if err := y.s.Close(); err != nil {
			y.t.Fatal(err)
		}
		y.disk.crash(y.rand.IntN(2) == 0)
		y.open()
		return
	}
	y.disk.failAt = -1
}

// submit tries one history, and again after a conflict.
func (y *story) submit() {
	l := y.logs[y.rand.IntN(len(y.logs))]
	head := l.at(1 + y.rand.Int64N(l.head().Size))
	old := min(y.size, head.Size)
	for range 2 {
		var proof []tlog.Hash
		if old > 0 && old < head.Size {
			var err error
			if proof, err = l.prove(y.t.Context(), old, head.Size); err != nil {
				y.t.Fatal(err)
			}
		}
		signed, err := checkpoint.Sign(head, l.signer)
		if err != nil {
			y.t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		y.s.ServeHTTP(rec, httptest.NewRequest("POST", "/add-checkpoint", strings.NewReader(body(old, proof, signed))))
		y.sent[fmt.Sprint(rec.Code)] = true
		if rec.Code == http.StatusOK {
			y.cosigned(l, head, signed, rec.Body.String())
		}
		if rec.Code != http.StatusConflict {
			return
		}
		if _, err := fmt.Sscan(rec.Body.String(), &old); err != nil {
			y.t.Fatal(err)
		}
		old = min(old, head.Size)
	}
}

// cosigned checks that a new cosignature agrees with all before it.
func (y *story) cosigned(l *testLog, head checkpoint.Head, signed []byte, line string) {
	y.t.Helper()
	_, by, _, err := checkpoint.Cosigned(append(signed, line...), []note.Verifier{l.key}, []*cosignature.Verifier{y.key.Verifier()})
	if err != nil || len(by) != 1 {
		y.t.Fatalf("seed %d: %v", y.seed, err)
	}
	switch {
	case head.Size < y.size:
		y.t.Fatalf("seed %d: size %d was cosigned after size %d", y.seed, head.Size, y.size)
	case l.at(y.size).Root != y.root && y.size > 0:
		y.t.Fatalf("seed %d: size %d was cosigned, whose history is not that of size %d", y.seed, head.Size, y.size)
	case by[0].Time.Before(y.time):
		y.t.Fatalf("seed %d: the time went back from %v to %v", y.seed, y.time, by[0].Time)
	}
	y.size, y.root, y.time = head.Size, head.Root, by[0].Time
}

// stories is how many there are of them.
const stories = 150

// TestOneHistoryAcrossFaultsAndCrashes: whatever fails, and whenever the power
// is cut, the cosignatures that left the witness are of one growing history.
func TestOneHistoryAcrossFaultsAndCrashes(t *testing.T) {
	base := newLog(t, "a").grow(40)
	logs := []*testLog{base, base.fork(0, 40), base.fork(3, 40), base.fork(10, 40), base.fork(20, 40), base.fork(39, 40)}
	key, sent := newKey(t, "w"), map[string]bool{}
	for seed := range uint64(stories) {
		y := &story{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), disk: newDisk(seed), dir: t.TempDir(), key: key, logs: logs, clock: newClock(), sent: sent}
		y.open()
		for range 15 {
			y.clock.add(time.Duration(y.rand.IntN(5)-2) * time.Second)
			if y.rand.IntN(2) == 0 {
				y.fail()
			} else {
				y.submit()
			}
		}
		if err := y.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, status := range []string{"200", "409", "422", "500"} {
		if !sent[status] {
			t.Errorf("no answer was %s: the test tests too little", status)
		}
	}
}
