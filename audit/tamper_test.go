package audit_test

import (
	"bytes"
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
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// closedLog returns the files of a log with sealed segments, tiles and an open
// segment, closed in order.
func closedLog(t *testing.T) (fstest.MapFS, *audit.Key) {
	t.Helper()
	b := newBench(t, audit.Config{SegmentBytes: 40 << 10, ReserveBytes: 512})
	b.append(330)
	b.close()
	b.open() // segments left over are sealed now
	b.append(1)
	b.close()
	b.check(b.log.Next())
	files := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS(b.dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(os.DirFS(b.dir), path)
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, b.key
}

func clone(files fstest.MapFS) fstest.MapFS {
	c := fstest.MapFS{}
	for path, f := range files {
		c[path] = &fstest.MapFile{Data: bytes.Clone(f.Data)}
	}
	return c
}

// TestEveryFlippedByteIsFound flips bytes of every file, all of the small files
// and every seventh of the segments (fewer under the race detector), from another start each run.
func TestEveryFlippedByteIsFound(t *testing.T) {
	files, key := closedLog(t)
	v := verifier(t, key)
	flips := 0
	for path, f := range files {
		step, at := 1, 0
		if len(f.Data) > 1000 {
			step = 7 * sparing
			at = rand.IntN(step)
		}
		for ; at < len(f.Data); at += step {
			original := f.Data[at]
			f.Data[at] ^= 1 << rand.IntN(8)
			r, err := verify.Dir(files, []note.Verifier{v}, verify.Options{})
			if err != nil || r.OK() {
				t.Fatalf("byte %d of %s: not found: %v", at, path, err)
			}
			named(t, r, path)
			f.Data[at] = original
			flips++
		}
	}
	t.Logf("%d flips in %d files", flips, len(files))
}

// named checks that a report names the file that was changed, or a record in
// it.
func named(t *testing.T, r *verify.Report, path string) {
	t.Helper()
	for _, p := range r.Problems {
		if p.Path == path || p.IsRecord {
			return
		}
	}
	t.Fatalf("%s was changed, but the report names %v", path, r.Problems)
}

func TestTamperingIsFound(t *testing.T) {
	files, key := closedLog(t)
	var sealed, open []string
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(path, ".zst") {
			sealed = append(sealed, path)
		}
		if strings.HasSuffix(path, ".log") {
			open = append(open, path)
		}
	}
	if len(sealed) < 2 || len(open) != 1 {
		t.Fatal(sealed, open)
	}
	last := open[0]
	for name, tamper := range map[string]struct {
		change func(fstest.MapFS)
		names  string // file that the report must name
	}{
		"swap two segments":        {func(f fstest.MapFS) { f[sealed[0]], f[sealed[1]] = f[sealed[1]], f[sealed[0]] }, sealed[0]},
		"remove the first segment": {func(f fstest.MapFS) { delete(f, sealed[0]) }, sealed[1]},
		"remove the last segment":  {func(f fstest.MapFS) { delete(f, last) }, records.Folder},
		"truncate the tail":        {func(f fstest.MapFS) { f[last].Data = f[last].Data[:len(f[last].Data)-200] }, last},
		"truncate a whole record":  {func(f fstest.MapFS) { f[last].Data = withoutRecord(t, f[last].Data, -1) }, records.Folder},
		"delete a record":          {func(f fstest.MapFS) { f[last].Data = withoutRecord(t, f[last].Data, 0) }, last},
		"append a byte":            {func(f fstest.MapFS) { f[last].Data = append(f[last].Data, 0) }, last},
		"repeat the last segment":  {func(f fstest.MapFS) { f[last].Data = append(f[last].Data, f[last].Data...) }, last},
		"edit the checkpoint":      {func(f fstest.MapFS) { f[checkpoint.File].Data[13]++ }, checkpoint.File},
		"remove the checkpoint":    {func(f fstest.MapFS) { delete(f, checkpoint.File) }, checkpoint.File},
		"empty the checkpoint":     {func(f fstest.MapFS) { f[checkpoint.File].Data = nil }, checkpoint.File},
		"swap two tiles":           {func(f fstest.MapFS) { f["tile/0/000"].Data = bytes.Repeat(f["tile/0/000"].Data[:32], 256) }, "tile/0/000"},
		"a tile too many":          {func(f fstest.MapFS) { f["tile/0/007"] = f["tile/0/000"] }, "tile/0/007"},
		"a foreign file":           {func(f fstest.MapFS) { f["segments/notes.txt"] = &fstest.MapFile{} }, "segments/notes.txt"},
		"a segment too many":       {func(f fstest.MapFS) { f["segments/00000000000000009999.log"] = f[last] }, "segments/00000000000000009999.log"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := clone(files)
			tamper.change(changed)
			r := report(t, changed, key)
			if r.OK() {
				t.Fatal("not found")
			}
			if r.Problems[0].Path != tamper.names {
				t.Errorf("the report names %v, not %s", r.Problems, tamper.names)
			}
		})
	}
}

// withoutRecord cuts one record out of frames: the n-th, or the last for -1.
func withoutRecord(t *testing.T, frames []byte, n int) []byte {
	t.Helper()
	var starts []int
	for at := 0; at < len(frames); at += 2 + int(frames[at])<<8 + int(frames[at+1]) {
		starts = append(starts, at)
	}
	if n < 0 {
		return frames[:starts[len(starts)-1]]
	}
	return append(bytes.Clone(frames[:starts[n]]), frames[starts[n+1]:]...)
}
