package witness_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
)

func newGroup(t *testing.T, clients ...*witness.Client) *witness.Group {
	t.Helper()
	g, err := witness.NewGroup(clients...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// names lists who cosigned.
func names(w witness.Witnessed) string {
	var b strings.Builder
	for _, c := range w.By {
		b.WriteString(c.Witness.Name() + " ")
	}
	return strings.TrimSpace(b.String())
}

func TestCosignaturesAreMergedInOrder(t *testing.T) {
	l := newLog(t, "a").grow(300)
	w1, w2 := newWitness(t, "w1", l.known()), newWitness(t, "w2", l.known())
	stranger := newWitness(t, "stranger")
	down := &witness.Client{URL: "http://127.0.0.1:1", Verifier: newKey(t, "down").Verifier()}
	g := newGroup(t, w2.client(), down, stranger.client(), w1.client())

	got, errs := g.Submit(t.Context(), l.sign(), l.prove)
	if names(got) != "w2 w1" || got.Head != l.head() || len(errs) != 4 {
		t.Fatalf("%q, %v", names(got), errs)
	}
	if errs[0] != nil || errs[1] == nil || !errors.Is(errs[2], witness.ErrUnknownLog) || errs[3] != nil {
		t.Errorf("errors: %v", errs)
	}
	h, by, others, err := checkpoint.Cosigned(got.Note, []note.Verifier{l.key}, g.Verifiers())
	if err != nil || h != l.head() || len(by) != 2 || len(others) != 0 {
		t.Errorf("the merged note: %v, %q, %v", by, others, err)
	}
	if _, _, err := checkpoint.Open(got.Note, l.key); err != nil {
		t.Errorf("the merged note is not accepted as a checkpoint: %v", err)
	}
	if !bytes.HasPrefix(got.Note, l.sign()) {
		t.Errorf("the merged note does not begin with the checkpoint:\n%s", got.Note)
	}

	// Again, with what came back: no line is there twice, and the newer time
	// wins.
	w1.clock.add(time.Minute)
	again, errs := g.Submit(t.Context(), got.Note, l.prove)
	if names(again) != "w2 w1" || errs[0] != nil || bytes.Count(again.Note, []byte("\n—")) != 3 {
		t.Errorf("%q, %v\n%s", names(again), errs, again.Note)
	}
	if want := by[1].Time.Add(time.Minute); !again.By[1].Time.Equal(want) {
		t.Errorf("w1 cosigned at %v, want %v", again.By[1].Time, want)
	}
}

// TestAnOlderCosignatureIsKeptWhenAWitnessIsDown: and one that does not verify
// is not.
func TestAnOlderCosignatureIsKeptWhenAWitnessIsDown(t *testing.T) {
	l := newLog(t, "a").grow(3)
	w := newWitness(t, "w", l.known())
	got, errs := newGroup(t, w.client()).Submit(t.Context(), l.sign(), l.prove)
	if errs[0] != nil {
		t.Fatal(errs)
	}
	down := w.client()
	down.URL = "http://127.0.0.1:1"
	g := newGroup(t, down)
	again, errs := g.Submit(t.Context(), got.Note, l.prove)
	if errs[0] == nil || !bytes.Equal(again.Note, got.Note) || names(again) != "w" {
		t.Errorf("%v\n%s", errs, again.Note)
	}
	forged := append(bytes.Clone(got.Note[:len(got.Note)-6]), "AAA==\n"...)
	again, _ = g.Submit(t.Context(), forged, l.prove)
	if !bytes.Equal(again.Note, l.sign()) || names(again) != "" {
		t.Errorf("a forged cosignature was kept:\n%s", again.Note)
	}
}

func TestResumeKnowsWhatWitnessesSaw(t *testing.T) {
	l := newLog(t, "a").grow(300)
	var requests atomic.Int32
	w := newWitness(t, "w", l.known())
	c := w.client()
	c.HTTP = &http.Client{Transport: counting{&requests}}
	got, errs := newGroup(t, c).Submit(t.Context(), l.sign(), l.prove)
	if errs[0] != nil {
		t.Fatal(errs)
	}
	for _, resume := range []bool{true, false} {
		g := newGroup(t, c)
		if resume {
			kept, err := g.Resume(got.Note, l.key)
			if err != nil || kept.Head != got.Head || names(kept) != "w" {
				t.Fatal(kept, err)
			}
		}
		l.grow(l.head().Size + 10)
		requests.Store(0)
		if _, errs := g.Submit(t.Context(), l.sign(), l.prove); errs[0] != nil {
			t.Fatal(errs)
		}
		if n := requests.Load(); n != map[bool]int32{true: 1, false: 2}[resume] {
			t.Errorf("resumed %v: %d requests", resume, n)
		}
		l.grow(l.head().Size + 10)
		requests.Store(0)
		if _, errs := g.Submit(t.Context(), l.sign(), l.prove); errs[0] != nil || requests.Load() != 1 {
			t.Errorf("the next: %v, %d requests", errs, requests.Load())
		}
	}
	if _, err := newGroup(t, c).Resume(got.Note, newLog(t, "a").key); !errors.Is(err, checkpoint.ErrKey) {
		t.Errorf("a note of another log: %v", err)
	}
}

type counting struct{ n *atomic.Int32 }

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

func TestAMalformedCheckpointIsNotSubmitted(t *testing.T) {
	w := newWitness(t, "w")
	g := newGroup(t, w.client())
	only, err := checkpoint.Sign(checkpoint.Head{Origin: "a"}, w.key.At(time.Unix(1e9, 0)))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, []byte("a\n1\n"), only} {
		got, errs := g.Submit(t.Context(), bad, nil)
		if len(errs) != 1 || errs[0] == nil || got.Note != nil {
			t.Errorf("%q: %v, %v", bad, got, errs)
		}
	}
}

func TestAGroupHasEachKeyOnce(t *testing.T) {
	c := &witness.Client{URL: "http://127.0.0.1:1", Verifier: newKey(t, "w").Verifier()}
	other := *c
	other.URL = "http://127.0.0.1:2"
	if _, err := witness.NewGroup(c, &other); err == nil {
		t.Error("accepted two clients of one key")
	}
	if _, err := witness.NewGroup(&witness.Client{URL: "x"}); err == nil {
		t.Error("accepted a wrong URL")
	}
}

// TestInstancesWitnessEachOther: three logs, three witnesses, all at once.
func TestInstancesWitnessEachOther(t *testing.T) {
	logs := []*testLog{newLog(t, "log0"), newLog(t, "log1"), newLog(t, "log2")}
	var known []witness.Log
	for _, l := range logs {
		known = append(known, l.known())
	}
	var peers []*testWitness
	for i := range logs {
		var others []witness.Log
		others = append(append(others, known[:i]...), known[i+1:]...)
		peers = append(peers, newWitness(t, logs[i].origin+"/witness", others...))
	}
	var all sync.WaitGroup
	for i, l := range logs {
		var clients []*witness.Client
		for j, p := range peers {
			if j != i {
				clients = append(clients, p.client())
			}
		}
		g := newGroup(t, clients...)
		all.Go(func() {
			for size := int64(1); size < 2000; size = size*2 + int64(i) {
				l.grow(size)
				if got, errs := g.Submit(t.Context(), l.sign(), l.prove); errors.Join(errs...) != nil || len(got.By) != 2 {
					t.Errorf("%s at %d: %v", l.origin, size, errs)
				}
			}
		})
	}
	all.Wait()
}
