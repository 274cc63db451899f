package ratelimit

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// book is a log that keeps records in memory.
type book struct {
	mu      sync.Mutex
	closed  atomic.Bool
	records []string
	durable int // of which somebody waited for so many
}

func (b *book) Hold() bool { return !b.closed.Load() }
func (b *book) Release()   {}
func (b *book) Write(r audit.Body, wait bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, string(r.AppendBody(nil, "test")))
	if wait {
		b.durable++
	}
	return nil
}
func (b *book) Log() *audit.Log { return nil }

// open makes a book the process's log while a test runs.
func open(t *testing.T) *book {
	b, before := new(book), ledger.Current()
	ledger.Set(b)
	t.Cleanup(func() { ledger.Set(before) })
	return b
}

func (b *book) kinds() (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.records {
		_, rest, _ := strings.Cut(r, `"kind":"`)
		kind, _, _ := strings.Cut(rest, `"`)
		list = append(list, kind)
	}
	return list
}

func TestEachActionIsADurableRecord(t *testing.T) {
	s := &site{t: t, handler: ready(t, "zone actions {\n limit 1/1h\n key header:X-Key\n}")}
	b := open(t)
	s.get("/", alice, header("X-Key", "hush"))
	for _, c := range []struct{ method, path, body string }{
		{"GET", "", ""},
		{"GET", "/usage?key=hush", ""},
		{"POST", "/ban", `{"by":"ops","reason":"why","key":"hush","for":"1h"}`},
		{"POST", "/unban", `{"by":"ops","reason":"why","key":"hush"}`},
		{"POST", "/reset", `{"by":"ops","reason":"why","key":"hush"}`},
		{"POST", "/reset", `{"by":"ops","reason":"why","all":true}`},
	} {
		if got, answer := call(t, c.method, "/soc2/v1/limits/actions"+c.path, c.body); got != http.StatusOK {
			t.Errorf("%s: %d %v", c.path, got, answer)
		}
	}
	want := []string{"evidence.read", "evidence.read", "limit.ban", "limit.unban", "limit.reset", "limit.reset"}
	if got := b.kinds(); !slices.Equal(got, want) || b.durable != len(want) {
		t.Errorf("%q, %d durable", got, b.durable)
	}
	for _, r := range b.records {
		if strings.Contains(r, "hush") {
			t.Error("a key is in the log:", r)
		}
		if strings.Contains(r, "limit.") && (!strings.Contains(r, "ops") || !strings.Contains(r, "why")) {
			t.Error("who and why is missing:", r)
		}
	}
	b.closed.Store(true)
	if got, _ := call(t, "GET", "/soc2/v1/limits/actions", ""); got != http.StatusServiceUnavailable {
		t.Errorf("keys were shown without a record: %d", got)
	}
}

// TestLimitingEndsWithTheLog also shows that what was told is not told again
// when the zone ends.
func TestLimitingEndsWithTheLog(t *testing.T) {
	b := open(t)
	b.closed.Store(true) // the keeper writes nothing meanwhile
	h, end, err := provision(t, "zone ended {\n limit 1/1h\n}")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, handler: h}
	s.admitted(5, "/", alice)
	last := new(book)
	End(func(r audit.Body) { _ = last.Write(r, false) })
	got := last.kinds()
	if len(got) == 0 || got[len(got)-1] != "limit.end" || !strings.Contains(last.records[len(got)-1], `"refused":4`) {
		t.Errorf("%q", last.records)
	}
	b.closed.Store(false)
	end()
	if got := b.kinds(); len(got) != 0 {
		t.Errorf("%q was told again", got)
	}
}
