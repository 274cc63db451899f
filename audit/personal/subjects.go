package personal

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// errRetired means that a data key is not used for new boxes any more.
var errRetired = errors.New("the key is retired")

// subjects holds the subjects' keys of one data key, in memory and in its file.
// A key is given out only once its line is on disk: whoever waits for lines
// while others are being written is served by the next write together.
type subjects struct {
	fs    durable.FS
	path  string
	id    string
	index []byte
	day   cipher.AEAD // seals the lines
	max   int

	// file and end are guarded by write, which is taken before mu and held
	// while the disk works.
	write sync.Mutex
	file  durable.File // nil once retired
	end   int64

	mu      sync.Mutex // guards the fields below
	table   map[string]subjectKey
	next    int    // slot
	pending []byte // lines to be written
	round   int64  // of the write that takes what is pending now
	done    int64  // rounds that are on disk
	err     error  // why there are no more
}

// subjectKey is a subject's key and slot.
type subjectKey struct {
	key   [keySize]byte
	slot  int
	round int64
}

// newSubjects begins the file of a data key.
func newSubjects(fsys durable.FS, dir, id string, key, index []byte, limit int) (*subjects, error) {
	t := &subjects{
		fs: fsys, path: filepath.Join(dir, id+subjectsSuffix), id: id, index: index,
		day: aead(derive(key, "subject keys", id)), max: limit,
		table: map[string]subjectKey{}, round: 1,
	}
	header := []byte(subjectsHeader + id + "\n")
	if err := durable.NewFile(fsys, t.path, header); err != nil {
		return nil, err
	}
	t.end = int64(len(header))
	var err error
	if t.file, err = fsys.OpenFile(t.path, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("opening subject keys: %w", err)
	}
	return t, nil
}

// key returns the key of a subject, which is on disk. It returns false if there
// is none for it because there are too many.
func (t *subjects) key(subject string) (k subjectKey, ok bool, err error) {
	t.mu.Lock()
	if t.err != nil {
		defer t.mu.Unlock()
		return k, false, t.err
	}
	k, ok = t.table[subject]
	if !ok {
		if t.next >= t.max {
			t.mu.Unlock()
			return k, false, nil
		}
		k = subjectKey{key: newSubjectKey(), slot: t.next, round: t.round}
		t.next++
		hash := subjectHash(t.index, t.id, subject)
		t.pending = appendLine(t.pending, k.slot, hash, sealSubjectKey(t.day, t.id, k.slot, hash, k.key[:]))
		t.table[subject] = k
	}
	written := k.round <= t.done
	t.mu.Unlock()
	if written {
		return k, true, nil
	}
	t.write.Lock()
	defer t.write.Unlock()
	return k, true, t.flush(k.round)
}

// flush writes what is pending, unless the round is on disk. The caller holds
// write.
func (t *subjects) flush(round int64) error {
	t.mu.Lock()
	if t.done >= round || t.err != nil || len(t.pending) == 0 {
		defer t.mu.Unlock()
		if t.done >= round {
			return nil
		}
		return t.err
	}
	lines, writing := t.pending, t.round
	t.pending = nil
	t.round++
	t.mu.Unlock()

	_, err := t.file.WriteAt(lines, t.end)
	if err == nil {
		err = t.file.Sync()
	}
	if err != nil {
		err = fmt.Errorf("writing %s: %w", t.path, err)
		t.fail(err)
		return err
	}
	t.end += int64(len(lines))
	t.mu.Lock()
	t.done = writing
	t.mu.Unlock()
	return nil
}

// fail ends the table: the file is not trusted any more, and its data key is to
// be replaced. The caller holds write.
func (t *subjects) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	clear(t.table)
	t.pending = nil
	if t.file != nil {
		_ = t.file.Close() // what is on disk was synced
		t.file = nil
	}
}

// retire ends the table in order. Whoever waits for a line gets its key.
func (t *subjects) retire() {
	t.write.Lock()
	defer t.write.Unlock()
	t.mu.Lock()
	round, failed := t.round, t.err != nil
	t.mu.Unlock()
	if !failed {
		_ = t.flush(round) // fails for those who wait
	}
	t.fail(errRetired)
}

// forget destroys the keys of a subject, in memory and in the file. If the
// table is retired the caller does it in the file.
func (t *subjects) forget(subject string) (n int, err error) {
	t.write.Lock()
	defer t.write.Unlock()
	t.mu.Lock()
	round, failed := t.round, t.err
	t.mu.Unlock()
	if failed == nil {
		failed = t.flush(round)
	}
	if failed != nil {
		return 0, errRetired
	}
	t.mu.Lock()
	delete(t.table, subject)
	t.mu.Unlock()

	n, err = forgetInFile(t.fs, t.path, t.id, subjectHash(t.index, t.id, subject))
	if err == nil && n > 0 {
		_ = t.file.Close() // it is the file that was replaced
		t.file, err = t.fs.OpenFile(t.path, os.O_RDWR, 0)
	}
	if err != nil {
		t.fail(err)
	}
	return n, err
}

// forgetInFile makes tombstones of the lines of a hash, and returns of how many.
// It can be interrupted at any point and repeated: what a try that failed left
// to be overwritten is finished and counted.
func forgetInFile(fsys durable.FS, path, id string, hash [hashText]byte) (n int, err error) {
	old := path + oldSuffix
	b, err := fsys.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("reading subject keys: %w", err)
	}
	struck, n, damage := strike(b, id, hash)
	if damage != nil {
		damage = fmt.Errorf("%s: %w", path, damage)
	}
	before := 0
	if b, err := fsys.ReadFile(old); err == nil {
		_, before, _ = strike(b, id, hash) // what cannot be read was overwritten before
		before = max(0, before-n)
	}
	if err := clearCopy(fsys, old, path); err != nil {
		return 0, err
	}
	if n == 0 {
		return before, damage
	}
	n += before
	// The old file keeps a name, by which it can be overwritten after a crash.
	if err := fsys.Link(path, old); err != nil {
		return 0, errors.Join(fmt.Errorf("rewriting %s: %w", path, err), damage)
	}
	if err := durable.WriteFile(fsys, path, struck); err != nil {
		return 0, errors.Join(err, damage)
	}
	if err := clearCopy(fsys, old, path); err != nil {
		if b, rerr := fsys.ReadFile(old); rerr == nil {
			_, left, _ := strike(b, id, hash) // not counted now, but by the next try
			n = max(0, n-left)
		}
		return n, errors.Join(err, damage)
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return n, errors.Join(fmt.Errorf("syncing directory of %s: %w", path, err), damage)
	}
	return n, damage
}
