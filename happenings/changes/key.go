package changes

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/redact"
)

// keyBytes is the size of the key that makes tokens of secrets.
const keyBytes = 32

// loadKey reads the key, or makes it: hex digits in a file of mode 0600.
func loadKey(name string) (redact.Key, error) {
	fsys := durable.OS{}
	b, err := fsys.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(fsys, name)
	}
	if err != nil {
		return nil, fmt.Errorf("key of changes: %w", err)
	}
	if info, err := fsys.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key of changes %s: others can read it (mode %v): run chmod 600 on it", name, info.Mode().Perm())
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("key of changes %s: it is not %d bytes in hex: move it away to get a new one; tokens made with it will not be told to be equal to new ones", name, keyBytes)
	}
	return key, nil
}

func makeKey(fsys durable.FS, name string) (redact.Key, error) {
	if err := fsys.MkdirAll(filepath.Dir(name), durable.DirMode); err != nil {
		return nil, fmt.Errorf("key of changes: %w", err)
	}
	key := make(redact.Key, keyBytes)
	_, _ = rand.Read(key) // never fails
	err := durable.NewFile(fsys, name, []byte(hex.EncodeToString(key)+"\n"))
	if err != nil {
		return nil, fmt.Errorf("key of changes: %w", err)
	}
	return key, nil
}
