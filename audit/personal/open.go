package personal

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Opener opens boxes, for an auditor who has an identity that keys are
// encrypted to, and the directory of keys or a copy of it. It changes nothing,
// needs no lock, and is not safe for concurrent use.
type Opener struct {
	fs         durable.FS
	dir        string
	identities []age.Identity
	keys       map[string]openedKey
}

type openedKey struct{ box, subjects cipher.AEAD }

// NewOpener returns an opener for a directory of keys. The identities are those
// of age.ParseIdentities, which reads the files that age-keygen writes.
func NewOpener(fsys durable.FS, dir string, identities ...age.Identity) *Opener {
	return &Opener{fsys, filepath.Join(dir, "personal"), identities, map[string]openedKey{}}
}

// Open opens the box of a record: what its members id, personal and
// personal_key hold. The error is ErrDestroyed, ErrForgotten, ErrNoKey,
// ErrIdentity or ErrBox, or tells what is damaged.
func (o *Opener) Open(request audit.ID, ref string, box []byte) (Fields, error) {
	id, slot, err := parseKeyRef(ref)
	if err != nil {
		return Fields{}, fmt.Errorf("opening sealed members: %w", err)
	}
	k, err := o.key(id)
	if err != nil {
		return Fields{}, fmt.Errorf("opening sealed members with key %s: %w", id, err)
	}
	if slot >= 0 {
		if k.box, err = o.subject(id, slot, k.subjects); err != nil {
			return Fields{}, fmt.Errorf("opening sealed members with key %s: %w", ref, err)
		}
	}
	text, err := k.box.Open(nil, nil, box, appendAAD(nil, request, ref))
	if err != nil {
		return Fields{}, fmt.Errorf("opening sealed members of request %s: %w", request, ErrBox)
	}
	return parseBox(text)
}

// key returns a data key.
func (o *Opener) key(id string) (openedKey, error) {
	if k, ok := o.keys[id]; ok {
		return k, nil
	}
	if _, err := o.fs.ReadFile(filepath.Join(o.dir, id+destroyedSuffix)); !errors.Is(err, fs.ErrNotExist) {
		return openedKey{}, errors.Join(err, ErrDestroyed)
	}
	name := filepath.Join(o.dir, id+ageSuffix)
	wrapped, err := o.fs.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return openedKey{}, fmt.Errorf("%s: %w: copy it from the server's directory of keys", name, ErrNoKey)
	}
	if err != nil {
		return openedKey{}, err
	}
	key, err := unwrapKey(id, wrapped, o.identities)
	if err != nil {
		return openedKey{}, fmt.Errorf("%s: %w", name, err)
	}
	k := openedKey{aead(derive(key, "box", id)), aead(derive(key, "subject keys", id))}
	clear(key)
	o.keys[id] = k
	return k, nil
}

// subject returns the key in a slot. It reads the file each time, for what is
// forgotten meanwhile must not be opened.
func (o *Opener) subject(id string, slot int, day cipher.AEAD) (cipher.AEAD, error) {
	name := filepath.Join(o.dir, id+subjectsSuffix)
	f, err := o.fs.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: copy it from the server's directory of keys", name, ErrNoKey)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	header := make([]byte, subjectsHeaderSize)
	if _, err := f.ReadAt(header, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := checkSubjects(header, id); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	line := make([]byte, lineSize)
	if _, err := f.ReadAt(line, int64(subjectsHeaderSize+slot*lineSize)); err != nil {
		return nil, fmt.Errorf("%s has no slot %d: it is older than the record, or was cut: %w", name, slot, ErrNoKey)
	}
	hash, sealed, err := parseLine(line, slot)
	if err != nil {
		return nil, fmt.Errorf("%s, slot %d: %w", name, slot, err)
	}
	if sealed == nil {
		return nil, ErrForgotten
	}
	key, err := openSubjectKey(day, id, slot, hash, sealed)
	if err != nil {
		return nil, fmt.Errorf("%s, slot %d: %w", name, slot, err)
	}
	return aead(key), nil
}
