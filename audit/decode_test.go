package audit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecodePassesOverWhatLaterVersionsAdd(t *testing.T) {
	record := framed(t, realistic(), "edge-1")
	want, err := Decode(record)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{`"kind":`, `"client":`, `"ip":`, `"duration_ns":`, `"crc":`} {
		later := bytes.Replace(record, []byte(at), []byte(`"later":{"a":[1,{"b":null}],"c":"\u0041"},`+at), 1)
		got, err := Decode(later)
		if err != nil || !bytes.Equal(framed(t, got.Body, got.Instance), framed(t, want.Body, want.Instance)) {
			t.Errorf("before %s: %v, %+v", at, err, got.Body)
		}
	}
	got, err := Decode([]byte(`{"v":1,"seq":7,"pos":0,"time":"2026-11-21T03:04:05.000000006Z","kind":"later.kind","a":1,"crc":"00000000"}`))
	if err != nil || got.Body != nil || got.Kind != "later.kind" || got.Seq != 7 {
		t.Errorf("a later kind is read as %+v, %v", got, err)
	}
}

func TestDecodeReadsMembersInAnyOrder(t *testing.T) {
	got, err := Decode([]byte(`{"crc":"00000000","bytes":1,"duration_ns":5,"records":3,"first":2,"kind":"log.verify","problems":["b","a"],"time":"2026-11-21T03:04:05.000000006Z","pos":0,"seq":7,"v":1}`))
	v, ok := got.Body.(*LogVerify)
	if err != nil || !ok || v.First != 2 || v.Records != 3 || v.Bytes != 1 || v.Duration != 5 || !slices.Equal(v.Problems, []string{"b", "a"}) {
		t.Errorf("%+v, %v", got.Body, err)
	}
}

func TestDecodeRefusesWhatIsNoRecord(t *testing.T) {
	const good = `{"v":1,"seq":7,"pos":0,"time":"2026-11-21T03:04:05.000000006Z","kind":"log.gap","reason":"r","refused":1,"served":2,"late":0,"lost":3,"rules":{"a":1},"cut":["reason"],"crc":"00000000"}`
	if _, err := Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, bad, why string }{
		{`{"v"`, `["v"`, "wanted"},
		{`"}`, `"`, "JSON"},
		{`"v":1`, `"v":2`, "version 2"},
		{`"v":1,`, ``, `"v": it is missing`},
		{`"seq":7`, `"seq":7.5`, "whole number"},
		{`"seq":7`, `"seq":07`, "JSON"},
		{`"seq":7`, `"seq":9223372036854775808`, "whole number"},
		{`"seq":7`, `"seq":"7"`, "whole number"},
		{`"pos":0`, `"pos":0,"pos":0`, "twice"},
		{`2026-11-21T03:04:05.000000006Z`, `2026-11-21T03:04:05Z`, "nine digits"},
		{`2026-11-21T03:04:05.000000006Z`, `2026-13-21T03:04:05.000000006Z`, "nine digits"},
		{`2026-11-21T03:04:05.000000006Z`, `2026-11-21T03:04:05.0000+01:00`, "nine digits"},
		{`"kind":"log.gap",`, ``, `"kind": it is missing`},
		{`"reason":"r"`, `"reason":1`, "a text"},
		{`"reason":"r"`, `"reason":"\\y"`, "backslash"},
		{`"reason":"r"`, `"reason":"\\x4"`, "backslash"},
		{`"reason":"r"`, `"reason":"\\"`, "backslash"},
		{`"reason":"r"`, `"reason":"\ud834"`, "surrogate"},
		{`"reason":"r"`, `"reason":"\udd1e\ud834"`, "surrogate"},
		{`"reason":"r"`, `"reason":"\q"`, "JSON"},
		{`"reason":"r"`, "\"reason\":\"\n\"", "JSON"},
		{`"reason":"r"`, "\"reason\":\"\xff\"", "UTF-8"},
		{`"refused":1,`, ``, `"refused": it is missing`},
		{`{"a":1}`, `{"a":"1"}`, "whole number"},
		{`{"a":1}`, `["a"]`, "wanted"},
		{`["reason"]`, `{"reason":1}`, "wanted"},
		{`["reason"]`, `["reason"`, "JSON"},
		{`["reason"]`, `[` + strings.Repeat(`"reason",`, 64) + `"a"]`, "too many"},
		{`"reason":"r"`, `"reason": "r"`, "JSON"},
		{`"lost":3`, `"lost":3,"deep":` + strings.Repeat("[", 100_000), "JSON"},
		{`"lost":3`, strings.Repeat(`"x":1,`, 1) + manyMembers(600) + `"lost":3`, "too many members"},
	} {
		bad := strings.Replace(good, c.old, c.bad, 1)
		if _, err := Decode([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.300s: %v, want an error with %q", bad, err, c.why)
		}
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"m` + strings.Repeat("x", i%9) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + `":1,`)
	}
	return b.String()
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a", `\x41`: "A", `\xff\x5c\x5Cx`: "\xff\\\\x", `é\x00`: "é\x00"} {
		if got, ok := Unescape(in); !ok || string(got) != want {
			t.Errorf("%q gives %q, %v", in, got, ok)
		}
	}
	for _, bad := range []string{`\`, `\x`, `\x4`, `\xg0`, `\x0g`, `\n`, `a\\`, `\X41`} {
		if got, ok := Unescape(bad); ok {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

// FuzzDecode reads any bytes. What it can read it must be able to write, read
// and write again.
func FuzzDecode(f *testing.F) {
	for _, kind := range allKinds(f) {
		for seed := range uint64(3) {
			f.Add(framed(f, newFiller(seed).body(kind), "edge-1"))
		}
	}
	f.Add([]byte(`{"v":1,"seq":0,"pos":0,"time":"2026-11-21T03:04:05.000000006Z","kind":"request","id":"01020304-0506-7708-890a-0b0c0d0e0f10","response":{"status":1,"bytes":1},"duration_ns":1}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		got, err := Decode(record)
		if err == nil && !json.Valid(record) {
			t.Fatalf("it is read, but is no JSON: %q", record)
		}
		if err == nil && got.Body != nil {
			roundTrip(t, got.Body, got.Instance)
		}
	})
}

