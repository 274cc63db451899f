package hold

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The file is the JSON that encode writes, and no other: with an indent of two
// spaces, members in this order, and a sum over the list. Part of the on-disk
// format; do not change.
//
//	{
//	  "version": 1,
//	  "holds": [
//	    {
//	      "name": "case-17",
//	      "reason": "claim of …",
//	      "by": "legal@example.com",
//	      "at": "2026-11-21T08:00:00Z",
//	      "from": "2026-01-01T00:00:00Z",
//	      "to": "2026-07-01T00:00:00Z",
//	      "released": {"reason": "settled", "by": "…", "at": "…"}
//	    }
//	  ],
//	  "sum": "sha256:…"
//	}
//
// A hold without "from" and "to" is for all times. The sum is the SHA-256 of the
// list as JSON without white space. It tells damage, not forgery.
const (
	version = 1
	maxFile = 4 << 20
)

type file struct {
	Version int    `json:"version"`
	Holds   []Hold `json:"holds"`
	Sum     string `json:"sum"`
}

func encode(holds []Hold) ([]byte, error) {
	if holds == nil {
		holds = []Hold{}
	}
	list, err := json.Marshal(holds)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(list)
	b, err := json.MarshalIndent(file{version, holds, "sha256:" + hex.EncodeToString(sum[:])}, "", "  ")
	return append(b, '\n'), err
}

// parse reads a file. Whatever is not as encode writes it is an error: what a
// hold says must not be guessed.
func parse(b []byte) ([]Hold, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("it has %d bytes; %d are allowed", len(b), maxFile)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if f.Version != version {
		return nil, fmt.Errorf("it has version %d; this program reads version %d", f.Version, version)
	}
	again, err := encode(f.Holds)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("it is not as it was written")
	}
	active := map[string]bool{}
	for _, h := range f.Holds {
		if err := h.check(); err != nil {
			return nil, fmt.Errorf("hold %q: %w", h.Name, err)
		}
		if h.Released == nil && active[h.Name] {
			return nil, fmt.Errorf("hold %q is there twice", h.Name)
		}
		active[h.Name] = active[h.Name] || h.Released == nil
	}
	return f.Holds, nil
}

func (h *Hold) check() error {
	switch {
	case !validName(h.Name):
		return errors.New("name: it needs 1 to 64 letters, digits, dots, underscores or hyphens")
	case !said(h.Reason):
		return errors.New("reason: it needs 1 to 1024 bytes")
	case !said(h.By):
		return errors.New("by: it must say who set it, in 1 to 1024 bytes")
	case !h.From.IsZero() && !h.To.IsZero() && !h.From.Before(h.To):
		return fmt.Errorf("from %s is not before to %s", h.From.Format(time.RFC3339), h.To.Format(time.RFC3339))
	case h.Released != nil && (!said(h.Released.Reason) || !said(h.Released.By)):
		return errors.New("released: it must say why and by whom")
	}
	return nil
}

func said(s string) bool { return s != "" && len(s) <= 1024 }

func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}
