package e2e_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// exported makes a log of many records, closes it and exports it with the
// command. It returns the export, the verifier key and a head of the log when
// it was smaller.
func exported(t *testing.T, n int) (dir, vkey string, old tlog.Tree) {
	t.Helper()
	h := newHome(t)
	key, err := audit.NewKey("edge-1.example.com/soc2")
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Dir: h.logDir(), Key: key, SegmentBytes: 4 << 20, CheckpointEvery: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ev := audit.Event{Start: time.Now(), Method: "GET", Path: "/some/path", Host: "example.com", Status: 200, End: audit.EndComplete}
	for i := range n {
		ev.ID = audit.NewID(ev.Start)
		if _, err := log.Enqueue(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			_, head, _ := log.Checkpoint()
			old = tlog.Tree{N: head.Size, Hash: head.Root}
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(h.dir, "export")
	code, out := h.run("caddy", "soc2", "export", h.logDir(), "--tiles", dir)
	if code != 0 {
		t.Fatalf("export: exit %d: %s", code, out)
	}
	t.Log(strings.TrimSpace(out))
	return dir, key.Public(), old
}

// fsck runs Tessera's fsck v1.0.4 over an exported log. Its exit status says
// nothing in that version, and it may hang on a damaged log.
func fsck(t *testing.T, tool, dir, vkey string) (ok bool, out string) {
	t.Helper()
	return fsckURL(t, tool, "file://"+dir+"/", vkey)
}

// fsckURL is fsck over a log that is served.
func fsckURL(t *testing.T, tool, url, vkey string) (ok bool, out string) {
	t.Helper()
	pub := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(pub, []byte(vkey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "--ui=false", "--N=4", "--storage_url="+url, "--public_key="+pub)
	b, _ := cmd.CombinedOutput()
	return strings.Contains(string(b), "Successfully fsck'd log with size"), string(b)
}

func TestTesserasFsckAcceptsTheExport(t *testing.T) {
	tool := os.Getenv("SOC2_FSCK")
	if tool == "" {
		needs(t, "Tessera's fsck, named by SOC2_FSCK,")
	}
	dir, vkey, _ := exported(t, 70_000)
	ok, out := fsck(t, tool, dir, vkey)
	if !ok {
		t.Fatalf("fsck does not accept the log:\n%s", out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	t.Log(lines[len(lines)-1])

	other, err := audit.NewKey("edge-1.example.com/soc2")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _ := fsck(t, tool, dir, other.Public()); ok {
		t.Error("fsck accepts another key")
	}
	bundle := filepath.Join(dir, "tile", "entries", "100")
	b, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	b[5000] ^= 1
	if err := os.WriteFile(bundle, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, _ := fsck(t, tool, dir, vkey); ok {
		t.Error("fsck accepts a changed record")
	}
}

// files reads an exported log for golang.org/x/mod/sumdb/tlog.
type files string

func (files) Height() int                     { return 8 }
func (files) SaveTiles([]tlog.Tile, [][]byte) {}

func (d files) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range list {
		b, err := os.ReadFile(d.path(t))
		if os.IsNotExist(err) { // a full tile has taken the partial one's place
			full := t
			full.W = 256
			if b, err = os.ReadFile(d.path(full)); err == nil {
				b = b[:t.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// path maps tile/8/L/NNN of the checksum database to tile/L/NNN of tlog-tiles.
func (d files) path(t tlog.Tile) string {
	return filepath.Join(string(d), "tile", strings.TrimPrefix(t.Path(), "tile/8/"))
}

// record reads a record from its entry bundle.
func (d files) record(t *testing.T, index, size int64) []byte {
	t.Helper()
	path := tlog.Tile{H: 8, L: -1, N: index / 256, W: int(min(256, size-index/256*256))}
	b, err := os.ReadFile(filepath.Join(string(d), "tile", "entries", strings.TrimPrefix(path.Path(), "tile/8/data/")))
	if err != nil {
		t.Fatal(err)
	}
	for range index % 256 {
		b = b[2+binary.BigEndian.Uint16(b):]
	}
	return b[2 : 2+binary.BigEndian.Uint16(b)]
}

// TestTheChecksumDatabasesLibraryProvesRecords opens the checkpoint with
// sumdb/note and makes and checks proofs with sumdb/tlog, from the exported
// files alone.
func TestTheChecksumDatabasesLibraryProvesRecords(t *testing.T) {
	dir, vkey, old := exported(t, 66_000)
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(b, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	var tree tlog.Tree
	lines := strings.Split(n.Text, "\n")
	if _, err := fmt.Sscan(lines[1], &tree.N); err != nil {
		t.Fatal(err)
	}
	if tree.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		t.Fatal(err)
	}
	exported := files(dir)
	hashes := tlog.TileHashReader(tree, exported)
	for _, index := range []int64{0, 1, 255, 256, 65_535, 65_536, tree.N - 1} {
		p, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			t.Fatal(err)
		}
		leaf := tlog.RecordHash(exported.record(t, index, tree.N))
		if err := tlog.CheckRecord(p, tree.N, tree.Hash, index, leaf); err != nil {
			t.Errorf("record %d: %v", index, err)
		}
	}
	if old.N == 0 || old.N >= tree.N {
		t.Fatalf("the earlier head has size %d of %d", old.N, tree.N)
	}
	p, err := tlog.ProveTree(tree.N, old.N, hashes)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(p, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		t.Errorf("the log of size %d is not a prefix of the one of size %d: %v", old.N, tree.N, err)
	}
	t.Logf("7 records and the head of size %d proved in a log of size %d", old.N, tree.N)
}
