package witness_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
)

// TestRequestsOfAnotherWitness replays the requests by which another
// implementation of the protocol tests itself.
func TestRequestsOfAnotherWitness(t *testing.T) {
	b, err := os.ReadFile("testdata/litewitness.txt")
	if err != nil {
		t.Fatal(err)
	}
	const origin = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
	public := []byte("\xff\xdc\x2d\x4d\x98\xe4\x12\x4d\x3f\xea\xf7\x88\xc0\xc2\xf9\xab\xfd\x79\x60\x83\xd1\xf0\x49\x54\x37\xf3\x02\xec\x79\xcf\x10\x0f")
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	w := newWitness(t, "example.com/witness", witness.Log{Origin: origin, Keys: []note.Verifier{key}})
	cases := strings.Split(strings.TrimSuffix(string(b), "```\n"), "```\n")
	if len(cases) != 9 {
		t.Fatalf("%d requests, want 9", len(cases))
	}
	for i, c := range cases {
		first, body, _ := strings.Cut(c, "\n")
		var status int
		var size string
		if n, _ := fmt.Sscanf(first, "HTTP %d %s", &status, &size); n < 1 {
			t.Fatalf("request %d: %q", i, first)
		}
		w.expect(t, fmt.Sprintf("request %d", i), body, status, size)
	}
}

// TestEveryStatus asks for each answer of the protocol, in its order.
func TestEveryStatus(t *testing.T) {
	l := newLog(t, "a.example/log").grow(10)
	w := newWitness(t, "w.example", l.known())
	at10 := l.body(0)
	w.expect(t, "the first checkpoint", at10, http.StatusOK, "")
	l.grow(300)
	good := l.body(10)
	signed := string(l.sign())
	proof, err := l.prove(context.Background(), 10, 300)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newLog(t, l.origin).grow(300)
	sixteen := make([]note.Signer, 16)
	for i := range sixteen {
		sixteen[i] = newLog(t, fmt.Sprintf("other%d", i)).signer
	}

	line := good[strings.LastIndex(good, "\n—")+1:]
	for _, c := range []struct {
		what, body string
		status     int
		size       string
	}{
		{"an empty body", "", 400, ""},
		{"no empty line", "old 10\n", 400, ""},
		{"no old size", "\n" + signed, 400, ""},
		{"another first line", strings.Replace(good, "old", "new", 1), 400, ""},
		{"an old size with a zero before", strings.Replace(good, "old 10", "old 010", 1), 400, ""},
		{"a negative old size", strings.Replace(good, "old 10", "old -10", 1), 400, ""},
		{"an old size of more than 63 bits", strings.Replace(good, "old 10", "old 9223372036854775808", 1), 400, ""},
		{"an old size with a sign", strings.Replace(good, "old 10", "old +10", 1), 400, ""},
		{"a carriage return", strings.Replace(good, "old 10\n", "old 10\r\n", 1), 400, ""},
		{"a proof that is not base64", strings.Replace(good, "\n", "\n!", 1), 400, ""},
		{"a proof of short hashes", "old 10\nAAAA\n\n" + signed, 400, ""},
		{"64 lines of proof", body(10, make([]tlog.Hash, 64), []byte(signed)), 400, ""},
		{"an unknown origin", strings.Replace(good, l.origin, "b.example/log", 1), 404, ""},
		{"an unknown origin and an old size too large", strings.Replace(strings.Replace(good, l.origin, "b", 1), "old 10", "old 999", 1), 404, ""},
		{"a signature by another key of the name", stranger.body(10), 403, ""},
		{"a damaged signature", good[:len(good)-5] + "AAA=\n", 403, ""},
		{"another size under the signature", strings.Replace(good, "\n300\n", "\n301\n", 1), 403, ""},
		{"another key and an old size too large", strings.Replace(stranger.body(10), "old 10", "old 999", 1), 403, ""},
		{"no signature", strings.TrimSuffix(good, "\n"+line), 400, ""},
		{"a signature line that is none", good + "x\n", 400, ""},
		{"an old size larger than the checkpoint's", strings.Replace(good, "old 10", "old 301", 1), 400, ""},
		{"no old size that was recorded", strings.Replace(good, "old 10", "old 0", 1), 409, "10"},
		{"another old size", l.body(11), 409, "10"},
		{"another old size and a wrong proof", body(11, nil, []byte(signed)), 409, "10"},
		{"no proof", body(10, nil, []byte(signed)), 422, ""},
		{"a short proof", body(10, proof[1:], []byte(signed)), 422, ""},
		{"a long proof", body(10, append(slices.Clip(proof), proof[0]), []byte(signed)), 422, ""},
		{"another root", l.fork(10, 300).bodyWith(proof, 10), 422, ""},
		{"a fork at the recorded size", l.fork(5, 10).body(10), 422, ""},
		{"a proof from the recorded size to itself", strings.Replace(at10, "old 0\n", "old 10\n"+proof[0].String()+"\n", 1), 422, ""},
		{"the recorded checkpoint again", strings.Replace(at10, "old 0", "old 10", 1), 200, ""},
		{"sixteen more signatures", body(10, proof, l.sign(sixteen...)), 200, ""},
		{"the same again", good, 409, "300"},
		{"an older checkpoint", at10, 409, "300"},
		{"a rollback with the recorded size", strings.Replace(at10, "old 0", "old 300", 1), 400, ""},
	} {
		w.expect(t, c.what, c.body, c.status, c.size)
	}
	w.expect(t, "a body of 128 kB", good+strings.Repeat("x", 128<<10), http.StatusRequestEntityTooLarge, "")
}

