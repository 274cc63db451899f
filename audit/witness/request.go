package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// request is the body of an add-checkpoint call.
type request struct {
	old   int64       // size of the tree that the witness saw last
	proof []tlog.Hash // that it is a prefix of the checkpoint's tree
	note  []byte      // the checkpoint
}

// origin is the first line of the checkpoint, unverified.
func (r *request) origin() string {
	line, _, _ := bytes.Cut(r.note, []byte("\n"))
	return string(line)
}

func (r *request) append(b []byte) []byte {
	b = append(b, "old "...)
	b = strconv.AppendInt(b, r.old, 10)
	b = append(b, '\n')
	for i := range r.proof {
		b = base64.StdEncoding.AppendEncode(b, r.proof[i][:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, r.note...)
}

// parseRequest reads what append wrote. Each request has one spelling. The
// checkpoint is not looked at.
func parseRequest(b []byte) (*request, error) {
	header, note, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return nil, errors.New("there is no empty line before a checkpoint")
	}
	lines := strings.Split(string(header), "\n")
	text, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return nil, errors.New("the first line does not say \"old\" and a size")
	}
	old, err := parseSize(text)
	if err != nil {
		return nil, err
	}
	if lines = lines[1:]; len(lines) > maxProof {
		return nil, fmt.Errorf("the proof has %d lines; the longest has %d", len(lines), maxProof)
	}
	r := &request{old: old, proof: make([]tlog.Hash, len(lines)), note: note}
	for i, line := range lines {
		if r.proof[i], err = tlog.ParseHash(line); err != nil || r.proof[i].String() != line {
			return nil, fmt.Errorf("line %d of the proof is not a hash in base64", i+1)
		}
	}
	return r, nil
}

// parseSize reads the size of a tree: decimal, without leading zeroes.
func parseSize(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxSize || strconv.FormatInt(n, 10) != text {
		return 0, fmt.Errorf("%.40q is not the size of a tree", text)
	}
	return n, nil
}

// sigPrefix begins a signature line (C2SP signed-note, "Format").
const sigPrefix = "— "

// sigLine is a signature line of a note.
type sigLine struct {
	name string
	hash uint32
	sig  []byte // without the key ID
}

// parseSigLine reads a signature line without its newline.
func parseSigLine(line string) (sigLine, error) {
	rest, ok := strings.CutPrefix(line, sigPrefix)
	if !ok {
		return sigLine{}, fmt.Errorf("%.80q is not a signature line", line)
	}
	name, text, _ := strings.Cut(rest, " ")
	b, err := base64.StdEncoding.DecodeString(text)
	if name == "" || err != nil || strings.ContainsAny(text, "\r\n") || len(b) < 5 {
		return sigLine{}, fmt.Errorf("%.80q is not a signature line", line)
	}
	hash := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	return sigLine{name, hash, b[4:]}, nil
}

// String is the line in its one canonical spelling, with its newline.
func (l sigLine) String() string {
	b := []byte{byte(l.hash >> 24), byte(l.hash >> 16), byte(l.hash >> 8), byte(l.hash)}
	return sigPrefix + l.name + " " + base64.StdEncoding.EncodeToString(append(b, l.sig...)) + "\n"
}

// by reports whether a line claims to be by a key.
func (l sigLine) by(key interface {
	Name() string
	KeyHash() uint32
},
) bool {
	return l.name == key.Name() && l.hash == key.KeyHash()
}

// parseSigLines reads at least one signature line, each ended by a newline.
func parseSigLines(b []byte) ([]sigLine, error) {
	text, ok := strings.CutSuffix(string(b), "\n")
	if !ok {
		return nil, errors.New("signature lines do not end in a newline")
	}
	var lines []sigLine
	for text := range strings.SplitSeq(text, "\n") {
		line, err := parseSigLine(text)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// splitNote cuts a note into its text and its signature lines (C2SP
// signed-note: at the last empty line).
func splitNote(b []byte) (text []byte, lines []sigLine, err error) {
	i := bytes.LastIndex(b, []byte("\n\n"))
	if i < 0 {
		return nil, nil, errors.New("the checkpoint has no signature")
	}
	lines, err = parseSigLines(b[i+2:])
	return b[:i+1], lines, err
}
