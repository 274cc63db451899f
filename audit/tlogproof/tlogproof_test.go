package tlogproof_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
)

// hashes stores a tree's nodes as the reference library numbers them.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, h[i])
	}
	return out, nil
}

func record(i int64) []byte { return fmt.Appendf(nil, `{"v":1,"seq":%d}`, i) }

type signer struct {
	note.Signer
	key note.Verifier
}

func newSigner(t testing.TB, name string) signer {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer{s, v}
}

// prove makes the proofs of all records of a log with the reference library.
func prove(t testing.TB, size int64, signers ...note.Signer) []tlogproof.Proof {
	t.Helper()
	var stored hashes
	for i := range size {
		more, err := tlog.StoredHashes(i, record(i), stored)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		t.Fatal(err)
	}
	text, err := checkpoint.Sign(checkpoint.Head{Origin: "edge-1/soc2", Size: size, Root: root}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	var all []tlogproof.Proof
	for i := range size {
		p, err := tlog.ProveRecord(size, i, stored)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tlogproof.Proof{Index: i, Hashes: p, Checkpoint: text})
	}
	return all
}

func TestProofsOfTheReferenceLibraryVerify(t *testing.T) {
	log, witness := newSigner(t, "edge-1/soc2"), newSigner(t, "witness.example")
	for _, size := range []int64{1, 2, 3, 7, 8, 33} {
		for _, p := range prove(t, size, log, witness) {
			text, err := p.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			var read tlogproof.Proof
			if err := read.UnmarshalText(text); err != nil {
				t.Fatal(err)
			}
			head, others, err := read.Verify(record(p.Index), witness.key, log.key)
			if err != nil || head.Size != size || len(others) != 1 || !strings.HasPrefix(others[0], "witness.example+") {
				t.Errorf("record %d of %d: %+v, %q, %v", p.Index, size, head, others, err)
			}
			if _, _, err := read.Verify(record(p.Index+1), log.key); !errors.Is(err, tlogproof.ErrNotIncluded) {
				t.Errorf("record %d of %d, for another record: %v", p.Index, size, err)
			}
		}
	}
}

// TestTextIsThatOfTheSpecification spells a proof line by line.
func TestTextIsThatOfTheSpecification(t *testing.T) {
	p := prove(t, 3, newSigner(t, "edge-1/soc2"))[1]
	p.Extra = []byte("more")
	want := "c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 1\n" +
		base64.StdEncoding.EncodeToString(p.Hashes[0][:]) + "\n" +
		base64.StdEncoding.EncodeToString(p.Hashes[1][:]) + "\n\n" + string(p.Checkpoint)
	if got := string(p.Append(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	p.Extra = nil
	want = strings.Replace(want, "extra bW9yZQ==\n", "", 1)
	if got := string(p.Append([]byte("x"))); got != "x"+want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestKeyOfAnotherLogProvesNothing(t *testing.T) {
	log, other, namesake := newSigner(t, "edge-1/soc2"), newSigner(t, "edge-2/soc2"), newSigner(t, "edge-1/soc2")
	p := prove(t, 5, log)[2]
	for name, keys := range map[string][]note.Verifier{"none": nil, "other": {other.key}, "namesake": {namesake.key}} {
		if _, _, err := p.Verify(record(2), keys...); !errors.Is(err, checkpoint.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A key signs for the log of its name only, even if it is trusted for that.
	p = prove(t, 5, other)[2]
	if _, _, err := p.Verify(record(2), other.key); !errors.Is(err, checkpoint.ErrKey) {
		t.Errorf("signed by another log's key: %v", err)
	}
}

// TestNoChangedByteVerifies flips each bit of a proof. What still verifies may
// only say less: nothing but the extra line is not covered.
func TestNoChangedByteVerifies(t *testing.T) {
	log := newSigner(t, "edge-1/soc2")
	p := prove(t, 21, log)[13]
	text := p.Append(nil)
	for i := range text {
		for bit := range 8 {
			changed := bytes.Clone(text)
			changed[i] ^= 1 << bit
			read, err := tlogproof.Parse(changed)
			if err == nil {
				_, _, err = read.Verify(record(13), log.key)
			}
			if err == nil {
				t.Errorf("bit %d of byte %d is not covered: %q", bit, i, changed)
			}
		}
	}
	for n := range text {
		read, err := tlogproof.Parse(text[:n])
		if err == nil {
			if _, _, err = read.Verify(record(13), log.key); err == nil {
				t.Errorf("the first %d bytes verify", n)
			}
		}
	}
}

func TestMalformedProofsAreRefused(t *testing.T) {
	good := string(prove(t, 3, newSigner(t, "edge-1/soc2"))[1].Append(nil))
	index := "index 1\n"
	for name, text := range map[string]string{
		"empty":            "",
		"another version":  strings.Replace(good, "@v1", "@v2", 1),
		"carriage returns": strings.ReplaceAll(good, "\n", "\r\n"),
		"empty extra":      strings.Replace(good, index, "extra \n"+index, 1),
		"bad extra":        strings.Replace(good, index, "extra x\n"+index, 1),
		"two extras":       strings.Replace(good, index, "extra bW9yZQ==\nextra bW9yZQ==\n"+index, 1),
		"no index":         strings.Replace(good, index, "", 1),
		"leading zero":     strings.Replace(good, "index 1", "index 01", 1),
		"negative":         strings.Replace(good, "index 1", "index -1", 1),
		"too large":        strings.Replace(good, "index 1", "index 9223372036854775808", 1),
		"plus":             strings.Replace(good, "index 1", "index +1", 1),
		"short hash":       strings.Replace(good, index, index+"bW9yZQ==\n", 1),
		"64 hashes":        strings.Replace(good, index, index+strings.Repeat(strings.Repeat("A", 43)+"=\n", 63), 1),
		"no checkpoint":    good[:strings.Index(good, "\n\n")+2],
		"no empty line":    strings.Replace(good, "\n\n", "\n", 1),
		"huge":             good + strings.Repeat("x", tlogproof.MaxBytes),
	} {
		if p, err := tlogproof.Parse([]byte(text)); !errors.Is(err, tlogproof.ErrMalformed) && name != "no empty line" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	log := newSigner(f, "edge-1/soc2")
	for _, p := range prove(f, 5, log) {
		f.Add(p.Append(nil))
		p.Extra = []byte{0, 1, 2}
		f.Add(p.Append(nil))
	}
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := tlogproof.Parse(b)
		if err != nil {
			if !errors.Is(err, tlogproof.ErrMalformed) {
				t.Errorf("error %v", err)
			}
			return
		}
		if got := p.Append(nil); !bytes.Equal(got, b) {
			t.Errorf("%q is read as %q", b, got)
		}
		if _, _, err := p.Verify([]byte("a record of no log"), log.key); err == nil {
			t.Error("it verifies")
		}
	})
}
