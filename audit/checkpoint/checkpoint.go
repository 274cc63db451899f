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

// Open verifies a checkpoint and returns its head. It accepts exactly the
// bytes that Sign makes, with all of its signatures by the given keys: a
// checkpoint has one spelling, so that no byte of it can change unseen.
func Open(b []byte, keys ...note.Verifier) (Head, error) {
	n, err := note.Open(b, note.VerifierList(keys...))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		var invalid *note.InvalidSignatureError
		switch {
		case errors.As(err, &unverified):
			return Head{}, fmt.Errorf("%w: it is signed by %s", ErrKey, signers(unverified.Note))
		case errors.As(err, &invalid):
			return Head{}, fmt.Errorf("%w: the signature of %s does not verify", ErrKey, invalid.Name)
		default:
			return Head{}, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	if len(n.UnverifiedSigs) > 0 {
		return Head{}, fmt.Errorf("%w: it also has a signature by the unknown key %s+%08x", ErrKey, n.UnverifiedSigs[0].Name, n.UnverifiedSigs[0].Hash)
	}
	h, err := parse(n.Text)
	if err != nil {
		return Head{}, err
	}
	if !bytes.Equal(b, spell(n)) {
		return Head{}, fmt.Errorf("%w: a signature has another spelling than the signer's", ErrMalformed)
	}
	return h, nil
}

// spell returns the one encoding of a verified note.
func spell(n *note.Note) []byte {
	var b bytes.Buffer
	b.WriteString(n.Text)
	b.WriteByte('\n')
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil {
			return nil
		}
		fmt.Fprintf(&b, "— %s %s\n", s.Name, base64.StdEncoding.EncodeToString(raw))
	}
	return b.Bytes()
}

func signers(n *note.Note) string {
	names := make([]string, len(n.UnverifiedSigs))
	for i, s := range n.UnverifiedSigs {
		names[i] = fmt.Sprintf("%s+%08x", s.Name, s.Hash)
	}
	return strings.Join(names, ", ")
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
