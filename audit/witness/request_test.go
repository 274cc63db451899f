package witness

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const sofa = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

// specRequest is the example of C2SP tlog-witness.
const specRequest = `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

` + sofa + `
— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
`

// specAnswer is the example of C2SP tlog-witness.
const specAnswer = `— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
— witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
— witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
`

func TestTheSpecificationsExamplesAreRead(t *testing.T) {
	r, err := parseRequest([]byte(specRequest))
	if err != nil || r.old != 20852014 || len(r.proof) != 4 || r.origin() != "example.com/behind-the-sofa" {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := r.append(nil); string(got) != specRequest {
		t.Errorf("written again:\n%s", got)
	}
	lines, err := parseSigLines([]byte(specAnswer))
	if err != nil || len(lines) != 3 || lines[2].name != "witness.example/w2" || lines[2].hash != 0x016ba2f1 {
		t.Errorf("%v, %v", lines, err)
	}
}

// FuzzParseRequest: what is accepted has one spelling and keeps the limits.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(specRequest))
	f.Add([]byte("old 0\n\n"))
	f.Add((&request{old: 1, proof: make([]tlog.Hash, maxProof+1)}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if got := r.append(nil); !bytes.Equal(got, b) {
			t.Errorf("%q is written again as %q", b, got)
		}
		if r.old < 0 || r.old > maxSize || len(r.proof) > maxProof || strings.Contains(r.origin(), "\n") {
			t.Errorf("%q: %+v", b, r)
		}
	})
}

// FuzzParseSigLine: what is accepted is, in its canonical spelling, what
// note.Open reads too.
func FuzzParseSigLine(f *testing.F) {
	for line := range strings.Lines(specAnswer) {
		f.Add(strings.TrimSuffix(line, "\n"))
	}
	f.Add("— a b AAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		line, err := parseSigLine(s)
		if err != nil {
			return
		}
		again, err := parseSigLine(strings.TrimSuffix(line.String(), "\n"))
		if err != nil || again.name != line.name || again.hash != line.hash || !bytes.Equal(again.sig, line.sig) {
			t.Fatalf("%q: %v, then %v, %v", s, line, again, err)
		}
		_, err = note.Open([]byte(sofa+"\n"+line.String()), note.VerifierList())
		if n, ok := err.(*note.UnverifiedNoteError); ok { //nolint:errorlint // note returns it bare
			if got := n.Note.UnverifiedSigs[0]; got.Name != line.name || got.Hash != line.hash {
				t.Errorf("%q: note reads %v", s, got)
			}
		}
	})
}

// FuzzSplitNote: what is cut is the text up to the signatures.
func FuzzSplitNote(f *testing.F) {
	f.Add([]byte(specRequest))
	f.Fuzz(func(t *testing.T, b []byte) {
		text, lines, err := splitNote(b)
		if err == nil && (!bytes.HasPrefix(b, text) || len(lines) == 0 || !bytes.HasSuffix(text, []byte("\n"))) {
			t.Errorf("%q: %q, %v", b, text, lines)
		}
	})
}
