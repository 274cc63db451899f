package witness_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
)

// TestALogIsWitnessedAsItGrows submits a growing tree, past every boundary of
// its tiles, with and without knowing what the witness saw last.
func TestALogIsWitnessedAsItGrows(t *testing.T) {
	l := newLog(t, "a.example/log")
	w := newWitness(t, "w.example", l.known())
	c := w.client()
	known := int64(0)
	for _, size := range []int64{0, 1, 2, 3, 255, 256, 257, 600, 65_535, 65_536, 65_537, 70_000} {
		l.grow(size)
		w.clock.add(time.Minute)
		for _, old := range []int64{known, 0, size / 2, size} {
			got, err := c.Submit(t.Context(), old, l.sign(), l.prove)
			if err != nil {
				t.Fatalf("size %d from %d: %v", size, old, err)
			}
			if got.Witness != c.Verifier || !got.Time.Equal(w.clock.now()) {
				t.Errorf("size %d: %v", size, got)
			}
			h, by, _, err := checkpoint.Cosigned(append(l.sign(), got.Line...), []note.Verifier{l.key}, []*cosignature.Verifier{c.Verifier})
			if err != nil || h != l.head() || len(by) != 1 {
				t.Fatalf("size %d: %v, %v", size, by, err)
			}
		}
		known = size
	}
}

func TestTheClientTellsForksAndRollbacks(t *testing.T) {
	l := newLog(t, "a").grow(300)
	w := newWitness(t, "w", l.known())
	c := w.client()
	submit := func(l *testLog, old int64) error {
		t.Helper()
		_, err := c.Submit(t.Context(), old, l.sign(), l.prove)
		return err
	}
	if err := submit(l, 0); err != nil {
		t.Fatal(err)
	}
	if err := submit(l.fork(0, 299), 0); !errors.Is(err, witness.ErrAhead) || !strings.Contains(err.Error(), "300") {
		t.Errorf("a smaller tree: %v", err)
	}
	if err := submit(l.fork(299, 300), 0); !errors.Is(err, witness.ErrFork) {
		t.Errorf("another tree of the same size: %v", err)
	}
	for _, old := range []int64{0, 300} {
		if err := submit(l.fork(299, 301), old); !errors.Is(err, witness.ErrFork) {
			t.Errorf("a larger tree that is a fork: %v", err)
		}
	}
	if err := submit(newLog(t, "b").grow(1), 0); !errors.Is(err, witness.ErrUnknownLog) {
		t.Errorf("an unknown log: %v", err)
	}
	if err := submit(newLog(t, "a").grow(400), 0); !errors.Is(err, witness.ErrKey) {
		t.Errorf("an unknown key: %v", err)
	}
	if err := submit(l.grow(301), 300); err != nil {
		t.Errorf("the log itself: %v", err)
	}
	if err := submit(l, 302); err == nil {
		t.Error("from a size larger than the tree's")
	}
}

// fake answers every request in the same way.
func fake(t *testing.T, h http.HandlerFunc) *witness.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &witness.Client{URL: s.URL + "/", Verifier: newKey(t, "w").Verifier()}
}

