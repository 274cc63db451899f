package pack

import (
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// small is a container with two files.
func small(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, name := range []string{"a/b.txt", ManifestFile, EnvelopeFile} {
		content := []byte(`{"name":"` + name + `"}`)
		var packed bytes.Buffer
		f, err := flate.NewWriter(&packed, 6)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
		e := Entry{Name: name, Packed: int64(packed.Len()), Size: int64(len(content)), CRC: crc32.ChecksumIEEE(content)}
		if err := w.Add(e, &packed); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestNoByteOfAContainerCanChange: each byte is that of a header, which another
// one decides, or of a file, whose checksum changes with it.
func TestNoByteOfAContainerCanChange(t *testing.T) {
	b := small(t)
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		if readable(c) {
			t.Errorf("byte %d of %d can change", i, len(b))
		}
	}
	if !readable(b) {
		t.Error("the container cannot be read")
	}
}

func readable(b []byte) bool {
	a, err := OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return false
	}
	for i := range a.Entries {
		if _, err := io.Copy(io.Discard, a.Open(&a.Entries[i])); err != nil {
			return false
		}
	}
	return true
}

func FuzzOpenArchive(f *testing.F) {
	f.Add(small(f))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := OpenArchive(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		// What is taken has one form only.
		end := ending(a.Entries, int64(len(b))-int64(len(ending(a.Entries, 0))))
		if !bytes.HasSuffix(b, end) {
			t.Error("the directory has another form")
		}
		for i := range a.Entries {
			if n, err := io.Copy(io.Discard, io.LimitReader(a.Open(&a.Entries[i]), 1<<24)); err == nil && n > a.Entries[i].Size {
				t.Error("more bytes came out than the directory says")
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":"x","files":[{"path":"a"}]}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseManifest(b); err == nil {
			if _, err := m.Marshal(); err != nil {
				t.Error(err)
			}
		}
		var l Log
		if decode(b, &l) == nil && l.Validate() == nil && l.First > l.Next {
			t.Error("a log that ends before it begins is taken")
		}
	})
}

func FuzzSampleRow(f *testing.F) {
	record := []byte(`{"v":1,"seq":0,"pos":0,"time":"2026-01-01T00:00:00.000000000Z","kind":"log.open","clean":true,"crc":"00000000"}`)
	p := Period{From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
	table, err := NewSampleTable("process_events", p)
	if err != nil {
		f.Fatal(err)
	}
	other := tlog.RecordHash([]byte("another record"))
	root := tlog.NodeHash(tlog.RecordHash(record), other)
	good, err := table.Row(0, record, []tlog.Hash{other})
	if err != nil || table.check(good, 0, record, 2, root) != nil {
		f.Fatalf("%v: the row %q is refused", err, good)
	}
	f.Add(good)
	f.Add(append(bytes.TrimSuffix(good, []byte("\r\n")), " \r\n"...))
	f.Add([]byte("0,\r\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if table.check(line, 0, record, 2, root) == nil && !bytes.Equal(line, good) {
			t.Errorf("%q is taken, too", line)
		}
	})
}

func TestSubtreesCoverTheRun(t *testing.T) {
	for from := range int64(70) {
		for to := from; to < 90; to++ {
			at := from
			for _, h := range Subtrees(from, to) {
				if at%(1<<h) != 0 {
					t.Fatalf("%d to %d: a subtree of height %d at %d", from, to, h, at)
				}
				at += 1 << h
			}
			if at != to {
				t.Fatalf("%d to %d: they end at %d", from, to, at)
			}
		}
	}
}

func TestTheEncodingIsThatOfDSSE(t *testing.T) {
	// The example of the specification (DSSE 1.0, protocol.md).
	got := string(PAE("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
