package audit

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// hostile makes a text that is as long as can be when it is written.
func hostile(fill string, n int) func(*filler) string {
	s := strings.Repeat(fill, n)
	return func(*filler) string { return s }
}

// TestEveryRecordFits fills every text and list of every kind, with what takes
// the most room when it is written, to just under and far over each limit.
func TestEveryRecordFits(t *testing.T) {
	seen := map[reflect.Type]bool{}
	for _, kind := range allKinds(t) {
		typ := reflect.TypeOf(blank(kind))
		if seen[typ] {
			continue
		}
		seen[typ] = true
		for _, fill := range []string{"a", "\x00", "\xff", "\u0085", "k=&"} {
			for _, n := range []int{64, 256, 5000} {
				for _, items := range []int{16, 600} {
					f := &filler{Rand: rand.New(rand.NewPCG(1, 2)), text: hostile(fill, n), items: func(*filler) int { return items }}
					checkHostile(t, f, kind)
				}
			}
		}
	}
}

func checkHostile(t *testing.T, f *filler, kind Kind) {
	t.Helper()
	body := f.body(kind)
	many := make([]string, 100)
	for i := range many {
		many[i] = strings.Repeat("p", 60) + strconv.Itoa(i+1000)
	}
	counts := make([]Count, len(many))
	for i, name := range many {
		counts[i] = Count{name, -1 << 63}
	}
	if s := reflect.ValueOf(body).Elem().FieldByName("Shortened"); f.text(f)[0] == 0 { // also as if read back
		s.Set(reflect.ValueOf(Shortened{many, counts}))
	}
	got := shortened(roundTrip(t, body, f.text(f)))
	if n := len(got.Cut) + len(got.LeftOut); n >= maxNotes && f.text(f)[0] != 0 {
		t.Errorf("%s: with %d notes of what was cut, some may be missing", kind, n)
	}
}

func TestPersonalBoxIsTheLastToGo(t *testing.T) {
	f := &filler{Rand: rand.New(rand.NewPCG(1, 2)), text: hostile("\x00", 70_000), items: func(*filler) int { return 600 }}
	for _, kind := range []Kind{KindIntent, KindOpening, KindRequest} {
		body := f.body(kind)
		personal := reflect.ValueOf(body).Elem().FieldByName("Personal")
		for size, kept := range map[int]bool{MaxPersonal: true, MaxPersonal + 1: false} {
			personal.SetBytes(bytes.Repeat([]byte{0xff}, size))
			got := reflect.ValueOf(roundTrip(t, body, ""))
			n := got.Elem().FieldByName("Personal").Len()
			if s := shortened(got.Interface().(Body)); kept && n != size || !kept && (n != 0 || indexCount(s.LeftOut, "personal") < 0) {
				t.Errorf("%s: of a box of %d bytes, %d are kept, and left out is %v", kind, size, n, s.LeftOut)
			}
		}
	}
}

func TestLongestHeadersAreLeftOutFirst(t *testing.T) {
	ev := Event{Path: "/kept"}
	for i := range maxItems {
		ev.RequestHeaders = append(ev.RequestHeaders, Header{"short", strconv.Itoa(i)}, Header{"long", strings.Repeat("\x00", maxValue)})
	}
	ev.RequestHeaders = ev.RequestHeaders[:maxItems]
	got := roundTrip(t, &ev, "").(*Event)
	for _, h := range got.RequestHeaders {
		if h.Name != "short" {
			t.Fatalf("a long one is kept: %v", h.Name)
		}
	}
	if len(got.RequestHeaders) != maxItems/2 || !slices.Equal(got.LeftOut, []Count{{"request.headers", maxItems / 2}}) || got.Path != ev.Path || got.Cut != nil {
		t.Errorf("%d headers are kept, left out is %v, cut is %v", len(got.RequestHeaders), got.LeftOut, got.Cut)
	}
}

func TestLongDiffIsKeptAsItsHash(t *testing.T) {
	for _, diff := range []string{`["` + strings.Repeat("x", maxJSON) + `"]`, "not JSON", "[1, 2]", "[\"\xff\"]", `["` + strings.Repeat("<", maxJSON/4) + `"]`} {
		got := roundTrip(t, &ConfigChange{Diff: JSON{Value: []byte(diff)}}, "").(*ConfigChange)
		if got.Diff.Value != nil || got.Diff.Bytes != int64(len(diff)) || len(got.Diff.SHA256) != 64 || !slices.Equal(got.Cut, []string{"diff"}) {
			t.Errorf("%.20q is kept as %+v, %v", diff, got.Diff, got.Cut)
		}
	}
	diff := `[{"op":"replace","path":"/a","value":"x \u202e\"\\ ` + "\u202e\x7f<" + `"}]`
	got := roundTrip(t, &ConfigChange{Diff: JSON{Value: []byte(diff)}}, "").(*ConfigChange)
	var a, b any
	if json.Unmarshal([]byte(diff), &a) != nil || json.Unmarshal(got.Diff.Value, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%s is kept as %s", diff, got.Diff.Value)
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 1<<20)
	f := newFiller(7)
	f.zero, f.items = 0, func(*filler) int { return 70 }
	for _, fill := range []func(*filler) string{odd, hostile("\x00", 5000)} { // and when it is shortened
		f.text = fill
		for _, kind := range allKinds(t) {
			body := f.body(kind)
			if n := testing.AllocsPerRun(20, func() { body.AppendBody(buf, "edge-1") }); n != 0 {
				t.Errorf("%s: %v allocations", kind, n)
			}
		}
	}
	ev := realistic()
	if n := testing.AllocsPerRun(200, func() { ev.AppendBody(buf, "edge-1") }); n != 0 {
		t.Errorf("a realistic request: %v allocations", n)
	}
}

func TestBodyIsAppended(t *testing.T) {
	ev := realistic()
	want := string(ev.AppendBody(nil, "edge-1"))
	if got := string(ev.AppendBody([]byte("before"), "edge-1")); got != "before"+want {
		t.Errorf("%s", got)
	}
}