func TestAnswersOfABadWitness(t *testing.T) {
	l := newLog(t, "a").grow(5)
	signed := l.sign()
	key := newKey(t, "w")
	text, _, _ := strings.Cut(string(signed), "\n\n")
	cosign := func(k *cosignature.Key, text string) string {
		b, err := note.Sign(&note.Note{Text: text + "\n"}, k.At(time.Unix(1e9, 0)))
		if err != nil {
			t.Fatal(err)
		}
		return strings.SplitAfterN(string(b), "\n\n", 2)[1]
	}
	good := cosign(key, text)
	size := http.Header{"Content-Type": {"text/x.tlog.size"}}
	for what, c := range map[string]struct {
		status int
		header http.Header
		body   string
		want   string // in the error; empty if there is none
	}{
		"good":                        {200, nil, good, ""},
		"good after a stranger's":     {200, nil, cosign(newKey(t, "w"), text) + cosign(newKey(t, "x"), text) + good, ""},
		"a stranger's alone":          {200, nil, cosign(newKey(t, "w"), text), "no signature by w+"},
		"of another text":             {200, nil, cosign(key, "a\n6\n"+tlog.Hash{}.String()), "does not verify"},
		"empty":                       {200, nil, "", "newline"},
		"without its newline":         {200, nil, good[:len(good)-1], "newline"},
		"not a line":                  {200, nil, "<html>\n", "not a signature line"},
		"more than 128 kB":            {200, nil, strings.Repeat(good, 2000), "longer than"},
		"a redirect":                  {307, http.Header{"Location": {"/elsewhere"}}, "", "307"},
		"an error":                    {500, nil, "it\x1b[31m broke\nsecond line", `"it\x1b[31m broke"`},
		"a long error":                {400, nil, strings.Repeat("x", 9999), "400 Bad Request"},
		"too many requests":           {429, nil, "", "429"},
		"a conflict of its own size":  {409, size, "0\n", "which is what it got"},
		"a conflict in a loop":        {409, size, "3\n", "another instance"},
		"a conflict without type":     {409, nil, "3\n", "has no size"},
		"a conflict without size":     {409, size, "three\n", "has no size"},
		"a conflict without newline":  {409, size, "3", "has no size"},
		"a conflict of a larger tree": {409, size, "6\n", "larger tree"},
		"a conflict with parameters":  {409, http.Header{"Content-Type": {"text/x.tlog.size; charset=utf-8"}}, "6\n", "larger tree"},
	} {
		requests := 0
		client := fake(t, func(w http.ResponseWriter, r *http.Request) {
			requests++
			if r.URL.Path != "/add-checkpoint" {
				t.Errorf("%s: requested %s", what, r.URL)
			}
			maps.Copy(w.Header(), c.header)
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		client.Verifier = key.Verifier()
		got, err := client.Submit(t.Context(), 0, signed, l.prove)
		switch {
		case c.want == "" && (err != nil || got.Line != good):
			t.Errorf("%s: %q, %v", what, got.Line, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 600):
			t.Errorf("%s: %v, want %q", what, err, c.want)
		case c.want != "" && got.Line != "":
			t.Errorf("%s: a cosignature beside an error", what)
		case requests > 2:
			t.Errorf("%s: %d requests", what, requests)
		}
	}
}

// TestOldAnswerToAForkIsUnderstood: v1.0.0 of the specification answers 409
// where later versions answer 422.
func TestOldAnswerToAForkIsUnderstood(t *testing.T) {
	l := newLog(t, "a").grow(5)
	c := fake(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "another root", http.StatusConflict) })
	if _, err := c.Submit(t.Context(), 5, l.sign(), l.prove); !errors.Is(err, witness.ErrFork) {
		t.Error(err)
	}
}

func TestAWitnessThatDoesNotAnswerIsGivenUp(t *testing.T) {
	l := newLog(t, "a").grow(5)
	release := make(chan struct{})
	c := fake(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	c.Timeout = 20 * time.Millisecond
	if _, err := c.Submit(t.Context(), 0, l.sign(), l.prove); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the timeout: %v", err)
	}
	c.Timeout = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Submit(ctx, 0, l.sign(), l.prove); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller gave up: %v", err)
	}
}

func TestProofsThatCannotBeSent(t *testing.T) {
	l := newLog(t, "a").grow(5)
	asked := 0
	c := fake(t, func(http.ResponseWriter, *http.Request) { asked++ })
	broken := errors.New("a tile is lost")
	_, err := c.Submit(t.Context(), 3, l.sign(), func(context.Context, int64, int64) ([]tlog.Hash, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("an error of the prover: %v", err)
	}
	_, err = c.Submit(t.Context(), 3, l.sign(), func(context.Context, int64, int64) ([]tlog.Hash, error) { return make([]tlog.Hash, 64), nil })
	if err == nil || !strings.Contains(err.Error(), "64") {
		t.Errorf("a proof of 64 hashes: %v", err)
	}
	for _, bad := range []string{"", "a\n", "a\n1\n\n", "a\n1\nx\n\n— a AAAAAAAA\n"} {
		if _, err := c.Submit(t.Context(), 0, []byte(bad), l.prove); !errors.Is(err, checkpoint.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if asked != 0 {
		t.Errorf("%d requests were sent", asked)
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	key := newKey(t, "w").Verifier()
	for url, ok := range map[string]bool{
		"https://w.example": true, "http://127.0.0.1:8080/w/": true,
		"": false, "w.example": false, "ftp://w.example": false, "https://": false,
		"https://w.example/?q": false, "https://w.example/#f": false, "https://w.example/%zz": false,
	} {
		err := (&witness.Client{URL: url, Verifier: key}).Validate()
		if (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
	if err := (&witness.Client{URL: "https://u:secret@w.example"}).Validate(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("without a key: %v", err)
	}
	if err := (&witness.Client{URL: "https://w.example", Verifier: key, Timeout: -1}).Validate(); err == nil {
		t.Error("a negative timeout is accepted")
	}
}
