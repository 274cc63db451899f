package tiles_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// bench is a log and a server of it.
type bench struct {
	t   *testing.T
	log *audit.Log
	key *audit.Key
	url string
}

// newBench makes a log with a segment of each form and serves it. While it is
// open it is served from memory and disk, else from its directory.
func newBench(t *testing.T, n int, open bool) *bench {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	cfg := audit.Config{Dir: filepath.Join(t.TempDir(), "log"), Key: key, SegmentBytes: 512 << 10, CheckpointEvery: time.Hour}
	log, err := audit.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	b := &bench{t: t, log: log, key: key}
	b.add(n)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if open {
		if b.log, err = audit.Open(cfg); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.log.Close() })
	}
	b.url = b.serve(tiles.Handler{Source: b.source(open)})
	return b
}

func (b *bench) add(n int) {
	b.t.Helper()
	for i := range n {
		if i%5000 == 4999 { // a commit of its own, so that segments end
			if _, err := b.log.Append(context.Background(), []byte(`"time":"2026-01-01T00:00:00.000000000Z","kind":"test"`)); err != nil {
				b.t.Fatal(err)
			}
			continue
		}
		if _, err := b.log.Enqueue(context.Background(), fmt.Appendf(nil, `"time":"2026-01-01T00:00:00.000000000Z","kind":"test","n":%d`, i)); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) source(open bool) func() (tiles.Source, error) {
	return func() (tiles.Source, error) {
		if open {
			return b.log, nil
		}
		return tiles.Directory{Dir: records.Dir{FS: os.DirFS(b.log.Dir())}}, nil
	}
}

func (b *bench) serve(h tiles.Handler) string {
	if h.Failed == nil {
		h.Failed = func(err error) { b.t.Errorf("failed: %v", err) }
	}
	srv := httptest.NewServer(http.StripPrefix("/log", tiles.New(h)))
	b.t.Cleanup(srv.Close)
	return srv.URL + "/log/"
}

// get asks for a path of the log.
func (b *bench) get(path string) (int, http.Header, []byte) {
	b.t.Helper()
	return b.ask(http.MethodGet, path, nil)
}

func (b *bench) ask(method, path string, header http.Header) (int, http.Header, []byte) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// Height, SaveTiles and ReadTiles implement tlog.TileReader over HTTP: tile
// 8/L/N of the checksum database is tile L/N of tlog-tiles.
func (*bench) Height() int                     { return 8 }
func (*bench) SaveTiles([]tlog.Tile, [][]byte) {}

func (b *bench) ReadTiles(list []tlog.Tile) (out [][]byte, err error) {
	for _, t := range list {
		status, _, body := b.get("tile/" + strings.TrimPrefix(t.Path(), "tile/8/"))
		if status != http.StatusOK {
			return nil, fmt.Errorf("%s: status %d", t.Path(), status)
		}
		out = append(out, body)
	}
	return out, nil
}

// head verifies the checkpoint that is served.
func (b *bench) head() checkpoint.Head {
	b.t.Helper()
	v, err := b.key.Verifier()
	if err != nil {
		b.t.Fatal(err)
	}
	status, header, body := b.get("checkpoint")
	h, _, err := checkpoint.Open(body, v)
	if err != nil || status != 200 || header.Get("Content-Type") != "text/plain; charset=utf-8" {
		b.t.Fatalf("checkpoint: status %d, %v, %v", status, header, err)
	}
	if _, err := note.Open(body, note.VerifierList(v)); err != nil {
		b.t.Fatal(err)
	}
	return h
}

// record takes a record from the entry bundle that a client of size would ask
// for.
func (b *bench) record(index, size int64) []byte {
	b.t.Helper()
	status, header, body := b.get(tree.EntriesPath(index/256, int(min(256, size-index/256*256))))
	if status != 200 || header.Get("Content-Type") != "application/octet-stream" {
		b.t.Fatalf("bundle of record %d: status %d, %v", index, status, header)
	}
	for range index % 256 {
		body = body[2+binary.BigEndian.Uint16(body):]
	}
	return body[2 : 2+binary.BigEndian.Uint16(body)]
}

// checkProofs makes and checks proofs with the checksum database's library from
// what is served alone: of records, and that earlier logs are the beginnings of
// this one.
func (b *bench) checkProofs() {
	b.t.Helper()
	h := b.head()
	now := tlog.Tree{N: h.Size, Hash: h.Root}
	reader := tlog.TileHashReader(now, b)
	for _, index := range []int64{0, 1, 255, 256, 511, h.Size / 2, h.Size - 2, h.Size - 1} {
		p, err := tlog.ProveRecord(now.N, index, reader)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := tlog.CheckRecord(p, now.N, now.Hash, index, tlog.RecordHash(b.record(index, now.N))); err != nil {
			b.t.Errorf("record %d: %v", index, err)
		}
	}
	for _, size := range []int64{1, 255, 256, 257, 1000, h.Size - 1} {
		old, err := tlog.TreeHash(size, reader)
		if err != nil {
			b.t.Fatal(err)
		}
		p, err := tlog.ProveTree(now.N, size, reader)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := tlog.CheckTree(p, now.N, now.Hash, size, old); err != nil {
			b.t.Errorf("the log of size %d: %v", size, err)
		}
	}
}

func TestTheChecksumDatabasesLibraryReadsTheLog(t *testing.T) {
	for name, open := range map[string]bool{"open": true, "from its directory": false} {
		t.Run(name, func(t *testing.T) { newBench(t, 66_000, open).checkProofs() })
	}
}

// TestPartialTilesAreBeginnings asks for tiles of every width.
func TestPartialTilesAreBeginnings(t *testing.T) {
	b := newBench(t, 700, true)
	size := b.head().Size
	_, _, full := b.get("tile/0/000")
	_, _, bundle := b.get("tile/entries/000")
	_, _, edge := b.get(tree.TilePath(0, size/256, int(size%256)))
	if len(full) != tree.TileBytes {
		t.Fatalf("a full tile of %d bytes", len(full))
	}
	for w := 1; w < 256; w++ {
		status, _, body := b.get(tree.TilePath(0, 0, w))
		if status != 200 || !bytes.Equal(body, full[:32*w]) {
			t.Errorf("width %d of a full tile: status %d", w, status)
		}
		status, _, body = b.get(tree.EntriesPath(0, w))
		leaves, err := tiles.LeafHashes(body)
		if status != 200 || err != nil || !bytes.Equal(tree.Join(leaves), full[:32*w]) || !bytes.HasPrefix(bundle, body) {
			t.Errorf("width %d of a full bundle: status %d, %v", w, status, err)
		}
		status, _, body = b.get(tree.TilePath(0, size/256, w))
		if there := int64(w) <= size%256; there != (status == 200) || there && !bytes.Equal(body, edge[:32*w]) {
			t.Errorf("width %d at the edge: status %d", w, status)
		}
	}
}

func TestNothingBeyondTheCheckpointIsServed(t *testing.T) {
	b := newBench(t, 700, true)
	size := b.head().Size // 703 with those of opening and closing
	b.add(1000)
	if _, err := b.log.Append(t.Context(), []byte(`"time":"2026-01-01T00:00:00.000000000Z","kind":"test"`)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		tree.TilePath(0, 1, 256):                        200,
		tree.TilePath(0, size/256, int(size%256)):       200,
		tree.TilePath(0, size/256, int(size%256)+1):     404,
		tree.TilePath(0, size/256, 256):                 404,
		tree.TilePath(0, 3, 1):                          404,
		tree.TilePath(1, 0, 2):                          200,
		tree.TilePath(1, 0, 3):                          404,
		tree.TilePath(1, 0, 256):                        404,
		tree.TilePath(2, 0, 1):                          404,
		tree.EntriesPath(1, 256):                        200,
		tree.EntriesPath(size/256, int(size%256)):       200,
		tree.EntriesPath(size/256, int(size%256)+1):     404,
		tree.EntriesPath(size/256, 256):                 404,
		"tile/0/x999/x999/x999/x999/x999/x999/999":      404,
		"tile/entries/x999/x999/x999/x999/x999/x999/99": 404,
	} {
		if status, _, body := b.get(path); status != want {
			t.Errorf("%s: status %d, want %d: %.80q", path, status, want, body)
		}
	}
}

func TestPathsHaveOneSpelling(t *testing.T) {
	b := newBench(t, 600, false)
	for _, path := range []string{
		"", "checkpoint/", "Checkpoint", "checkpoint.txt", "segments/00000000000000000000.log", "../keys/log.key",
		"tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/+0/000", "tile/-1/000",
		"tile/0/x000/000", "tile/0/000/", "tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/000.p/256",
		"tile/0/000.p/1/", "tile/0/000.P/1", "tile/64/000", "tile/8/000", "tile/entries/0", "tile/data/000", "tile/0/%30%30", "tile/0/000.p/+1", "/checkpoint",
	} {
		if status, header, body := b.get(path); status != 404 || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%q: status %d, %v: %.80q", path, status, header, body)
		}
	}
}

