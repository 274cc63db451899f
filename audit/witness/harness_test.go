package witness_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
)

// testLog is a log: a growing tree and its key.
type testLog struct {
	t      testing.TB
	origin string
	salt   uint64 // logs of different salt have different records
	signer note.Signer
	key    note.Verifier

	mu    sync.Mutex
	tree  tree.Tree
	tiles map[string][]tree.Hash
}

func newLog(t testing.TB, origin string) *testLog {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{t: t, origin: origin, tiles: map[string][]tree.Hash{}}
	if l.signer, err = note.NewSigner(private); err != nil {
		t.Fatal(err)
	}
	if l.key, err = note.NewVerifier(public); err != nil {
		t.Fatal(err)
	}
	return l
}

// fork is another history of the same log, by the same key, that agrees with
// it in the first same records and then grows to the given size.
func (l *testLog) fork(same, size int64) *testLog {
	f := &testLog{t: l.t, origin: l.origin, salt: l.salt, signer: l.signer, key: l.key, tiles: map[string][]tree.Hash{}}
	f.grow(same)
	f.salt++
	f.grow(size)
	return f
}

// grow appends records until the tree has the given size.
func (l *testLog) grow(size int64) *testLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.tree.Size() < size {
		record := binary.BigEndian.AppendUint64(nil, l.salt)
		record = binary.BigEndian.AppendUint64(record, uint64(l.tree.Size()))
		l.tree.Append(tlog.RecordHash(record), func(level int, index int64, hashes []tree.Hash) {
			l.tiles[tree.TilePath(level, index, tree.Width)] = append([]tree.Hash(nil), hashes...)
		})
	}
	return l
}

func (l *testLog) head() checkpoint.Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return checkpoint.Head{Origin: l.origin, Size: l.tree.Size(), Root: l.tree.Root()}
}

// sign returns the checkpoint of the tree as it is.
func (l *testLog) sign(more ...note.Signer) []byte {
	l.t.Helper()
	b, err := checkpoint.Sign(l.head(), append([]note.Signer{l.signer}, more...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// prove is a witness.Prover.
func (l *testLog) prove(_ context.Context, oldSize, newSize int64) ([]tlog.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return tlog.ProveTree(newSize, oldSize, tree.Reader{Tree: &l.tree, Load: l.load})
}

func (l *testLog) load(level int, index int64) ([]tree.Hash, error) {
	hashes, ok := l.tiles[tree.TilePath(level, index, tree.Width)]
	if !ok {
		return nil, fmt.Errorf("no tile %d/%d", level, index)
	}
	return hashes, nil
}

// body is an add-checkpoint request from a size, with the true proof.
func (l *testLog) body(old int64) string {
	l.t.Helper()
	var proof []tlog.Hash
	if size := l.head().Size; old > 0 && old < size {
		var err error
		if proof, err = l.prove(context.Background(), old, size); err != nil {
			l.t.Fatal(err)
		}
	}
	return body(old, proof, l.sign())
}

func body(old int64, proof []tlog.Hash, signed []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		b.WriteString(h.String() + "\n")
	}
	return b.String() + "\n" + string(signed)
}

func (l *testLog) known() witness.Log {
	return witness.Log{Origin: l.origin, Keys: []note.Verifier{l.key}}
}

func newKey(t testing.TB, name string) *cosignature.Key {
	t.Helper()
	k, err := cosignature.NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// testWitness is a witness on a loopback port.
type testWitness struct {
	key   *cosignature.Key
	dir   string
	clock *clock
	url   string

	mu     sync.Mutex
	server *witness.Server
}

func newWitness(t testing.TB, name string, logs ...witness.Log) *testWitness {
	t.Helper()
	w := &testWitness{key: newKey(t, name), dir: t.TempDir(), clock: newClock()}
	w.open(t, logs...)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.current().ServeHTTP(rw, r)
	}))
	w.url = s.URL
	t.Cleanup(func() {
		s.Close()
		if err := w.current().Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *testWitness) current() *witness.Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.server
}

// open starts the witness, or starts it again after it was closed.
func (w *testWitness) open(t testing.TB, logs ...witness.Log) {
	t.Helper()
	s, err := witness.Open(witness.Config{Dir: w.dir, Key: w.key, Logs: logs, Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server = s
}

func (w *testWitness) client() *witness.Client {
	return &witness.Client{URL: w.url, Verifier: w.key.Verifier()}
}

// post sends a body and returns the answer.
func (w *testWitness) post(t testing.TB, body string) (status int, kind, answer string) {
	t.Helper()
	resp, err := http.Post(w.url+"/add-checkpoint", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

// expect posts a body and checks the status, and the size of a conflict.
func (w *testWitness) expect(t testing.TB, what, body string, status int, size string) {
	t.Helper()
	got, kind, answer := w.post(t, body)
	if got != status {
		t.Errorf("%s: answered %d %q, want %d", what, got, answer, status)
	}
	if status == http.StatusConflict && (kind != "text/x.tlog.size" || answer != size+"\n") {
		t.Errorf("%s: conflict of type %q with %q, want %s", what, kind, answer, size)
	}
	if status != http.StatusOK && strings.Contains(answer, "\u2014") {
		t.Errorf("%s: a refusal holds a signature: %q", what, answer)
	}
}
