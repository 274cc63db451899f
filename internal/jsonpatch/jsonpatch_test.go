package jsonpatch_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

func parse(t testing.TB, text string) any {
	t.Helper()
	v, err := jsonpatch.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := jsonpatch.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPatchIsAsShortAsItReads(t *testing.T) {
	for _, c := range []struct{ name, from, to, patch string }{
		{"equal", `{"a":[1,{"b":2}]}`, `{"a":[1,{"b":2}]}`, `[]`},
		{"member replaced", `{"a":1,"b":2}`, `{"a":1,"b":3}`, `[{"op":"replace","path":"/b","value":3}]`},
		{"member added and removed", `{"a":1}`, `{"b":1}`, `[{"op":"remove","path":"/a"},{"op":"add","path":"/b","value":1}]`},
		{"whole document", `null`, `{"a":1}`, `[{"op":"replace","path":"","value":{"a":1}}]`},
		{"to null", `{"a":1}`, `null`, `[{"op":"replace","path":"","value":null}]`},
		{"escaped names", `{"a/b":{"c~d":1}}`, `{"a/b":{"c~d":2}}`, `[{"op":"replace","path":"/a~1b/c~0d","value":2}]`},
		{"number and string differ", `{"a":1}`, `{"a":"1"}`, `[{"op":"replace","path":"/a","value":"1"}]`},
		{"kind changes", `{"a":[1]}`, `{"a":{"0":1}}`, `[{"op":"replace","path":"/a","value":{"0":1}}]`},
		{"item at the front", `[2,3]`, `[1,2,3]`, `[{"op":"add","path":"/0","value":1}]`},
		{"item out of the middle", `[1,2,3]`, `[1,3]`, `[{"op":"remove","path":"/1"}]`},
		{"route put before others", `{"routes":[{"h":1},{"h":2}]}`, `{"routes":[{"h":9},{"h":1},{"h":2}]}`, `[{"op":"add","path":"/routes/0","value":{"h":9}}]`},
		{"route changed in place", `[{"h":1},{"h":2,"x":{"dial":"a"}},{"h":3}]`, `[{"h":1},{"h":2,"x":{"dial":"b"}},{"h":3}]`, `[{"op":"replace","path":"/1/x/dial","value":"b"}]`},
		{"route with an id changes and moves", `[{"@id":"a","v":1},{"@id":"b","v":1}]`, `[{"@id":"new"},{"@id":"a","v":1},{"@id":"b","v":2}]`, `[{"op":"add","path":"/0","value":{"@id":"new"}},{"op":"replace","path":"/2/v","value":2}]`},
		{"one id is not another", `[{"@id":"a","v":1}]`, `[{"@id":"b","v":1}]`, `[{"op":"remove","path":"/0"},{"op":"add","path":"/0","value":{"@id":"b","v":1}}]`},
		{"html stays", `{"a":"<"}`, `{"a":">&"}`, `[{"op":"replace","path":"/a","value":">&"}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ops := jsonpatch.Diff(parse(t, c.from), parse(t, c.to))
			if got := text(t, ops); got != c.patch {
				t.Errorf("patch %s\nwant  %s", got, c.patch)
			}
			check(t, parse(t, c.from), parse(t, c.to))
		})
	}
}

// check verifies that the patch, as it is written, leads from one document to
// the other, leaves both alone and is always the same.
func check(t testing.TB, from, to any) {
	t.Helper()
	wasFrom, wasTo := text(t, from), text(t, to)
	written := text(t, jsonpatch.Diff(from, to))
	var ops []jsonpatch.Op
	if err := json.Unmarshal([]byte(written), &ops); err != nil {
		t.Fatal(err)
	}
	got, err := jsonpatch.Apply(from, ops)
	if err != nil {
		t.Fatalf("%v\nfrom  %s\nto    %s\npatch %s", err, wasFrom, wasTo, written)
	}
	if text(t, got) != wasTo {
		t.Fatalf("from  %s\nto    %s\npatch %s\ngives %s", wasFrom, wasTo, written, text(t, got))
	}
	if text(t, from) != wasFrom || text(t, to) != wasTo {
		t.Fatal("a document was changed")
	}
	if wasFrom == wasTo != (written == "[]") {
		t.Fatalf("equal documents have the empty patch, and no others: %s %s %s", wasFrom, wasTo, written)
	}
	if again := text(t, jsonpatch.Diff(from, to)); again != written {
		t.Fatalf("two patches of the same:\n%s\n%s", written, again)
	}
}

// random makes a document. There are few names and values, so that two
// documents have much in common.
func random(r *rand.Rand, depth int) any {
	switch n := r.IntN(10); {
	case n < 3 && depth > 0:
		o := map[string]any{}
		for range r.IntN(4) {
			o[[]string{"a", "b/c", "~", "@id", "", "ä\x00"}[r.IntN(6)]] = random(r, depth-1)
		}
		return o
	case n < 6 && depth > 0:
		list := make([]any, r.IntN(6))
		for i := range list {
			list[i] = random(r, depth-1)
		}
		return list
	default:
		return []any{nil, true, false, "x", "y", json.Number("1"), json.Number("1.0"), json.Number("1e400"), ""}[r.IntN(9)]
	}
}

// mutate changes a document here and there.
func mutate(r *rand.Rand, v any, depth int) any {
	if r.IntN(12) == 0 {
		return random(r, depth)
	}
	switch v := v.(type) {
	case map[string]any:
		o := map[string]any{}
		for name, member := range v {
			if r.IntN(8) > 0 {
				o[name] = mutate(r, member, depth-1)
			}
		}
		return o
	case []any:
		list := []any{}
		for _, item := range v {
			if r.IntN(8) > 0 {
				list = append(list, mutate(r, item, depth-1))
			}
			if r.IntN(8) == 0 {
				list = append(list, random(r, depth-1))
			}
		}
		r.Shuffle(len(list)*r.IntN(5)/4, func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list
	}
	return v
}

func TestAppliedPatchGivesTheOtherDocument(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1))
		from := random(r, 5)
		check(t, from, mutate(r, from, 5))
		check(t, from, random(r, 5))
	}
}

func TestLongArraysAreComparedInBoundedSpace(t *testing.T) {
	var a, b []any
	for i := range 1100 {
		a = append(a, json.Number(fmt.Sprint(i)))
		b = append(b, json.Number(fmt.Sprint(1100-i)))
	}
	check(t, a, b)
}

func TestDeepDocumentsAreCompared(t *testing.T) {
	deep := func(leaf string) any {
		return parse(t, strings.Repeat(`{"a":[`, 300)+leaf+strings.Repeat(`]}`, 300))
	}
	check(t, deep("1"), deep("2"))
}

func TestApplyRefusesWhatIsNotThere(t *testing.T) {
	doc := parse(t, `{"a":[1],"b":{}}`)
	for _, patch := range []string{
		`[{"op":"remove","path":"/c"}]`,
		`[{"op":"remove","path":"/a/1"}]`,
		`[{"op":"remove","path":"/a/-"}]`,
		`[{"op":"replace","path":"/a/01","value":1}]`,
		`[{"op":"replace","path":"/b/c","value":1}]`,
		`[{"op":"add","path":"/b/c/d","value":1}]`,
		`[{"op":"add","path":"/a/3","value":1}]`,
		`[{"op":"move","path":"/a","from":"/b"}]`,
		`[{"op":"remove","path":""}]`,
		`[{"op":"add","path":"a","value":1}]`,
		`[{"op":"add","path":"/a/0/x","value":1}]`,
	} {
		var ops []jsonpatch.Op
		if err := json.Unmarshal([]byte(patch), &ops); err != nil {
			t.Fatal(err)
		}
		if got, err := jsonpatch.Apply(doc, ops); err == nil {
			t.Errorf("%s gave %s", patch, text(t, got))
		}
	}
}

func FuzzDiff(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,{"@id":"x"}]}`), []byte(`{"a":[2,{"@id":"x","y":1}]}`))
	f.Add([]byte(`{"a/b":1,"~":[[],{}]}`), []byte(`null`))
	f.Add([]byte(`{"a":1,"a":2}`), []byte(`[[[[]]]]`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		from, err := jsonpatch.Parse(a)
		if err != nil {
			return
		}
		to, err := jsonpatch.Parse(b)
		if err != nil {
			return
		}
		check(t, from, to)
	})
}

// BenchmarkDiff changes one of two thousand routes and takes another out.
func BenchmarkDiff(b *testing.B) {
	routes := func(n int, dial string) any {
		var list []string
		for i := range 2000 {
			if i == n {
				continue
			}
			list = append(list, fmt.Sprintf(`{"match":[{"host":["site%d.example.com"]}],"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"app%d:3000"}]}]}`, i, i))
		}
		return parse(b, strings.Replace(`{"routes":[`+strings.Join(list, ",")+`]}`, "app77:", dial, 1))
	}
	from, to := routes(1500, "app77:"), routes(900, "other:")
	for b.Loop() {
		jsonpatch.Diff(from, to)
	}
}
