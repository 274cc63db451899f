package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// site is a log that is grown between verifications.
type site struct {
	t   testing.TB
	dir string
	key *audit.Key
	now int
}

func newSite(t testing.TB) *site {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, dir: filepath.Join(t.TempDir(), "log"), key: key}
}

// grow opens the log, appends so many requests and further bodies, and closes
// it; what is not sealed then is sealed by the next.
func (s *site) grow(n int, bodies ...string) {
	s.t.Helper()
	log, err := audit.Open(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	for range n {
		s.now++
		if _, err := log.Append(context.Background(), event(s.now).AppendBody(nil, "edge-1")); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, b := range bodies {
		if _, err := log.Append(context.Background(), []byte(b)); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// sealAll opens the log until only its last segment is open.
func (s *site) sealAll() {
	s.t.Helper()
	log, err := audit.Open(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(s.glob("segments/*.log")) > 1; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("segments are not sealed")
		}
	}
	if err := log.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) config() audit.Config {
	return audit.Config{Dir: s.dir, Key: s.key, Instance: "edge-1", CheckpointEvery: time.Hour, SegmentBytes: 40 << 10}
}

func (s *site) glob(pattern string) []string {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, filepath.FromSlash(pattern)))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range names {
		names[i], err = filepath.Rel(s.dir, names[i])
		if err != nil {
			s.t.Fatal(err)
		}
		names[i] = filepath.ToSlash(names[i])
	}
	return names
}

func (s *site) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *site) read(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) write(name string, b []byte) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// flip changes one bit.
func (s *site) flip(name string, at int) {
	s.t.Helper()
	b := s.read(name)
	b[at] ^= 1
	s.write(name, b)
}

func (s *site) remove(name string) {
	s.t.Helper()
	if err := os.RemoveAll(s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// copy returns a copy of the log.
func (s *site) copy() *site {
	s.t.Helper()
	c := &site{t: s.t, dir: filepath.Join(s.t.TempDir(), "log"), key: s.key, now: s.now}
	if err := os.CopyFS(c.dir, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *site) keys() []note.Verifier {
	s.t.Helper()
	v, err := s.key.Verifier()
	if err != nil {
		s.t.Fatal(err)
	}
	return []note.Verifier{v}
}

func (s *site) verify(opt verify.Options) *verify.Report {
	s.t.Helper()
	r, err := verify.Dir(os.DirFS(s.dir), s.keys(), opt)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *site) ok(opt verify.Options) *verify.Report {
	s.t.Helper()
	r := s.verify(opt)
	if !r.OK() {
		s.t.Fatalf("it does not verify: %v", r.Problems)
	}
	return r
}

// fails checks that a problem is reported, of the file and with the words.
func (s *site) fails(opt verify.Options, path, words string) {
	s.t.Helper()
	r := s.verify(opt)
	for _, p := range r.Problems {
		if strings.Contains(p.Path, path) && strings.Contains(p.String(), words) {
			return
		}
	}
	s.t.Errorf("the report has no problem of %s that says %q: %v", path, words, r.Problems)
}

func noted(t testing.TB, r *verify.Report, words string) {
	t.Helper()
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, words) }) {
		t.Errorf("no note says %q: %q", words, r.Notes)
	}
}

const at = `"time":"2026-11-21T03:04:05.000000006Z","kind":`

func TestCraftedRecordIsFound(t *testing.T) {
	s := newSite(t)
	s.grow(1, at+`"request","response":{"status":200,"status":500}`)
	s.fails(verify.Options{}, "segments/", "record 2 in")
}

func TestOnlyTheWritersTemporaryNamesArePassedOver(t *testing.T) {
	s := newSite(t)
	s.grow(1)
	for _, name := range []string{"checkpoint.tmp", "witnessed.tmp", "rollups.tmp", "tile/0/000.tmp", "segments/00000000000000000000.zst.tmp", "anchors/00000000000000000003.tsr.tmp"} {
		s.write(name, nil)
		noted(t, s.ok(verify.Options{}), name)
	}
	for _, name := range []string{"evil.tmp", "segments/evil.tmp", "tile/0/x.tmp", "checkpoint.tmp.tmp", "anchors/3.tsr.tmp", "anchors/evil", "tile/entries/000"} {
		s.write(name, nil)
		s.fails(verify.Options{}, name, "does not belong")
		s.remove(name)
	}
}

