package packer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// TestVerifiersAgreeOnPacksDoctoredAtRandom: who holds the key changes something
// somewhere and signs. No verifier takes it, and both say the same.
func TestVerifiersAgreeOnPacksDoctoredAtRandom(t *testing.T) {
	rounds := 20
	if n, err := strconv.Atoi(os.Getenv("SOC2_MUTATIONS")); err == nil {
		rounds = n
	}
	s := newSite(t, "edge-1/soc2").days()
	v, err := s.key.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	packs := [][]byte{s.make(true), s.make(false)}
	seed, _ := strconv.ParseUint(os.Getenv("SOC2_SEED"), 10, 64)
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), seed))
		d := doctor(t, s, packs[i%2])
		what := d.mutate(r)
		if what == "" {
			continue
		}
		b := d.insider()
		code := 0
		res, err := pack.Verify(bytes.NewReader(b), int64(len(b)), []note.Verifier{v}, pack.Options{})
		switch {
		case errors.Is(err, pack.ErrVersion):
			code = 3
		case err != nil:
			t.Errorf("%d: %s: %v", i, what, err)
		case !res.Verified:
			code = 1
		}
		got, said := python(t, b, s)
		if got == 0 && onlyFirst(what) {
			got = 1
		}
		known := code != 0 || strings.Contains(strings.Join(res.Unchecked, "\n"), "or be another")
		if !known || code != got || strings.Contains(said, "Traceback") {
			t.Errorf("%d: full %t: %s: exit %d %q, verify.py %d: %s", i, i%2 == 0, what, code, res.Problems, got, said)
		}
	}
}

// onlyFirst reports whether only the first verifier makes the changed file again.
func onlyFirst(what string) bool {
	return strings.HasPrefix(what, "oscal/") || strings.HasPrefix(what, pack.PageFile) || strings.HasPrefix(what, pack.ReadmeFile) || strings.HasPrefix(what, pack.ResultsFile)
}

// mutate changes a file and says what; nothing if it says the same as before.
func (d *doctored) mutate(r *rand.Rand) string {
	d.t.Helper()
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(d.files)), func(n string) bool {
		return n == pack.ManifestFile || n == pack.EnvelopeFile || len(d.files[n]) == 0
	})
	name := names[r.IntN(len(names))]
	if r.IntN(3) == 0 {
		name = []string{pack.ReportFile, d.folder + pack.LogFile}[r.IntN(2)]
	}
	before := bytes.Clone(d.files[name])
	what := ""
	for range 100 {
		switch k := r.IntN(4); {
		case strings.HasSuffix(name, ".json") && k < 3:
			what = d.mutateJSON(name, r)
		case k == 0:
			what = fmt.Sprint("cut, ", len(before))
			d.files[name] = before[:r.IntN(len(before))]
		case k == 1 && bytes.Count(before, []byte("\n")) > 1:
			d.lines(name, func(l []string) []string {
				i, j := r.IntN(len(l)), r.IntN(len(l))
				what = fmt.Sprintf("lines %d and %d", i, j)
				l[i], l[j] = l[j], l[i]
				return l
			})
		default:
			i := r.IntN(len(before))
			d.files[name] = bytes.Clone(before)
			d.files[name][i] ^= 1 << r.IntN(7)
			what = fmt.Sprintf("byte %d: %q to %q", i, before[max(0, i-20):min(len(before), i+20)], d.files[name][i])
		}
		if !bytes.Equal(d.files[name], before) {
			break
		}
	}
	if strings.HasSuffix(name, ".json") && same(before, d.files[name]) {
		return ""
	}
	return name + ": " + what
}

// same reports whether two JSON texts have the same value.
func same(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// mutateJSON changes a value somewhere.
func (d *doctored) mutateJSON(name string, r *rand.Rand) (what string) {
	d.edit(name, func(v map[string]any) {
		var in any = v
		for depth := 0; ; depth++ {
			switch x := in.(type) {
			case map[string]any:
				if len(x) == 0 {
					x["new"], what = "new", what+": a new member"
					return
				}
				keys := slices.Sorted(maps.Keys(x))
				key := keys[r.IntN(len(keys))]
				what += "." + key
				if to, stop := change1(x[key], r); stop {
					if x[key] = to; r.IntN(8) == 0 {
						delete(x, key)
					}
					what += fmt.Sprintf(" = %v", x[key])
					return
				}
				in = x[key]
			case []any:
				if len(x) == 0 {
					what += ": nothing"
					return
				}
				i := r.IntN(len(x))
				what += fmt.Sprintf("[%d]", i)
				if to, stop := change1(x[i], r); stop {
					x[i] = to
					what += fmt.Sprintf(" = %v", to)
					return
				}
				in = x[i]
			}
		}
	})
	return what
}

func change1(v any, r *rand.Rand) (to any, stop bool) {
	switch x := v.(type) {
	case json.Number:
		n, _ := x.Int64()
		return []any{n + 1, n - 1, 0, -n, true, nil, json.Number(x.String() + ".0"), n + 3600e9, json.Number("1e400"), x.String()}[r.IntN(10)], true
	case string:
		return []any{x + "x", "", nil, strings.ToUpper(x), 0, []any{}, x + "\u0000", strings.Replace(x, "2", "3", 1), map[string]any{}}[r.IntN(9)], true
	case bool:
		return []any{!x, nil, 1, "true"}[r.IntN(4)], true
	case nil:
		return []any{0, "", false}[r.IntN(3)], true
	}
	if r.IntN(6) == 0 {
		return []any{nil, []any{}, map[string]any{}, 0, ""}[r.IntN(5)], true
	}
	return nil, false
}
