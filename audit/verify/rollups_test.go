package verify_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// rolled is a log with some rollup records, and their frames.
func rolled(t *testing.T) (s *site, frames [][]byte) {
	t.Helper()
	s = newSite(t)
	s.grow(500)
	s.sealAll()
	err := rollup.Frames(bytes.NewReader(s.read(rollup.File)), func(record []byte) error {
		frames = append(frames, rollup.AppendFrame(nil, record))
		return nil
	})
	if err != nil || len(frames) < 3 {
		t.Fatal(len(frames), err)
	}
	if r := s.ok(verify.Options{}); len(r.Notes) > 0 {
		t.Fatal(r.Notes)
	}
	return s, frames
}

func TestFileOfRollupsIsComparedByteByByte(t *testing.T) {
	s, frames := rolled(t)
	all := bytes.Join(frames, nil)
	for at := range all {
		bad := bytes.Clone(all)
		bad[at] ^= 1 << (at % 8)
		if at%97 != 0 && at > 3 {
			continue
		}
		s.write(rollup.File, bad)
		s.fails(verify.Options{}, rollup.File, "")
	}
}

func TestLostRollupsAreNoted(t *testing.T) {
	s, frames := rolled(t)
	all := bytes.Join(frames, nil)
	for name, file := range map[string][]byte{
		"torn":           all[:len(all)-7],
		"zeros":          append(bytes.Clone(all[:len(all)-len(frames[len(frames)-1])]), make([]byte, 100)...),
		"first missing":  all[len(frames[0]):],
		"middle missing": append(bytes.Clone(frames[0]), all[len(frames[0])+len(frames[1]):]...),
		"empty":          nil,
	} {
		s.write(rollup.File, file)
		if r := s.ok(verify.Options{}); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "made again") {
			t.Errorf("%s: %q", name, r.Notes)
		}
		s.grow(1)
		if r := s.ok(verify.Options{}); len(r.Notes) > 0 {
			t.Errorf("%s: the log did not make it again: %q", name, r.Notes)
		}
		if got := s.read(rollup.File); name != "middle missing" && !bytes.HasPrefix(got, all) {
			t.Errorf("%s: it is not as it was", name)
		}
		s.write(rollup.File, all)
	}
	s.remove(rollup.File)
	noted(t, s.ok(verify.Options{}), "made again")
}

func TestForeignRollupsAreFound(t *testing.T) {
	s, frames := rolled(t)
	all := bytes.Join(frames, nil)
	other, foreign := rolled(t)
	other.grow(1)
	for name, file := range map[string][]byte{
		"twice":   append(bytes.Clone(all), frames[0]...),
		"foreign": append(bytes.Clone(all), foreign[len(foreign)-1]...),
		"swapped": bytes.Join([][]byte{frames[1], frames[0], frames[2]}, nil),
		"junk":    append(bytes.Clone(all), "junk"...),
	} {
		s.write(rollup.File, file)
		t.Run(name, func(t *testing.T) { s.fails(verify.Options{}, rollup.File, "") })
	}
}

// TestWrongFileOfRollupsIsMadeAgain opens the log when its last frame is not
// one of the log's.
func TestWrongFileOfRollupsIsMadeAgain(t *testing.T) {
	s, frames := rolled(t)
	all := bytes.Join(frames, nil)
	s.flip(rollup.File, len(all)-30)
	s.grow(1)
	if r := s.ok(verify.Options{}); len(r.Notes) > 0 || !bytes.HasPrefix(s.read(rollup.File), all) {
		t.Error(r.Notes)
	}
}

// members are what a rollup record says, as the body of another one.
func body(t *testing.T, frame []byte, change func(*rollup.Members)) string {
	t.Helper()
	r, err := rollup.Parse(frame[2:])
	if err != nil {
		t.Fatal(err)
	}
	change(&r.Members)
	return at + `"rollup"` + string(r.Members.AppendBody(nil))
}

// TestWrongCounterIsNamed appends rollup records that the log itself signs but
// that are not true.
func TestWrongCounterIsNamed(t *testing.T) {
	base, frames := rolled(t)
	newest, err := rollup.Parse(frames[len(frames)-1][2:])
	if err != nil {
		t.Fatal(err)
	}
	prev := []byte(seqText(newest.Seq))
	replace := func(b []byte, old, new string) []byte {
		t.Helper()
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("%s is not in %s", old, b)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
	for words, change := range map[string]func(*rollup.Members){
		`"requests.total"`:                 func(m *rollup.Members) { m.Requests = replace(m.Requests, `"total":`, `"total":1`) },
		`"requests.status"`:                func(m *rollup.Members) { m.Requests = replace(m.Requests, `"200":`, `"200":1`) },
		`"requests.principals"`:            func(m *rollup.Members) { m.Requests = replace(m.Requests, `AAAA`, `AAAB`) },
		`"kinds.request"`:                  func(m *rollup.Members) { m.Kinds = replace(m.Kinds, `"request":`, `"request":1`) },
		"as many records and bytes":        func(m *rollup.Members) { m.Segment = replace(m.Segment, `"bytes":`, `"bytes":1`) },
		"begin and end at the times":       func(m *rollup.Members) { m.Segment = replace(m.Segment, `"to":"2`, `"to":"3`) },
		"with the size and SHA-256":        func(m *rollup.Members) { m.Segment = replace(m.Segment, `"sealed_bytes":`, `"sealed_bytes":1`) },
		"the rollup before it is record":   func(m *rollup.Members) { prev := []byte("0"); m.Prev = prev },
		"and there is none before it":      func(m *rollup.Members) { m.Segment = replace(m.Segment, `"first":`, `"first":7`) },
		"as this newer rollup record says": func(m *rollup.Members) { m.Requests = replace(m.Requests, `"bytes":`, `"bytes":1`) },
	} {
		t.Run(words, func(t *testing.T) {
			s := base.copy()
			s.grow(0, body(t, frames[1], func(m *rollup.Members) { m.Prev = prev; change(m) }))
			r := s.verify(verify.Options{})
			if r.OK() {
				t.Fatal("it verifies")
			}
			if strings.Contains(words, "newer") || strings.Contains(words, "before it") {
				s.fails(verify.Options{}, "segments/", words)
			}
		})
	}
}

func seqText(n int64) string {
	var b []byte
	for n > 0 {
		b = append([]byte{byte('0' + n%10)}, b...)
		n /= 10
	}
	return string(b)
}

// TestRollupsOfTheFirstVersionAreValid appends rollup records that say less.
func TestRollupsOfTheFirstVersionAreValid(t *testing.T) {
	s, frames := rolled(t)
	r, err := rollup.Parse(frames[0][2:])
	if err != nil {
		t.Fatal(err)
	}
	s.grow(0, at+`"rollup","segment":`+string(r.Members.Segment)+`,"kinds":`+string(r.Members.Kinds))
	s.grow(1)
	s.ok(verify.Options{})
}

func TestReportReadsTheRollupsOfTheLog(t *testing.T) {
	s, _ := rolled(t)
	total, err := rollup.Sum(os.DirFS(s.dir), time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	requests := int64(0)
	for _, k := range total.Kinds() {
		if k.Name == "request" {
			requests = k.N
		}
	}
	if total.Requests != requests || requests < 400 || total.First != 0 || total.Uncounted != 0 {
		t.Errorf("%+v", total)
	}
}
