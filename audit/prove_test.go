package audit

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// syntheticLog is a log of so many records of which there are the tiles alone,
// as those of a log that has just been opened. It returns the hash of a leaf.
func syntheticLog(tb testing.TB, size int64) (*Log, func(seq int64) tlog.Hash) {
	tb.Helper()
	dir := tb.TempDir()
	leaf := func(seq int64) (h tlog.Hash) {
		binary.BigEndian.PutUint64(h[:], uint64(seq)*0x9e3779b97f4a7c15)
		return h
	}
	var t tree.Tree
	for seq := range size {
		t.Append(leaf(seq), func(level int, index int64, hashes []tree.Hash) {
			name := filepath.Join(dir, filepath.FromSlash(tree.TilePath(level, index, tree.Width)))
			if index%1000 == 0 {
				if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
					tb.Fatal(err)
				}
			}
			if err := os.WriteFile(name, tree.Join(hashes), 0o600); err != nil {
				tb.Fatal(err)
			}
		})
	}
	key, err := NewKey("edge-1/soc2")
	if err != nil {
		tb.Fatal(err)
	}
	h := &head{Head: checkpoint.Head{Origin: key.Origin(), Size: size, Root: t.Root()}, tree: t.Clone()}
	if h.note, err = checkpoint.Sign(h.Head, key); err != nil {
		tb.Fatal(err)
	}
	l := &Log{cfg: Config{Dir: dir, Key: key}, dir: records.Dir{FS: os.DirFS(dir)}}
	l.head.Store(h)
	return l, leaf
}

func TestProofsReachOverThreeLevelsOfTiles(t *testing.T) {
	const size = 256*256*2 + 256*3 + 77
	l, leaf := syntheticLog(t, size)
	for _, seq := range []int64{0, 255, 256, 65_535, 65_536, 131_071, 131_072, size - 78, size - 77, size - 1} {
		p, err := l.Prove(seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(p.Hashes, size, p.Head.Root, seq, leaf(seq)); err != nil {
			t.Errorf("record %d: %v", seq, err)
		}
	}
}

// BenchmarkProve makes the proofs of random records of a log of 10 million. It
// reports the slowest, too. Its tiles take 330 MB in the temporary directory.
func BenchmarkProve(b *testing.B) {
	const size = 10_000_000
	l, leaf := syntheticLog(b, size)
	times := make([]time.Duration, 0, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		seq := rand.Int64N(size)
		start := time.Now()
		p, err := l.Prove(seq)
		if err == nil {
			_ = p.Append(nil)
		}
		times = append(times, time.Since(start))
		if err != nil {
			b.Fatal(err)
		}
		if err := tlog.CheckRecord(p.Hashes, size, p.Head.Root, seq, leaf(seq)); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(times[len(times)-1].Microseconds()), "max-µs")
}

func TestTilesAreProvenByThoseAboveThem(t *testing.T) {
	const size = 256*256*2 + 256*3 + 77
	l, leaf := syntheticLog(t, size)
	hashes := func(from, to int64) (list []tree.Hash) {
		for seq := from; seq < to; seq++ {
			list = append(list, leaf(seq))
		}
		return list
	}
	check := func(what string) {
		t.Helper()
		for _, r := range [][2]int64{{0, 256}, {65_000, 66_000}, {100, 1000}, {131_000, 131_072 + 3*256}, {131_072, 131_072 + 700}, {300, 301}} {
			list := hashes(r[0], r[1])
			if err := l.proven(r[0], list); err != nil {
				t.Errorf("%s: records from %d to %d: %v", what, r[0], r[1], err)
			}
			for _, i := range []int{0, len(list) / 2, len(list) - 1} {
				list[i][7] ^= 1
				if err := l.proven(r[0], list); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s: record %d was changed: %v", what, r[0]+int64(i), err)
				}
				list[i][7] ^= 1
			}
		}
	}
	check("all tiles are there")
	above := filepath.Join(l.cfg.Dir, filepath.FromSlash(tree.TilePath(1, 0, tree.Width)))
	if err := os.Remove(above); err != nil {
		t.Fatal(err)
	}
	check("a tile of level 1 is missing")
	if err := os.WriteFile(above, make([]byte, tree.TileBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.proven(0, hashes(0, 256)); !errors.Is(err, ErrDamaged) {
		t.Errorf("the tile above is wrong: %v", err)
	}
}

// TestReasonOfAGapIsKept counts a refused request before the committer, which
// knows why, has counted what it lost.
func TestReasonOfAGapIsKept(t *testing.T) {
	l := &Log{cfg: Config{Now: time.Now}}
	l.Miss(CauseFailure, Missed{Refused: 1})
	l.miss(CauseFailure, gap{lost: 1, reason: "input/output error"})
	l.miss(CauseFailure, gap{lost: 1, reason: "another"})
	if g := l.gaps[CauseFailure]; g.reason != "input/output error" || g.Refused != 1 || g.lost != 2 {
		t.Errorf("%+v", g)
	}
}