// FuzzEveryKind writes bodies whose texts, lists and numbers come from the
// fuzzer.
func FuzzEveryKind(f *testing.F) {
	kinds := allKinds(f)
	f.Add(uint64(1), "a", 1, 3)
	f.Add(uint64(2), "\x00\xff\\", 4000, 70)
	f.Add(uint64(3), "a=b&", 100, 600)
	f.Fuzz(func(t *testing.T, seed uint64, s string, repeat, items int) {
		fill := newFiller(seed)
		s = strings.Repeat(s, 1+min(max(repeat, 0), 100_000/(len(s)+1)))
		if fill.IntN(2) == 0 {
			fill.zero = 0
		}
		fill.text = func(f *filler) string {
			if f.IntN(4) == 0 {
				return odd(f)
			}
			return s[:f.IntN(len(s)+1)]
		}
		fill.items = func(f *filler) int { return f.IntN(min(max(items, 1), 1000)) }
		roundTrip(t, fill.body(kinds[seed%uint64(len(kinds))]), s)
	})
}

// FuzzJSON compares the JSON reader with the standard library's.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,"\u00e9\ud834\udd1e\n",true,false,null,{}]}`, `[]`, `""`, `01`, `1.`, `{"a"}`, `[1,]`, `"\ud800"`, `-`, `nul`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var compact bytes.Buffer
		want := utf8.Valid(b) && json.Compact(&compact, b) == nil && bytes.Equal(compact.Bytes(), b)
		got := validJSON(b)
		if deep := bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxDepth; got != want && !deep {
			t.Fatalf("%q is valid: %v, want %v", b, got, want)
		}
		if !got {
			return
		}
		safe := appendSafe(nil, b)
		if !validJSON(safe) || !bytes.Equal(appendSafe(nil, safe), safe) {
			t.Errorf("%q is written as %q", b, safe)
		}
		if b[0] == '"' {
			var want string
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			if s, err := unquote(string(b)); err == nil && s != want {
				t.Errorf("%q is read as %q, want %q", b, s, want)
			}
		}
	})
}