func TestHeadersLetClientsKeepWhatNeverChanges(t *testing.T) {
	b := newBench(t, 600, true)
	public := b.serve(tiles.Handler{Source: b.source(true), Public: true})
	for path, cache := range map[string]string{
		"checkpoint":         "max-age=1",
		"tile/0/000":         "max-age=31536000, immutable",
		"tile/1/000.p/2":     "max-age=31536000, immutable",
		"tile/entries/001":   "max-age=31536000, immutable",
		"tile/0/002.p/5":     "max-age=31536000, immutable",
		"tile/entries/2.p/5": "",
	} {
		status, header, body := b.get(path)
		if cache == "" {
			if status != 404 || header.Get("ETag") != "" {
				t.Errorf("%s: status %d, %v", path, status, header)
			}
			continue
		}
		if status != 200 || header.Get("Cache-Control") != "private, "+cache || header.Get("X-Content-Type-Options") != "nosniff" ||
			header.Get("Content-Length") != fmt.Sprint(len(body)) {
			t.Errorf("%s: status %d, %v", path, status, header)
		}
		etag := header.Get("ETag")
		status, again, body := b.ask(http.MethodGet, path, http.Header{"If-None-Match": {`"x", ` + etag}})
		if status != 304 || len(body) > 0 || again.Get("ETag") != etag || again.Get("Cache-Control") == "" {
			t.Errorf("%s again: status %d, %v", path, status, again)
		}
		status, head, body := b.ask(http.MethodHead, path, nil)
		if status != 200 || len(body) > 0 || head.Get("Content-Length") != header.Get("Content-Length") || head.Get("ETag") != etag {
			t.Errorf("HEAD %s: status %d, %v", path, status, head)
		}
		private := b.url
		b.url = public
		if _, header, _ := b.get(path); header.Get("Cache-Control") != "public, "+cache {
			t.Errorf("%s for all: %v", path, header)
		}
		b.url = private
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "QUERY"} {
		if status, header, _ := b.ask(method, "checkpoint", nil); status != 405 || header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: status %d, %v", method, status, header)
		}
	}
}

