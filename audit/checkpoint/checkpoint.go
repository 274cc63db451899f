// Package checkpoint writes and reads the signed heads of a log: C2SP
// tlog-checkpoint in a C2SP signed-note.
//
//	edge-1/soc2                                   origin
//	286403                                        size of the tree
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=  root hash
//
//	— edge-1/soc2 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
package checkpoint

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// File is the name of the newest checkpoint in a log. Part of the on-disk
// format; do not change.
const File = "checkpoint"

// Head is what a checkpoint says.
type Head struct {
	Origin string
	Size   int64
	Root   tree.Hash
}

// Sign returns the checkpoint of a head.
func Sign(h Head, signers ...note.Signer) ([]byte, error) {
	text := h.Origin + "\n" + strconv.FormatInt(h.Size, 10) + "\n" + h.Root.String() + "\n"
	b, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint of size %d: %w", h.Size, err)
	}
	return b, nil
}

// Errors of Open.
var (
	ErrKey       = errors.New("the checkpoint is not signed by the given key")
	ErrMalformed = errors.New("the checkpoint is malformed")
)

// Open verifies a checkpoint by at least one of the keys and returns its head. A
// key with a limit (Until) counts only if the checkpoint is within it.
// Signatures by other keys, such as those of witnesses, say nothing (C2SP
// signed-note) and are returned by name. All signatures must be spelled as a
// signer does, so that no byte of what the keys sign can change unseen.
func Open(b []byte, keys ...note.Verifier) (h Head, others []string, err error) {
	n, err := open(b, keys)
	if err != nil {
		return Head{}, nil, err
	}
	if h, err = parse(n.Text); err != nil {
		return Head{}, nil, err
	}
	return h, signers(n), nil
}

// open verifies a note by the keys and checks the spelling of its signatures.
func open(b []byte, keys []note.Verifier) (*note.Note, error) {
	good := Good(b, keys)
	n, err := note.Open(b, note.VerifierList(good...))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		var invalid *note.InvalidSignatureError
		switch {
		case errors.As(err, &unverified) && len(good) < len(keys):
			return nil, fmt.Errorf("%w: it is signed by %q, and is of more records than a given key is good for", ErrKey, signers(unverified.Note))
		case errors.As(err, &unverified):
			return nil, fmt.Errorf("%w: it is signed by %q", ErrKey, signers(unverified.Note))
		case errors.As(err, &invalid):
			return nil, fmt.Errorf("%w: the signature of %q does not verify", ErrKey, invalid.Name)
		default:
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	if !spelled(b, len(n.Sigs)+len(n.UnverifiedSigs)) {
		return nil, fmt.Errorf("%w: a signature is there twice or has another spelling than the signer's", ErrMalformed)
	}
	return n, nil
}

// spelled reports whether a note has so many signature lines, each with its
// base64 in the one canonical form.
func spelled(b []byte, want int) bool {
	_, lines, _ := bytes.Cut(b, []byte("\n\n"))
	n := 0
	for line := range bytes.Lines(lines) {
		text := string(bytes.TrimSuffix(line, []byte("\n")))
		encoded := text[strings.LastIndexByte(text, ' ')+1:]
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != encoded {
			return false
		}
		n++
	}
	return n == want
}

// signers names the keys whose signatures were not verified.
func signers(n *note.Note) []string {
	var names []string
	for _, s := range n.UnverifiedSigs {
		names = append(names, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	return names
}

func parse(text string) (Head, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 || lines[3] != "" {
		return Head{}, fmt.Errorf("%w: it does not have three lines", ErrMalformed)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Head{}, fmt.Errorf("%w: %q is not the size of a tree", ErrMalformed, lines[1])
	}
	h := Head{Origin: lines[0], Size: size}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(h.Root) {
		return Head{}, fmt.Errorf("%w: %q is not a root hash", ErrMalformed, lines[2])
	}
	copy(h.Root[:], root)
	return h, nil
}

// Peek reads what a checkpoint says without verifying its signature.
func Peek(b []byte) (Head, error) {
	text, _, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return Head{}, fmt.Errorf("%w: it has no signature", ErrMalformed)
	}
	return parse(string(text) + "\n")
}
