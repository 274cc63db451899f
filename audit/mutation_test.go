package audit_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// filesOf reads a directory into memory.
func filesOf(t *testing.T, dir string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(os.DirFS(dir), path)
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// history is a log with sealed segments at two times, and another one like it
// by the same key.
func history(t *testing.T) (older, newer, other fstest.MapFS, key *audit.Key) {
	t.Helper()
	b := newBench(t, audit.Config{SegmentBytes: 24 << 10, ReserveBytes: 512})
	key = b.key
	fill := func(b *bench, n int) fstest.MapFS {
		b.append(n)
		b.close()
		b.open() // segments left over are sealed now
		await(t, "all is sealed", func() bool {
			list, err := b.log.Records().Segments()
			return err == nil && len(list) > 2 && list[len(list)-2].Sealed
		})
		b.close()
		b.check(b.log.Next())
		return filesOf(t, b.dir)
	}
	older = fill(b, 300)
	b.open()
	newer = fill(b, 60)
	o := newBench(t, audit.Config{SegmentBytes: 24 << 10, ReserveBytes: 512})
	_ = o.log.Close()
	o.key, o.cfg.Key, o.cfg.Dir = key, key, o.dir+"2"
	o.dir = o.cfg.Dir
	o.open()
	return older, newer, fill(o, 330), key
}

// rebuildable reports whether a file is made again from the others.
func rebuildable(path string) bool {
	return strings.HasPrefix(path, "tile/") || path == "rollups" || path == "reserve"
}

// mutations change the contents of a file.
var mutations = map[string]func(b []byte, r *rand.Rand) []byte{
	"bit flipped": func(b []byte, r *rand.Rand) []byte {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return b
	},
	"end cut off":    func(b []byte, r *rand.Rand) []byte { return b[:r.IntN(len(b))] },
	"beginning lost": func(b []byte, r *rand.Rand) []byte { return b[1+r.IntN(len(b)):] },
	"bytes inserted": func(b []byte, r *rand.Rand) []byte { return slices.Insert(b, r.IntN(len(b)+1), noise(r)...) },
	"bytes appended": func(b []byte, r *rand.Rand) []byte { return append(b, noise(r)...) },
	"range repeated": func(b []byte, r *rand.Rand) []byte {
		i, j := span(b, r)
		return slices.Insert(b, j, bytes.Clone(b[i:j])...)
	},
	"range removed":   func(b []byte, r *rand.Rand) []byte { i, j := span(b, r); return slices.Delete(b, i, j) },
	"range reversed":  func(b []byte, r *rand.Rand) []byte { i, j := span(b, r); slices.Reverse(b[i:j]); return b },
	"range blanked":   func(b []byte, r *rand.Rand) []byte { i, j := span(b, r); clear(b[i:j]); return b },
	"ranges swapped":  swapped,
	"range of others": func(b []byte, r *rand.Rand) []byte { i, j := span(b, r); copy(b[i:j], noiseOf(r, j-i)); return b },
}

func noise(r *rand.Rand) []byte { return noiseOf(r, 1+r.IntN(40)) }

func noiseOf(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func span(b []byte, r *rand.Rand) (from, to int) {
	from = r.IntN(len(b))
	return from, from + 1 + r.IntN(len(b)-from)
}

func swapped(b []byte, r *rand.Rand) []byte {
	n := 1 + r.IntN(max(len(b)/2, 1))
	if 2*n > len(b) {
		return b
	}
	i := r.IntN(len(b) - 2*n + 1)
	tmp := bytes.Clone(b[i : i+n])
	copy(b[i:], b[i+n:i+2*n])
	copy(b[i+n:], tmp)
	return b
}

// TestMutationsAreFound makes 10,000 random changes to the files of a log.
func TestMutationsAreFound(t *testing.T) {
	older, newer, other, key := history(t)
	paths := slices.Sorted(maps.Keys(newer))
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 7))
	names := slices.Sorted(maps.Keys(mutations))
	names = append(names, "file removed", "file of an older state", "file of another log", "two files swapped", "file renamed", "file added")
	found, mended := map[string]int{}, map[string]int{}
	for done := 0; done < 10_000/sparing; {
		kind, path := names[r.IntN(len(names))], paths[r.IntN(len(paths))]
		files := maps.Clone(newer)
		touched := mutate(files, older, other, kind, path, paths, r)
		if len(touched) == 0 {
			continue // nothing changed
		}
		done++
		report, err := verify.Dir(files, []note.Verifier{verifier(t, key)}, verify.Options{})
		if err != nil && !strings.Contains(err.Error(), "not a log") {
			t.Fatalf("seed %d: %s, %s: %v", seed, kind, path, err)
		}
		switch {
		case err != nil || !report.OK():
			found[kind]++
		case !slices.ContainsFunc(touched, func(p string) bool { return !rebuildable(p) }):
			mended[kind]++
		default:
			t.Fatalf("seed %d: %s, %q: not found; notes %q", seed, kind, touched, report.Notes)
		}
	}
	for _, kind := range names {
		t.Logf("%-24s %5d found, %4d in files that are made again", kind, found[kind], mended[kind])
	}
}

// mutate changes files and returns the paths that are not what they were.
func mutate(files, older, other fstest.MapFS, kind, path string, paths []string, r *rand.Rand) (touched []string) {
	set := func(path string, b []byte) {
		if old := files[path]; old == nil || !bytes.Equal(old.Data, b) {
			touched = append(touched, path)
		}
		files[path] = &fstest.MapFile{Data: b}
	}
	switch kind {
	case "file removed":
		delete(files, path)
		return []string{path}
	case "file of an older state", "file of another log":
		from := older
		if kind == "file of another log" {
			from = other
		}
		if f := from[path]; f != nil {
			set(path, f.Data)
		}
	case "two files swapped":
		second := paths[r.IntN(len(paths))]
		a, b := files[path].Data, files[second].Data
		set(path, b)
		set(second, a)
	case "file renamed":
		to := path + fmt.Sprint(r.IntN(10))
		files[to] = files[path]
		delete(files, path)
		return []string{path, to}
	case "file added":
		set(path+fmt.Sprint(r.IntN(1000)), noise(r))
	default:
		set(path, mutations[kind](bytes.Clone(files[path].Data), r))
	}
	return touched
}

// TestOlderStateIsFoundByWhoSawANewerOne puts all files back to an older state:
// alone they are a log that verifies, and only a checkpoint that was kept
// elsewhere tells.
func TestOlderStateIsFoundByWhoSawANewerOne(t *testing.T) {
	older, newer, other, key := history(t)
	keys := []note.Verifier{verifier(t, key)}
	kept := []verify.Earlier{{Name: "kept", Note: newer["checkpoint"].Data}}
	for name, c := range map[string]struct {
		files fstest.MapFS
		kept  []verify.Earlier
		ok    bool
	}{
		"older, nobody knows":   {older, nil, true},
		"older, somebody knows": {older, kept, false},
		"rewritten":             {other, kept, false},
		"the log itself":        {newer, kept, true},
	} {
		r, err := verify.Dir(c.files, keys, verify.Options{Earlier: c.kept})
		if err != nil || r.OK() != c.ok {
			t.Errorf("%s: %v %v", name, err, r.Problems)
		}
	}
}
