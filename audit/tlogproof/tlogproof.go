// Package tlogproof writes, reads and verifies C2SP tlog-proof: a text that
// shows, to whoever has the log's verifier key and nothing else, that a record
// is in the log.
//
//	c2sp.org/tlog-proof@v1
//	index 73894                                    index of the record
//	gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=   inclusion proof (RFC 6962,
//	B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=   section 2.1.1), leaf to root
//
//	edge-1/soc2                                    checkpoint, as it was signed
//	109482                                         and with all its signatures
//	sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=
//
//	— edge-1/soc2 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
package tlogproof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Suffix ends the names of files that hold a proof (C2SP tlog-proof, "Format").
const Suffix = ".tlog-proof"

// Limits of what Parse takes.
const (
	MaxBytes  = 1 << 20 // of a proof
	maxHashes = 63      // a tree's size is an int64
)

const (
	header = "c2sp.org/tlog-proof@v1\n"
	extra  = "extra "
	index  = "index "
)

// ErrMalformed means that the bytes are not a proof.
var ErrMalformed = errors.New("not a C2SP tlog-proof")

// ErrNotIncluded means that the record is not the one that the proof is of.
var ErrNotIncluded = errors.New("the proof does not lead from this record to the root that the checkpoint signs")

// Proof is an inclusion proof with the checkpoint that it leads to.
type Proof struct {
	Extra      []byte // what the application adds; nobody vouches for it. Empty: no extra line
	Index      int64  // of the record in the log
	Hashes     tlog.RecordProof
	Checkpoint []byte // signed note, with the cosignatures that it has
}

// Append appends the text of the proof to dst.
func (p Proof) Append(dst []byte) []byte {
	dst = append(dst, header...)
	if len(p.Extra) > 0 {
		dst = append(dst, extra...)
		dst = base64.StdEncoding.AppendEncode(dst, p.Extra)
		dst = append(dst, '\n')
	}
	dst = append(dst, index...)
	dst = strconv.AppendInt(dst, p.Index, 10)
	dst = append(dst, '\n')
	for _, h := range p.Hashes {
		dst = base64.StdEncoding.AppendEncode(dst, h[:])
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	return append(dst, p.Checkpoint...)
}

// MarshalText implements encoding.TextMarshaler. It does not fail.
func (p Proof) MarshalText() ([]byte, error) { return p.Append(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler as Parse.
func (p *Proof) UnmarshalText(b []byte) (err error) {
	*p, err = Parse(b)
	return err
}

// Parse reads a proof. It takes only the one spelling that Append writes, of at
// most MaxBytes, and does not look into the checkpoint. Errors wrap
// ErrMalformed.
func Parse(b []byte) (Proof, error) {
	var p Proof
	if len(b) > MaxBytes {
		return Proof{}, fmt.Errorf("%w: %d bytes are more than %d", ErrMalformed, len(b), MaxBytes)
	}
	rest, ok := bytes.CutPrefix(b, []byte(header))
	if !ok {
		return Proof{}, fmt.Errorf("%w: its first line is not %q", ErrMalformed, header[:len(header)-1])
	}
	line, rest, _ := bytes.Cut(rest, []byte{'\n'})
	if text, ok := bytes.CutPrefix(line, []byte(extra)); ok {
		if p.Extra, ok = decode(text); !ok || len(p.Extra) == 0 {
			return Proof{}, fmt.Errorf("%w: its extra line is not base64", ErrMalformed)
		}
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
	}
	text, ok := bytes.CutPrefix(line, []byte(index))
	n, err := strconv.ParseInt(string(text), 10, 64)
	if !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != string(text) {
		return Proof{}, fmt.Errorf("%w: %q is not the line of an index", ErrMalformed, line)
	}
	p.Index = n
	for {
		if line, rest, ok = bytes.Cut(rest, []byte{'\n'}); !ok {
			return Proof{}, fmt.Errorf("%w: it has no checkpoint", ErrMalformed)
		}
		if len(line) == 0 {
			break
		}
		hash, ok := decode(line)
		if !ok || len(hash) != tlog.HashSize || len(p.Hashes) == maxHashes {
			return Proof{}, fmt.Errorf("%w: %q is not the line of a hash", ErrMalformed, line)
		}
		p.Hashes = append(p.Hashes, tree.Hash(hash))
	}
	if len(rest) == 0 {
		return Proof{}, fmt.Errorf("%w: it has no checkpoint", ErrMalformed)
	}
	p.Checkpoint = bytes.Clone(rest)
	return p, nil
}

// decode reads base64 (RFC 4648, section 4) in its one canonical spelling.
func decode(text []byte) ([]byte, bool) {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	return b, err == nil && base64.StdEncoding.EncodeToString(b) == string(text)
}

// Verify checks that record is in the log of one of the keys (C2SP tlog-proof,
// "Verifying a tlog proof"): that the checkpoint is signed by a key whose name
// is the checkpoint's origin, and that the hashes lead from the record to its
// root. The record is the bytes of the record alone, without a newline. It
// returns the head and, by name, the signatures that the keys do not verify,
// such as those of witnesses: which of them must be there is the caller's
// policy. Errors wrap ErrNotIncluded, checkpoint.ErrKey or
// checkpoint.ErrMalformed.
func (p Proof) Verify(record []byte, keys ...note.Verifier) (head checkpoint.Head, others []string, err error) {
	head, err = checkpoint.Peek(p.Checkpoint)
	if err != nil {
		return head, nil, err
	}
	var own []note.Verifier
	for _, k := range keys {
		if k.Name() == head.Origin {
			own = append(own, k)
		}
	}
	if len(own) == 0 {
		return head, nil, fmt.Errorf("%w: it is of the log %q, of which no key is given", checkpoint.ErrKey, head.Origin)
	}
	if head, others, err = checkpoint.Open(p.Checkpoint, own...); err != nil {
		return head, others, err
	}
	if p.Index >= head.Size {
		return head, others, fmt.Errorf("%w: it is of record %d, but the checkpoint signs %d records", ErrNotIncluded, p.Index, head.Size)
	}
	if err := tlog.CheckRecord(p.Hashes, head.Size, head.Root, p.Index, tlog.RecordHash(record)); err != nil {
		return head, others, fmt.Errorf("%w: %w", ErrNotIncluded, err)
	}
	return head, others, nil
}
