package tree

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func leaf(i int64) Hash {
	return tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// store keeps full tiles, as a log's directory does.
type store map[string][]byte

func (s store) put(level int, index int64, hashes []Hash) {
	s[TilePath(level, index, Width)] = Join(hashes)
}

func (s store) load(level int, index int64) ([]Hash, error) {
	b, ok := s[TilePath(level, index, Width)]
	if !ok {
		return nil, fmt.Errorf("no tile %d/%d", level, index)
	}
	return Split(b)
}

// TestAgainstTlog grows a tree beside the reference implementation and compares
// roots, proofs and the rebuilt tree at sizes around every boundary.
func TestAgainstTlog(t *testing.T) {
	const n = 70_000 // three levels: 256² = 65,536
	var (
		tr     Tree
		tiles  = store{}
		stored []tlog.Hash
		leaves []Hash
	)
	ref := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ix))
		for i, x := range ix {
			out[i] = stored[x]
		}
		return out, nil
	})
	interesting := map[int64]bool{0: true, 1: true, 2: true, 255: true, 256: true, 257: true, 511: true, 512: true, 65_535: true, 65_536: true, 65_537: true, 69_999: true}
	for i := range int64(n) {
		if interesting[i] {
			checkSize(t, &tr, tiles, leaves, ref)
		}
		leaves = append(leaves, leaf(i))
		more, err := tlog.StoredHashesForRecordHash(i, leaf(i), ref)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		tr.Append(leaf(i), tiles.put)
	}
}

func checkSize(t *testing.T, tr *Tree, tiles store, leaves []Hash, ref tlog.HashReader) {
	t.Helper()
	size := tr.Size()
	want, err := tlog.TreeHash(size, ref)
	if err != nil {
		t.Fatal(err)
	}
	if size > 0 && tr.Root() != want {
		t.Fatalf("size %d: root %v, want %v", size, tr.Root(), want)
	}
	again, err := At(size, leaves[size-size%Width:], tiles.load)
	if err != nil {
		t.Fatalf("size %d: %v", size, err)
	}
	if again.Root() != tr.Root() {
		t.Fatalf("size %d: rebuilt root differs", size)
	}
	r := Reader{tr.Clone(), tiles.load}
	for _, i := range []int64{0, 1, size / 2, size - 1} {
		if i < 0 || i >= size {
			continue
		}
		p, err := tlog.ProveRecord(size, i, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(p, size, want, i, leaves[i]); err != nil {
			t.Fatalf("size %d, record %d: %v", size, i, err)
		}
	}
}

func TestTreeGrowsTheSameAfterRebuilding(t *testing.T) {
	var tr Tree
	tiles := store{}
	var leaves []Hash
	for i := range int64(1000) {
		leaves = append(leaves, leaf(i))
		tr.Append(leaf(i), tiles.put)
	}
	again, err := At(700, leaves[512:700], tiles.load)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range leaves[700:] {
		again.Append(h, nil)
	}
	if again.Root() != tr.Root() {
		t.Fatal("roots differ")
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	var tr Tree
	h := leaf(1)
	tr.Append(h, nil)
	if n := testing.AllocsPerRun(2000, func() { tr.Append(h, nil) }); n > 0.01 {
		t.Errorf("%v allocations a leaf", n)
	}
}

func TestPathsRoundTrip(t *testing.T) {
	for _, c := range []struct {
		tile Tile
		want string
	}{
		{Tile{0, 0, Width}, "tile/0/000"},
		{Tile{0, 1234067, Width}, "tile/0/x001/x234/067"},
		{Tile{2, 5, 17}, "tile/2/005.p/17"},
		{Tile{Entries, 1000, 1}, "tile/entries/x001/000.p/1"},
	} {
		if got := c.tile.path(); got != c.want {
			t.Errorf("%v: %s, want %s", c.tile, got, c.want)
		}
		if got, err := ParsePath(c.want); err != nil || got != c.tile {
			t.Errorf("%s: %v, %v", c.want, got, err)
		}
	}
	for _, bad := range []string{"", "tile/0", "tile/0/1", "tile/0/0000", "tile/8/000", "tile/-1/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/x000/001", "tile/0/../000", "tile/0/000/", "tile/00/000", "tile/0/+01", "tile/0/x1/000"} {
		if tile, err := ParsePath(bad); err == nil {
			t.Errorf("%s: accepted as %v", bad, tile)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("tile/0/x001/234.p/5")
	f.Fuzz(func(t *testing.T, s string) {
		if tile, err := ParsePath(s); err == nil && tile.path() != s {
			t.Errorf("%q parsed as %v, which is %q", s, tile, tile.path())
		}
	})
}