func (l *testLog) bodyWith(proof []tlog.Hash, old int64) string { return body(old, proof, l.sign()) }

func TestSizeZero(t *testing.T) {
	l := newLog(t, "a")
	w := newWitness(t, "w", l.known())
	bad, err := checkpoint.Sign(checkpoint.Head{Origin: "a", Root: tlog.RecordHash(nil)}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	w.expect(t, "a root that is not of the empty tree", body(0, nil, bad), 422, "")
	w.expect(t, "a proof from size zero", body(0, make([]tlog.Hash, 1), l.sign()), 422, "")
	w.expect(t, "the empty tree", l.body(0), 200, "")
	w.expect(t, "the empty tree again", l.body(0), 200, "")
	w.expect(t, "a first record, with a proof", body(0, make([]tlog.Hash, 1), l.grow(1).sign()), 422, "")
	w.expect(t, "a first record", l.body(0), 200, "")
}

// TestHugeSizesDoNotHang: a proof to a size above 2^62 does not end in
// golang.org/x/mod.
func TestHugeSizesDoNotHang(t *testing.T) {
	l := newLog(t, "a").grow(1)
	w := newWitness(t, "w", l.known())
	w.expect(t, "the first checkpoint", l.body(0), 200, "")
	for size, status := range map[int64]int{1 << 62: 422, 1<<62 + 1: 400, 1<<63 - 1: 400} {
		b, err := checkpoint.Sign(checkpoint.Head{Origin: "a", Size: size}, l.signer)
		if err != nil {
			t.Fatal(err)
		}
		w.expect(t, fmt.Sprint(size), body(1, make([]tlog.Hash, 62), b), status, "")
	}
}

func TestExtensionLinesAreCosigned(t *testing.T) {
	l := newLog(t, "a").grow(3)
	w := newWitness(t, "w", l.known())
	text := fmt.Sprintf("a\n3\n%s\nan extension\nanother\n", l.head().Root)
	b, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	status, _, answer := w.post(t, body(0, nil, b))
	if n, err := note.Open([]byte(text+"\n"+answer), note.VerifierList(w.key.Verifier())); status != 200 || err != nil || n.Text != text {
		t.Errorf("%d %q: %v", status, answer, err)
	}
	empty, err := note.Sign(&note.Note{Text: text[:len(text)-len("another\n")] + "\nanother\n"}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	w.expect(t, "an empty extension line", body(3, nil, empty), 400, "")
}

func TestOtherMethodsPathsAndEncodings(t *testing.T) {
	l := newLog(t, "a").grow(3)
	w := newWitness(t, "w", l.known())
	do := func(method, path string, header http.Header) int {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(l.body(0)))
		maps.Copy(r.Header, header)
		rec := httptest.NewRecorder()
		w.current().ServeHTTP(rec, r)
		if strings.Contains(rec.Body.String(), "—") {
			t.Errorf("%s %s: answered a signature", method, path)
		}
		return rec.Code
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		if got := do(method, "/add-checkpoint", nil); got != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, got)
		}
	}
	for _, path := range []string{"/", "/add-checkpoint/", "/sign-subtree", "/x/add-checkpoint"} {
		if got := do("POST", path, nil); got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
	if got := do("POST", "/add-checkpoint", http.Header{"Content-Encoding": {"gzip"}}); got != http.StatusUnsupportedMediaType {
		t.Errorf("compressed: %d", got)
	}
}

