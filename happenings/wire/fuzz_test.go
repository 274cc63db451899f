package wire

import (
	"bytes"
	"fmt"
	"testing"
)

// pieces cuts bytes where another string of bytes says.
func pieces(b, cuts []byte) [][]byte {
	var list [][]byte
	for _, c := range cuts {
		n := min(int(c)+1, len(b))
		list = append(list, b[:n])
		b = b[n:]
	}
	return append(list, b)
}

// FuzzHello reads what a client sent, whole and in pieces: it must not matter
// how TCP cuts it.
func FuzzHello(f *testing.F) {
	f.Add([]byte("\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03\x15\x03\x03\x00\x02\x02\x30"), []byte{0, 3, 1})
	f.Add([]byte("\x16\x03\x01\x00\x02\x01\x00\x16\x03\x01\x00\x04\x00\x02\x03\x03\x14"), []byte{5})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{1})
	f.Add([]byte("\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00"), []byte{4, 4})
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		var whole, cut hello
		whole.feed(b)
		for _, p := range pieces(b, cuts) {
			cut.feed(p)
		}
		if whole.what != cut.what || whole.warned != cut.warned || whole.alert != cut.alert || whole.done != cut.done {
			t.Errorf("whole %+v, in pieces %+v", whole, cut)
		}
		if len(b) == 0 != (whole.what == nothing) {
			t.Errorf("%d bytes are %d", len(b), whole.what)
		}
	})
}

// FuzzFrames reads frames whole and in pieces.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x00\x00"), []byte{2, 8, 1})
	f.Add([]byte("\x00\x00\x05\x01\x25\x00\x00\x00\x03\x4e\x03431\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0b"), []byte{9})
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		see := func(list *[]string) func(frame) {
			return func(f frame) {
				code, ok := f.code()
				*list = append(*list, fmt.Sprint(f, code, ok, codeName(code), f.status()))
			}
		}
		var whole, cut scanner
		var a, c []string
		whole.feed(b, see(&a))
		for _, p := range pieces(b, cuts) {
			cut.feed(p, see(&c))
		}
		if fmt.Sprint(a) != fmt.Sprint(c) {
			t.Errorf("whole %v, in pieces %v", a, c)
		}
		if len(a) > len(b)/frameHead {
			t.Errorf("%d frames in %d bytes", len(a), len(b))
		}
	})
}

// FuzzAnswer reads the first bytes of a response.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 431 Request Header Fields Too Large\r\n"))
	f.Add([]byte("HTTP/1.0 99"))
	f.Add(bytes.Repeat([]byte{23}, 2000))
	f.Fuzz(func(t *testing.T, b []byte) {
		status := peekStatus(b)
		if status < 0 || status > 999 {
			t.Errorf("status %d", status)
		}
		v := judge(b)
		if int(v>>sizeBits) != status || v != 0 && int(v&(1<<sizeBits-1)) != len(b) {
			t.Errorf("judged %x", v)
		}
		_ = likeAlert(b)
		w := watch{}
		w.first.Store(v)
		if a, _, any := w.answered(); any && a.status != status && a.status != 0 && status != 0 {
			t.Errorf("status %d is taken for %d", status, a.status)
		}
	})
}