func TestReadErrorsAreNotTampering(t *testing.T) {
	s := newSite(t)
	s.grow(600)
	s.sealAll()
	for _, name := range append(s.glob("segments/*"), "checkpoint", "tile/0/000", "segments", "rollups") {
		_, err := verify.Dir(failing{os.DirFS(s.dir), name}, s.keys(), verify.Options{})
		if err == nil || !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errDisk = errors.New("input/output error")

// failing is a file system of which one file cannot be read.
type failing struct {
	fs.FS
	name string
}

func (f failing) Open(name string) (fs.File, error) {
	if name == f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errDisk}
	}
	return f.FS.Open(name)
}

func (f failing) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(f.FS, name) }

func (f failing) ReadLink(name string) (string, error) { return fs.ReadLink(f.FS, name) }

func TestZipBombIsBounded(t *testing.T) {
	s := newSite(t)
	s.grow(300)
	s.sealAll()
	name := s.glob("segments/*.zst")[0]
	bomb, err := segment.Seal(bombFrames(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	// The seek table claims a small bundle, the frame has 15 MiB.
	small := bytes.Clone(bomb)
	small[len(small)-9-4] = 1
	s.write(name, small)
	s.fails(verify.Options{}, name, "bundle")
	// The seek table claims more bundles than any segment has.
	many := bytes.Clone(bomb)
	many[len(many)-9+3] = 0x7f
	s.write(name, many)
	s.fails(verify.Options{}, name, "seek table")
}

func bombFrames(t *testing.T) []byte {
	t.Helper()
	var frames []byte
	body := []byte(at + `"request","x":"` + strings.Repeat("a", 60_000) + `"`)
	var err error
	for i := range int64(250) {
		if frames, err = segment.AppendFrame(frames, i, 0, body); err != nil {
			t.Fatal(err)
		}
	}
	return frames
}

func TestProgressReachesTheEnd(t *testing.T) {
	s := newSite(t)
	s.grow(400)
	s.sealAll()
	var last verify.Progress
	s.ok(verify.Options{Progress: func(p verify.Progress) {
		if p.Bytes < last.Bytes || p.Segments < last.Segments || p.Records < last.Records {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}})
	if last.Segments != last.OfSegments || last.Bytes != last.OfBytes || last.Bytes == 0 || last.Records <= last.Bytes || last.Rate() <= 0 {
		t.Errorf("%+v", last)
	}
	if s := last.String(); !strings.HasPrefix(s, "verifying: 100%, segment ") {
		t.Error(s)
	}
}

// signed returns a checkpoint of the log's present head by a key.
func (s *site) signed(size int64, root tree.Hash, keys ...note.Signer) []byte {
	s.t.Helper()
	b, err := checkpoint.Sign(checkpoint.Head{Origin: s.key.Origin(), Size: size, Root: root}, keys...)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) head() checkpoint.Head {
	s.t.Helper()
	h, err := checkpoint.Peek(s.read(checkpoint.File))
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

func TestEarlierCheckpointsMustBeOfTheLog(t *testing.T) {
	s := newSite(t)
	s.grow(300)
	old := s.read(checkpoint.File)
	s.grow(300)
	with := func(b []byte) verify.Options {
		return verify.Options{Earlier: []verify.Earlier{{Name: "old", Note: b}}}
	}
	noted(t, s.ok(with(old)), "consistent with the earlier checkpoint")
	noted(t, s.ok(verify.Options{Earlier: []verify.Earlier{{Name: "a", Note: old}, {Name: "b", Note: s.read(checkpoint.File)}}}), "(b)")

	h := s.head()
	s.fails(with(s.signed(300, tree.Hash{1}, s.key)), "old", "is not one of this log")
	s.fails(with(s.signed(h.Size+1, h.Root, s.key)), "old", "cut short")
	other := newSite(t)
	s.fails(with(s.signed(h.Size, h.Root, other.key)), "old", "not signed by the given key")
	s.fails(with([]byte("junk")), "old", "malformed")
	h.Origin = "other/soc2"
	foreign, err := checkpoint.Sign(h, s.key)
	if err != nil {
		t.Fatal(err)
	}
	s.fails(with(foreign), "old", `the log "other/soc2"`)
}

func TestAnchorsMustBeOfTheLog(t *testing.T) {
	s := newSite(t)
	s.grow(10)
	h := s.head()
	name := fmt.Sprintf("anchors/%020d.checkpoint", h.Size)
	stamp := fmt.Sprintf("anchors/%020d.tsr", h.Size)
	s.write(name, s.read(checkpoint.File))
	s.write(stamp, []byte("stamp"))
	s.grow(10)
	noted(t, s.ok(verify.Options{}), "were not verified")

	var seen []verify.Anchor
	r := s.ok(verify.Options{Vouch: func(a verify.Anchor) (string, error) { seen = append(seen, a); return "stamped in 2026", nil }})
	noted(t, r, "stamped in 2026")
	noted(t, r, "consistent with the anchored checkpoint")
	if len(seen) != 1 || string(seen[0].Stamp) != "stamp" || seen[0].Head != h || seen[0].Path != name {
		t.Errorf("%+v", seen)
	}
	s.fails(verify.Options{Vouch: func(verify.Anchor) (string, error) { return "", errDisk }}, name, "input/output")

	s.write(name, s.signed(h.Size, tree.Hash{1}, s.key))
	s.fails(verify.Options{}, name, "is not one of this log")
	s.write(name, s.signed(3, h.Root, s.key))
	s.fails(verify.Options{}, name, "it is named by")
	s.remove(name)
	s.fails(verify.Options{}, stamp, "the checkpoint that it stamps is missing")
}

func TestWitnessedCheckpointMustBeOfTheLog(t *testing.T) {
	s := newSite(t)
	s.grow(10)
	h := s.head()
	witness := newSite(t).key
	s.write("witnessed", s.signed(h.Size, h.Root, s.key, witness))
	s.grow(10)
	r := s.ok(verify.Options{})
	noted(t, r, "consistent with the witnessed checkpoint")
	noted(t, r, "1 anchored or witnessed")
	s.write("witnessed", s.signed(h.Size, h.Root, witness))
	s.fails(verify.Options{}, "witnessed", "not signed")
	s.write("witnessed", s.signed(999, h.Root, s.key, witness))
	s.fails(verify.Options{}, "witnessed", "older state of it was put back")
}

// prune removes the older half of the sealed segments and returns the index of
// the first record that is left.
func (s *site) prune() (removed []string, first int64) {
	s.t.Helper()
	sealed := s.glob("segments/*.zst")
	if len(sealed) < 8 {
		s.t.Fatal(sealed)
	}
	half := 4
	first, _, ok := segment.ParseName(filepath.Base(sealed[half]))
	if !ok {
		s.t.Fatal(sealed[half])
	}
	for _, name := range sealed[:half] {
		s.remove(name)
	}
	return sealed[:half], first
}

func erase(upto int64) string {
	return fmt.Sprintf(at+`"log.erase","what":"retention","upto":%d`, upto)
}

func TestPrunedLogIsVerifiedByHash(t *testing.T) {
	s := newSite(t)
	s.grow(900)
	s.sealAll()
	early := s.read(checkpoint.File)
	_, first := s.copy().prune()
	s.grow(1, erase(first))
	s.sealAll()
	full := s.copy()
	if removed, now := s.prune(); now != first {
		t.Fatalf("%v: %d is not %d", removed, now, first)
	}
	r := s.ok(verify.Options{Earlier: []verify.Earlier{{Name: "early", Note: early}}})
	noted(t, r, "verified by hash only")
	noted(t, r, "consistent with the earlier")
	if r.Pruned != first || !strings.Contains(r.Text(), fmt.Sprintf("by hash    records 0 to %d,", first-1)) {
		t.Errorf("%s", r.Text())
	}

	c := s.copy()
	c.flip("tile/0/000", 77)
	c.fails(verify.Options{}, "", "")
	c = s.copy()
	c.remove("tile/0/000")
	c.fails(verify.Options{}, "segments/", "the tree cannot be made from the tiles")
	c = s.copy()
	c.flip(rollup.File, 100)
	c.fails(verify.Options{}, rollup.File, "")

	full.remove(full.glob("segments/*.zst")[1])
	full.fails(verify.Options{}, "segments/", "it is missing")
}

func TestPruningMustBeInTheLog(t *testing.T) {
	s := newSite(t)
	s.grow(900)
	s.sealAll()
	c := s.copy()
	_, first := c.prune()
	c.fails(verify.Options{}, "segments/", "no log.erase record says")
	c = s.copy()
	c.grow(1, erase(first-1))
	c.prune()
	c.fails(verify.Options{}, "segments/", "only those before record")
	c = s.copy()
	c.grow(1, strings.Replace(erase(first), "retention", "subject", 1))
	c.prune()
	c.fails(verify.Options{}, "segments/", "no log.erase record says")
}

func TestMapFSIsALogToo(t *testing.T) { // what has no ReadLink, such as an archive
	s := newSite(t)
	s.grow(300)
	files := fstest.MapFS{}
	for _, name := range append(append(s.glob("segments/*"), s.glob("tile/0/*")...), "checkpoint") {
		files[name] = &fstest.MapFile{Data: s.read(name)}
	}
	r, err := verify.Dir(files, s.keys(), verify.Options{})
	if err != nil || !r.OK() {
		t.Fatal(err, r)
	}
}