// TestMissingTilesAreMadeFromRecords removes and cuts tiles of a log under its
// server.
func TestMissingTilesAreMadeFromRecords(t *testing.T) {
	b := newBench(t, 66_000, true)
	dir := b.log.Dir()
	name := func(path string) string { return filepath.Join(dir, filepath.FromSlash(path)) }
	want := map[string][]byte{}
	for _, path := range []string{"tile/0/000", "tile/0/017", "tile/1/000"} {
		_, _, want[path] = b.get(path)
	}
	if err := os.Remove(name("tile/0/000")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name("tile/0/017"), 100); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name("tile/1/000")); err != nil {
		t.Fatal(err)
	}
	for path, body := range want {
		if status, _, got := b.get(path); status != 200 || !bytes.Equal(got, body) {
			t.Errorf("%s: status %d, %d bytes", path, status, len(got))
		}
	}
	b.checkProofs()
	if _, err := os.Stat(name("tile/0/000")); err == nil {
		t.Error("the server wrote to the log")
	}
}

// TestRemovedRecordsAreAbsentAndTheirTilesAreNot is a log whose oldest segments
// were removed when their retention ended.
func TestRemovedRecordsAreAbsentAndTheirTilesAreNot(t *testing.T) {
	b := newBench(t, 20_000, false)
	list, err := b.log.Records().Segments()
	if err != nil || len(list) < 3 {
		t.Fatal(len(list), err)
	}
	if err := os.Remove(filepath.Join(b.log.Dir(), filepath.FromSlash(list[0].Path()))); err != nil {
		t.Fatal(err)
	}
	first := list[1].First
	for index := range b.head().Size / 256 {
		want := 200
		if index*256 < first {
			want = 404
		}
		if status, _, body := b.get(tree.EntriesPath(index, 256)); status != want {
			t.Fatalf("bundle %d: status %d, want %d: %.80q", index, status, want, body)
		}
		if status, _, _ := b.get(tree.TilePath(0, index, 256)); status != 200 {
			t.Fatalf("tile %d: status %d", index, status)
		}
	}
}

