package changes

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// The bounds of the history. The oldest versions go first; the one that runs
// stays.
const (
	maxVersions     = 1000
	maxVersionBytes = 256 << 20
)

// history keeps the configurations that ran, without their secrets, each in a
// file whose name is its hash, and the hash of the last in the file "last".
type history struct {
	dir  string
	fsys durable.FS
}

const (
	lastFile      = "last"
	versionSuffix = ".json"
)

func openHistory(dir string) (*history, error) {
	h := &history{dir: dir, fsys: durable.OS{}}
	if err := h.fsys.MkdirAll(dir, durable.DirMode); err != nil {
		return nil, fmt.Errorf("history of changes: %w", err)
	}
	return h, nil
}

// last returns the configuration that ran last, which may be in an earlier
// process. If its file is gone only its hash is known.
func (h *history) last() (v version) {
	b, err := h.fsys.ReadFile(filepath.Join(h.dir, lastFile))
	if err != nil {
		return v
	}
	v.hash = strings.TrimSpace(string(b))
	if !isHash(v.hash) {
		return version{}
	}
	text, err := h.get(v.hash)
	if err != nil {
		return v
	}
	if v.redacted, err = jsonpatch.Parse(text); err != nil {
		return v
	}
	v.raw, v.known = v.redacted, true
	return v
}

// get returns a version, or an error that is fs.ErrNotExist.
func (h *history) get(hash string) ([]byte, error) {
	if !isHash(hash) {
		return nil, fs.ErrNotExist
	}
	b, err := h.fsys.ReadFile(filepath.Join(h.dir, hash+versionSuffix))
	if err != nil {
		return nil, err
	}
	if hashOf(b) != hash {
		return nil, fmt.Errorf("version %s of the configuration is damaged: its contents have another hash", hash)
	}
	return b, nil
}

// put keeps a version as the one that runs.
func (h *history) put(hash string, text []byte) error {
	name := filepath.Join(h.dir, hash+versionSuffix)
	if _, err := h.fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
		if err := durable.WriteFile(h.fsys, name, text); err != nil {
			return err
		}
	} else if err == nil {
		_ = os.Chtimes(name, time.Time{}, time.Now()) // it is the youngest again
	}
	if err := durable.WriteFile(h.fsys, filepath.Join(h.dir, lastFile), []byte(hash+"\n")); err != nil {
		return err
	}
	return h.prune(hash)
}

// prune removes the oldest versions above the bounds.
func (h *history) prune(keep string) error {
	entries, err := h.fsys.ReadDir(h.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		hash, ok := strings.CutSuffix(e.Name(), versionSuffix)
		if !ok || !isHash(hash) || hash == keep {
			continue
		}
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { // youngest first
		return cmp.Or(b.ModTime().Compare(a.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	var bytes int64
	for i, info := range files {
		if bytes += info.Size(); i+1 < maxVersions && bytes <= maxVersionBytes {
			continue
		}
		if err := h.fsys.Remove(filepath.Join(h.dir, info.Name())); err != nil {
			return err
		}
	}
	return nil
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && strings.ToLower(s) == s
}
