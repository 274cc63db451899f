package checkpoint_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
)

// signerOf makes a key.
func signerOf(t testing.TB, name string) note.Signer {
	t.Helper()
	secret, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEachWitnessKeepsItsNewestNote(t *testing.T) {
	log, a, b, c := signerOf(t, "log.example"), signerOf(t, "a.example"), signerOf(t, "b.example"), signerOf(t, "c.example")
	var kept [][]byte
	for _, step := range []struct {
		size int64
		by   []note.Signer
		want string
	}{
		{100, []note.Signer{log, a, b, c}, "100"},
		{200, []note.Signer{log, a, b}, "200 100"},
		{300, []note.Signer{log, a}, "300 200 100"},
		{300, []note.Signer{log, b}, "300 300 100"},
		{250, []note.Signer{log, a}, "300 300 100"}, // it cosigned more records before
		{400, []note.Signer{log, a, c}, "400 300"},
		{500, []note.Signer{log, a, b, c}, "500"},
	} {
		signed, err := checkpoint.Sign(checkpoint.Head{Origin: "log.example", Size: step.size}, step.by...)
		if err != nil {
			t.Fatal(err)
		}
		if kept, err = checkpoint.Newest(kept, signed); err != nil {
			t.Fatal(err)
		}
		var sizes []string
		for _, n := range kept {
			h, err := checkpoint.Peek(n)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, fmt.Sprint(h.Size))
		}
		if got := strings.Join(sizes, " "); got != step.want {
			t.Errorf("after %d by %d: %s, want %s", step.size, len(step.by), got, step.want)
		}
		again, err := checkpoint.Several(checkpoint.Join(kept))
		if err != nil || !slices.EqualFunc(again, kept, bytes.Equal) {
			t.Errorf("%v: read back otherwise than written", err)
		}
	}
}

func FuzzSeveral(f *testing.F) {
	one := "log.example\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— log.example AAAA\n"
	for _, s := range []string{"", one, one + "\n" + one, one + one, one + "\n", "\n\n— ", one + "— x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		notes, err := checkpoint.Several(b)
		if err != nil {
			return
		}
		if got := checkpoint.Join(notes); !bytes.Equal(got, b) {
			t.Errorf("%q is not %q", got, b)
		}
		_, _ = checkpoint.Newest(notes[1:], notes[0])
	})
}
