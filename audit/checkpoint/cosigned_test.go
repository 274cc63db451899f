package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
)

func witnessKey(t testing.TB, name string) *cosignature.Key {
	t.Helper()
	k, err := cosignature.NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestPublicWitnessesVerify checks a checkpoint of a public log by the
// published keys of the log and of public witnesses.
func TestPublicWitnessesVerify(t *testing.T) {
	b, err := os.ReadFile("testdata/arche2025h1.checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	log, err := note.NewVerifier("arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f")
	if err != nil {
		t.Fatal(err)
	}
	var witnesses []*cosignature.Verifier
	for _, vkey := range []string{
		"remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
		"witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
		"witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G",
		"transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
	} {
		v, err := cosignature.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		witnesses = append(witnesses, v)
	}
	h, by, others, err := Cosigned(b, []note.Verifier{log}, witnesses)
	if err != nil {
		t.Fatal(err)
	}
	if h.Size != 1432088532 || len(others) != 2 {
		t.Errorf("size %d, unverified %q", h.Size, others)
	}
	if len(by) != 3 || by[0].Witness != witnesses[0] || by[1].Witness != witnesses[1] || by[2].Witness != witnesses[3] {
		t.Fatalf("cosigned by %v", by)
	}
	for _, c := range by {
		if want := time.Unix(0x6a122120, 0); !c.Time.Equal(want) {
			t.Errorf("%s cosigned at %v, want %v", c.Witness.Name(), c.Time, want)
		}
	}
	for i := range bytes.Index(b, []byte("\n\n")) {
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, _, _, err := Cosigned(c, []note.Verifier{log}, witnesses); err == nil {
			t.Errorf("a flip at %d was not seen", i)
		}
	}
}

func TestWitnessesDoNotStandInForTheLog(t *testing.T) {
	log, logKey := keypair(t, "a")
	w := witnessKey(t, "w")
	now := time.Unix(1e9, 0)
	head := Head{Origin: "a", Size: 1, Root: tlog.RecordHash(nil)}
	onlyWitness, err := Sign(head, w.At(now))
	if err != nil {
		t.Fatal(err)
	}
	known := []*cosignature.Verifier{w.Verifier()}
	if _, _, _, err := Cosigned(onlyWitness, []note.Verifier{logKey}, known); !errors.Is(err, ErrKey) {
		t.Errorf("signed by a witness alone: %v", err)
	}
	onlyLog, err := Sign(head, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, by, _, err := Cosigned(onlyLog, []note.Verifier{logKey}, known); err != nil || len(by) != 0 {
		t.Errorf("signed by the log alone: %v, %v", by, err)
	}
	both, err := Sign(head, log, w.At(now))
	if err != nil {
		t.Fatal(err)
	}
	h, by, others, err := Cosigned(both, []note.Verifier{logKey}, known)
	if err != nil || h != head || len(others) != 0 || len(by) != 1 || by[0].Witness != known[0] || !by[0].Time.Equal(now) {
		t.Errorf("signed by both: %v, %v, %q, %v", h, by, others, err)
	}
	if _, _, others, err := Cosigned(both, []note.Verifier{logKey}, nil); err != nil || len(others) != 1 {
		t.Errorf("by a witness that is not known: %q, %v", others, err)
	}
}

func TestEveryFlipOfACosignatureIsSeen(t *testing.T) {
	log, logKey := keypair(t, "a")
	w := witnessKey(t, "w")
	b, err := Sign(Head{Origin: "a", Size: 1}, log, w.At(time.Unix(1e9, 0)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			if _, by, _, err := Cosigned(c, []note.Verifier{logKey}, []*cosignature.Verifier{w.Verifier()}); err == nil && len(by) > 0 {
				t.Fatalf("bit %d of byte %d: not seen", bit, i)
			}
		}
	}
	twice := append(bytes.Clone(b), b[bytes.LastIndex(b, []byte("\n— w"))+1:]...)
	if _, _, _, err := Cosigned(twice, []note.Verifier{logKey}, []*cosignature.Verifier{w.Verifier()}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a cosignature twice: %v", err)
	}
}

func TestParseTextAcceptsExtensionLinesOnly(t *testing.T) {
	root := tlog.RecordHash(nil).String()
	for text, ok := range map[string]bool{
		"a\n1\n" + root + "\n":                 true,
		"a\n1\n" + root + "\nx\n":              true,
		"a\n1\n" + root + "\nx\ny\n":           true,
		"a\n1\n" + root + "\n\n":               false,
		"a\n1\n" + root + "\nx\n\ny\n":         false,
		"a\n1\n" + root + "\nx\n\n":            false,
		"a\n1\n" + root + "\nx":                false,
		"a\n1\n" + root:                        false,
		"a\n1\n":                               false,
		"\n1\n" + root + "\n":                  false,
		"a\n01\n" + root + "\n":                false,
		"a\n-1\n" + root + "\n":                false,
		"a\n9223372036854775808\n" + root:      false,
		"a\n1\n" + root[:42] + "V=\n":          false, // the same bytes, not canonical
		"a\n1\n" + root[:8] + "\r" + root[8:]:  false,
		"a\n1\n" + strings.ToLower(root) + "x": false,
	} {
		h, err := ParseText(text)
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && (h.Origin != "a" || h.Size != 1 || h.Root.String() != root) {
			t.Errorf("%q: %v", text, h)
		}
	}
}

func FuzzParseText(f *testing.F) {
	f.Add("a\n1\n" + tlog.RecordHash(nil).String() + "\nx\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseText(text)
		if err != nil {
			return
		}
		var first strings.Builder
		for i, line := range strings.SplitAfter(text, "\n") {
			if i < 3 {
				first.WriteString(line)
			}
		}
		again, err := parse(first.String())
		if err != nil || again != h {
			t.Errorf("%q: %v, %v, %v", text, h, again, err)
		}
	})
}
