package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// KeySet is the keys of a log as they are kept:
//
//	log.key                  signs
//	log.key.next             signs beside it; there while a rotation is under way
//	log.key.retired-HASH     signed once, HASH being its key hash; not used
//
// A rotation has three phases. The keys of a log change only when it is opened,
// and its log.open record, which the keys then sign, names all of them.
//
//  1. the old key signs alone
//  2. Rotate made the new key; after the next start both sign
//  3. Promote made the new key the log's key; after the next start it signs alone
//
// So each checkpoint shares a key with the one before, and who knows either key
// can follow the log through the rotation. Rotate and Promote can be called
// again after a crash at any point.
type KeySet struct {
	Key  *Key
	Next *Key // nil unless a rotation is under way
}

// Cosigners is what belongs in Config.Cosigners.
func (s KeySet) Cosigners() []*Key {
	if s.Next == nil {
		return nil
	}
	return []*Key{s.Next}
}

// LoadSet reads the key, and the one that is to come if there is one.
func (s Source) LoadSet() (KeySet, error) {
	k, err := s.Load()
	if err != nil {
		return KeySet{}, err
	}
	next, err := s.Next().Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return KeySet{}, err
	}
	return KeySet{k, next}, nil
}

// retiredName is the name of the file of a key that was replaced.
func retiredName(name string, k *Key) string { return name + ".retired-" + k.hash() }

// inKeyDir runs an operation on the files beside a key, alone.
func inKeyDir(name string, op func() error) (err error) {
	lock, err := durable.LockDir(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("the directory of the key: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return op()
}

// Rotate begins the rotation of the key in the named file: it makes the key that
// is to come and returns it. If a rotation was begun before, it returns that
// rotation's key.
func Rotate(fsys durable.FS, name string) (next *Key, err error) {
	err = inKeyDir(name, func() error {
		next, err = rotate(fsys, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rotating key %s: %w", name, err)
	}
	return next, nil
}

func rotate(fsys durable.FS, name string) (*Key, error) {
	k, err := loadKey(fsys, name, 0o077)
	if err != nil {
		return nil, err
	}
	if err := removeLeftover(fsys, name); err != nil {
		return nil, err
	}
	next, err := loadKey(fsys, name+nextSuffix, 0o077)
	if err == nil { // perhaps a crash came before its name was durable
		return next, fsys.SyncDir(filepath.Dir(name))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if next, err = NewKey(k.Origin()); err != nil {
		return nil, err
	}
	return next, next.Save(fsys, name+nextSuffix)
}

// removeLeftover removes what a crash within the making of the next key left: a
// key that is not used, or a second name of the next key.
func removeLeftover(fsys durable.FS, name string) error {
	for _, suffix := range []string{durable.TempSuffix, durable.TempSuffix + durable.TempSuffix} {
		if err := fsys.Remove(name + nextSuffix + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ErrNotRotated means that there is no rotation to end.
var ErrNotRotated = errors.New("no rotation is under way")

// Promote ends a rotation: the next key becomes the key in the named file, and
// the key that was there is kept as a retired one. newest is the log's newest
// checkpoint, or nil if there is no log yet. It must be signed by the next key:
// otherwise the log could not be opened with that key alone.
func Promote(fsys durable.FS, name string, newest []byte) (retired string, err error) {
	err = inKeyDir(name, func() error {
		retired, err = promote(fsys, name, newest)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("promoting the next key of %s: %w", name, err)
	}
	return retired, nil
}

func promote(fsys durable.FS, name string, newest []byte) (string, error) {
	next, err := loadKey(fsys, name+nextSuffix, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		// Perhaps a crash came after the end.
		if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
			return "", err
		}
		return "", fmt.Errorf("%w: there is no %s: begin one with \"caddy soc2 key rotate\"", ErrNotRotated, name+nextSuffix)
	}
	if err != nil {
		return "", err
	}
	if err := hasSigned(next, newest); err != nil {
		return "", err
	}
	if err := removeLeftover(fsys, name); err != nil {
		return "", err
	}
	retired, err := retire(fsys, name)
	if err != nil {
		return "", err
	}
	if err := fsys.Rename(name+nextSuffix, name); err != nil {
		return "", err
	}
	return retired, fsys.SyncDir(filepath.Dir(name))
}

// retire gives the key in use a second name, under which it stays.
func retire(fsys durable.FS, name string) (string, error) {
	k, err := loadKey(fsys, name, 0o077)
	if err != nil {
		return "", err
	}
	retired := retiredName(name, k)
	err = fsys.Link(name, retired)
	if errors.Is(err, fs.ErrExist) { // by a promotion that a crash ended
		var now, then []byte
		if now, err = fsys.ReadFile(name); err == nil {
			then, err = fsys.ReadFile(retired)
		}
		if err == nil && !bytes.Equal(now, then) {
			err = fmt.Errorf("%s holds something else than the key in use: move it away", retired)
		}
	}
	if err != nil {
		return "", err
	}
	return retired, fsys.SyncDir(filepath.Dir(name))
}

// hasSigned checks that a checkpoint carries the signature of a key.
func hasSigned(k *Key, newest []byte) error {
	if newest == nil {
		return nil
	}
	if _, _, err := checkpoint.Open(newest, k.verifier); err != nil {
		return fmt.Errorf("the newest checkpoint of the log is not signed by %s, so the log could not be opened with it alone: restart the server first, so that both keys sign: %w", k.ID(), err)
	}
	return nil
}

// keys are the key and its cosigners.
func (c *Config) keys() []*Key { return append([]*Key{c.Key}, c.Cosigners...) }

// checkKeys finds out whether the keys can sign one log.
func (c *Config) checkKeys() error {
	seen := map[uint32]bool{}
	for i, k := range c.keys() {
		switch {
		case k == nil:
			return fmt.Errorf("key %d of the log is missing: a log is not kept without one", i)
		case k.Origin() != c.Key.Origin():
			return fmt.Errorf("the keys are of two logs, %q and %q: a new key has the name of the old one", c.Key.Origin(), k.Origin())
		case seen[k.KeyHash()]:
			return fmt.Errorf("the key %s is given twice", k.ID())
		}
		seen[k.KeyHash()] = true
	}
	return nil
}

// signers are the keys as the note package takes them.
func (c *Config) signers() (list []note.Signer) {
	for _, k := range c.keys() {
		list = append(list, k)
	}
	return list
}

// verifiers check the signatures of the keys.
func (c *Config) verifiers() (list []note.Verifier) {
	for _, k := range c.keys() {
		list = append(list, k.verifier)
	}
	return list
}

// publics are the verifier keys of some keys.
func publics(keys []*Key) (list []string) {
	for _, k := range keys {
		list = append(list, k.Public())
	}
	return list
}

// Verifiers check the signatures of the log's checkpoints.
func (l *Log) Verifiers() []note.Verifier { return l.cfg.verifiers() }
