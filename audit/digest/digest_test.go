package digest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func message(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestLeavesAreThoseOfTheStandardLibrary hashes messages of every length around
// the ends of blocks, in groups of every size.
func TestLeavesAreThoseOfTheStandardLibrary(t *testing.T) {
	var records [][]byte
	for n := range 300 {
		records = append(records, message(n))
	}
	records = append(records, message(65535), message(4096))
	for n := range 64 {
		i := rand.IntN(len(records) - n)
		check(t, records[i:i+n])
	}
	check(t, records)
}

func check(t *testing.T, records [][]byte) {
	t.Helper()
	before := []Hash{{1}}
	got := Leaves(before, records)
	if len(got) != 1+len(records) || got[0] != before[0] {
		t.Fatalf("%d hashes", len(got))
	}
	for i, r := range records {
		if got[i+1] != tlog.RecordHash(r) {
			t.Fatalf("the hash of record %d of %d, of %d bytes, is wrong", i, len(records), len(r))
		}
	}
}

func TestNodesAreThoseOfTheStandardLibrary(t *testing.T) {
	for n := 0; n <= 600; n += 2 {
		hashes := make([]Hash, n)
		for i := range hashes {
			copy(hashes[i][:], message(32))
		}
		var want []Hash
		for i := 0; i < n; i += 2 {
			want = append(want, tlog.NodeHash(hashes[i], hashes[i+1]))
		}
		got := Nodes(hashes)
		if len(got) != len(want) {
			t.Fatalf("%d nodes of %d hashes", len(got), n)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("node %d of %d hashes is wrong", i, n)
			}
		}
	}
}

func FuzzLeaves(f *testing.F) {
	f.Add([]byte("a\nbb\nccc"), 20)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		records := bytes.Split(b, []byte("\n"))
		for len(records) < min(max(n, 0), 64) {
			records = append(records, b)
		}
		check(t, records)
	})
}

func BenchmarkLeaves(b *testing.B) {
	for _, size := range []int{600, 900} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var records [][]byte
			for range 256 {
				records = append(records, message(size))
			}
			var dst []Hash
			b.SetBytes(int64(256 * size))
			for b.Loop() {
				dst = Leaves(dst[:0], records)
			}
		})
	}
}

func BenchmarkNodes(b *testing.B) {
	hashes := make([]Hash, 256)
	for b.Loop() {
		for h := hashes; len(h) > 1; {
			h = Nodes(h)
		}
	}
}
