package checkpoint

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func keypair(t testing.TB, name string) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
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
	return s, v
}

func TestEveryFlipIsSeen(t *testing.T) {
	s, v := keypair(t, "edge-1/soc2")
	want := Head{"edge-1/soc2", 286403, tlog.RecordHash([]byte("x"))}
	b, err := Sign(want, s)
	if err != nil {
		t.Fatal(err)
	}
	if got, others, err := Open(b, v); err != nil || got != want || len(others) > 0 {
		t.Fatal(got, err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, _, err := Open(b, v); err == nil {
				t.Fatalf("bit %d of byte %d (%q): not seen", bit, i, b[i]^1<<bit)
			}
			b[i] ^= 1 << bit
		}
	}
	for i := range b {
		if _, _, err := Open(b[:i], v); err == nil {
			t.Fatalf("cut at %d: not seen", i)
		}
	}
	if _, _, err := Open(append(bytes.Clone(b), '\n'), v); err == nil {
		t.Error("a line more was not seen")
	}
}

func TestKeys(t *testing.T) {
	s, v := keypair(t, "a")
	s2, v2 := keypair(t, "b")
	b, err := Sign(Head{Origin: "a", Size: 1}, s, s2)
	if err != nil {
		t.Fatal(err)
	}
	if _, others, err := Open(b, v, v2); err != nil || len(others) > 0 {
		t.Errorf("both keys known: %v", err)
	}
	if _, others, err := Open(b, v); err != nil || len(others) != 1 || !strings.HasPrefix(others[0], "b+") {
		t.Errorf("one signer unknown: %q, %v", others, err)
	}
	twice := append(bytes.Clone(b), b[bytes.LastIndex(b, []byte("\n—"))+1:]...)
	if _, _, err := Open(twice, v); !errors.Is(err, ErrMalformed) {
		t.Errorf("a signature twice: %v", err)
	}
	_, other := keypair(t, "a")
	if _, _, err := Open(b, other); !errors.Is(err, ErrKey) {
		t.Errorf("a wrong key of the right name: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	s, v := keypair(f, "a")
	want := Head{Origin: "a", Size: 1}
	b, err := Sign(want, s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		if h, _, err := Open(in, v); err == nil && h != want {
			t.Errorf("accepted a forgery: %q", in)
		}
	})
}