func TestUnreadableLogsAreAnErrorWithoutDetails(t *testing.T) {
	b := newBench(t, 600, false)
	var failed atomic.Int64
	b.url = b.serve(tiles.Handler{
		Source: func() (tiles.Source, error) { return nil, errors.New("a secret") },
		Failed: func(error) { failed.Add(1) },
	})
	if status, header, body := b.get("checkpoint"); status != 500 || strings.Contains(string(body), "secret") || header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, %v: %s", status, header, body)
	}
	if failed.Load() != 1 {
		t.Errorf("%d failures were told", failed.Load())
	}
}

// slow is a log whose records take long to read.
type slow struct {
	tiles.Source
	reading, most atomic.Int64
	let           chan struct{}
}

func (s *slow) Records() records.Dir {
	dir := s.Source.Records()
	return records.Dir{FS: slowFS{dir, s}}
}

func TestTwoReadRecordsAtATimeAndNobodyWaitsForWhoLeft(t *testing.T) {
	b := newBench(t, 600, true)
	s := &slow{Source: b.log, let: make(chan struct{})}
	b.url = b.serve(tiles.Handler{Source: func() (tiles.Source, error) { return s, nil }})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	arrived := make(chan struct{}, 6)
	for range 6 { // six that leave while two of them read and four wait
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"tile/entries/000", nil)
			if err != nil {
				t.Error(err)
				return
			}
			arrived <- struct{}{}
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
				t.Error("it was answered")
			}
		})
	}
	for range 6 {
		<-arrived
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.reading.Load() < 2 {
		<-tick.C
	}
	cancel()
	wg.Wait()
	close(s.let)
	for range 8 {
		wg.Go(func() {
			if status, _, _ := b.get("tile/entries/000"); status != 200 {
				t.Errorf("status %d", status)
			}
		})
	}
	wg.Wait()
	if n := s.most.Load(); n != 2 {
		t.Errorf("%d read at a time", n)
	}
}

func FuzzPaths(f *testing.F) {
	for _, p := range []string{"checkpoint", "tile/0/000", "tile/0/000.p/3", "tile/entries/000.p/1", "tile/1/x001/000", "tile/7/x999/999.p/255"} {
		f.Add(p)
	}
	leaves := []tree.Hash{tlog.RecordHash([]byte("a")), tlog.RecordHash([]byte("b")), tlog.RecordHash([]byte("c"))}
	var tr tree.Tree
	for _, h := range leaves {
		tr.Append(h, nil)
	}
	h := tiles.New(tiles.Handler{Source: func() (tiles.Source, error) { return memory{&tr}, nil }})
	f.Fuzz(func(t *testing.T, path string) {
		w := httptest.NewRecorder()
		h.Serve(w, httptest.NewRequest(http.MethodGet, "/", nil), path)
		want := 404
		switch path {
		case "checkpoint", "tile/0/000.p/1", "tile/0/000.p/2", "tile/0/000.p/3":
			want = 200
		case "tile/entries/000.p/1", "tile/entries/000.p/2", "tile/entries/000.p/3":
			want = 500 // of this log there are no records
		}
		if w.Code != want {
			t.Errorf("%q: status %d, want %d", path, w.Code, want)
		}
	})
}