func TestMonitorsGetTheNewestCheckpoint(t *testing.T) {
	l := newLog(t, "a").grow(3)
	other := newLog(t, "other").grow(1)
	w := newWitness(t, "w", l.known(), other.known())
	get := func(origin string) (int, string) {
		t.Helper()
		resp, err := http.Get(w.url + "/" + witness.OriginHash(origin) + "/checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, origin := range []string{"a", "unknown"} {
		if status, _ := get(origin); status != http.StatusNotFound {
			t.Errorf("%s before any checkpoint: %d", origin, status)
		}
	}
	old := int64(0)
	for _, size := range []int64{3, 700} {
		l.grow(size)
		// A signature by a key that the witness does not know is not kept.
		_, _, answer := w.post(t, strings.TrimSuffix(l.body(old), "\n")+"\n"+strings.SplitAfter(string(other.sign()), "\n\n")[1])
		status, b := get("a")
		h, by, others, err := checkpoint.Cosigned([]byte(b), []note.Verifier{l.key}, []*cosignature.Verifier{w.key.Verifier()})
		if status != 200 || err != nil || h != l.head() || len(by) != 1 || len(others) != 0 || !strings.HasSuffix(b, answer) {
			t.Errorf("size %d: %d %q %v", size, status, b, err)
		}
		old = size
	}
}

func TestKeysRotate(t *testing.T) {
	l := newLog(t, "a").grow(3)
	w := newWitness(t, "w", l.known())
	w.expect(t, "by the old key", l.body(0), 200, "")
	oldLog := l.key
	next := newLog(t, "a")
	l.signer, l.key = next.signer, next.key
	w.expect(t, "by a new key before the witness knows it", l.grow(5).body(3), 403, "")
	both := []witness.Log{{Origin: "a", Keys: []note.Verifier{oldLog, l.key}}}
	if err := w.current().Use(w.key, both); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "by a new key", l.body(3), 200, "")
	// The witness's key rotates within the second: the old key's line must not
	// be given out for the new one's.
	fresh := newKey(t, "w2")
	if err := w.current().Use(fresh, both); err != nil {
		t.Fatal(err)
	}
	if _, _, answer := w.post(t, l.body(5)); !strings.HasPrefix(answer, "— w2 ") {
		t.Errorf("by the new key of the witness: %q", answer)
	}
	// A restart with the new key of the witness and the log's new key.
	if err := w.current().Close(); err != nil {
		t.Fatal(err)
	}
	w.key = fresh
	w.open(t, l.known())
	w.expect(t, "after the restart", l.grow(6).body(5), 200, "")
}

func TestUseKeepsWhatItHadAfterAnError(t *testing.T) {
	l := newLog(t, "a").grow(3)
	w := newWitness(t, "w", l.known())
	for what, logs := range map[string][]witness.Log{
		"twice":          {l.known(), l.known()},
		"without key":    {{Origin: "b"}},
		"without origin": {{Keys: l.known().Keys}},
		"two lines":      {{Origin: "a\nb", Keys: l.known().Keys}},
		"a key twice":    {{Origin: "b", Keys: []note.Verifier{l.key, l.key}}},
	} {
		if err := w.current().Use(w.key, logs); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if err := w.current().Use(nil, nil); err == nil {
		t.Error("no key: accepted")
	}
	w.expect(t, "after errors", l.body(0), 200, "")
	if err := w.current().Use(w.key, nil); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "a log that was taken out", l.body(3), 404, "")
	if err := w.current().Use(w.key, []witness.Log{l.known()}); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "a log that came back", l.body(0), 409, "3")
}

// TestConcurrentSubmissions: of many different next checkpoints from one size
// exactly one is cosigned.
func TestConcurrentSubmissions(t *testing.T) {
	l := newLog(t, "a").grow(100)
	w := newWitness(t, "w", l.known())
	w.expect(t, "the first checkpoint", l.body(0), 200, "")
	var (
		all sync.WaitGroup
		mu  sync.Mutex
		got = map[int]int{}
	)
	for i := range int64(16) {
		next := l.fork(100, 101+i%4) // forks of each other, some of one size
		next.salt += uint64(i)
		next.grow(next.head().Size + 1)
		body := next.body(100)
		all.Go(func() {
			resp, err := http.Post(w.url+"/add-checkpoint", "", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			got[resp.StatusCode]++
		})
	}
	all.Wait()
	if got[200] != 1 || got[409] != 15 {
		t.Errorf("answers: %v, want one 200 and fifteen 409", got)
	}
}

// BenchmarkAddCheckpoint is one submission over loopback, with the state synced
// to the disk of TMPDIR.
func BenchmarkAddCheckpoint(b *testing.B) {
	l := newLog(b, "a").grow(1000)
	w := newWitness(b, "w", l.known())
	c := w.client()
	old := int64(0)
	for b.Loop() {
		if _, err := c.Submit(b.Context(), old, l.sign(), l.prove); err != nil {
			b.Fatal(err)
		}
		old = l.head().Size
		l.grow(old + 10)
	}
}
