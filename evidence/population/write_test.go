package population_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

func write(t testing.TB, log *population.Log, x population.Export) (string, population.Provenance) {
	t.Helper()
	var out bytes.Buffer
	p, err := population.Write(context.Background(), log, &out, x)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), p
}

func TestCSVHasTheTextsAndNoFormulas(t *testing.T) {
	b := newBench(t)
	b.grow(1200)
	b.close()
	log := b.head()
	for _, p := range population.All() {
		list, r := rows(t, log, population.Options{Population: p})
		text, prov := write(t, log, population.Export{Options: population.Options{Population: p}, Format: "csv", Tool: "test"})
		if n := strings.Count(text, "\r\n"); int64(n) != r.Count+1 || strings.Count(text, "\n") != n {
			t.Errorf("%s: %d lines for %d rows", p.Name, n, r.Count)
		}
		cells, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil {
			t.Fatal(p.Name, err)
		}
		for i, row := range cells[1:] {
			for j, got := range row {
				if strings.ContainsFunc(got, func(r rune) bool {
					return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028'
				}) {
					t.Errorf("%s acts: %q", p.Columns[j].Name, got)
				}
				if first, _, _ := strings.Cut(got+" ", ""); strings.ContainsAny(first, "=+@") || strings.HasPrefix(got, "-") && !isNumber(got) {
					t.Errorf("%s is a formula: %q", p.Columns[j].Name, got)
				}
				if want := population.Visible(list[i].Cells[j]); got != want && got != "'"+want {
					t.Errorf("%s: %q, want %q", p.Columns[j].Name, got, want)
				}
			}
		}
		sum := sha256.Sum256([]byte(text))
		if prov.SHA256 != hex.EncodeToString(sum[:]) || prov.Bytes != int64(len(text)) || prov.Count != r.Count || prov.Size != log.Head.Size ||
			prov.Root != log.Head.Root.String() || prov.Key != b.cfg.Key.Public() || prov.Origin != "edge-1/soc2" || len(prov.Columns) != len(p.Columns) ||
			prov.Definition.SHA256 == "" || !prov.MadeAt.IsZero() {
			t.Errorf("%s: %+v", p.Name, prov)
		}
		if r.Count > 0 && (*prov.First != r.First || *prov.Last != r.Last) || r.Count == 0 && prov.First != nil {
			t.Errorf("%s: %+v", p.Name, prov)
		}
	}
}

func isNumber(s string) bool { _, err := strconv.ParseInt(s, 10, 64); return err == nil }

func TestNDJSONIsTheRecordsAsStored(t *testing.T) {
	b := newBench(t)
	b.grow(800)
	b.close()
	log := b.head()
	for _, p := range population.All() {
		list, _ := rows(t, log, population.Options{Population: p})
		text, _ := write(t, log, population.Export{Options: population.Options{Population: p}, Format: "ndjson"})
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if text == "" {
			lines = nil
		}
		if len(lines) != len(list) {
			t.Fatalf("%s: %d lines, %d rows", p.Name, len(lines), len(list))
		}
		for i, row := range list {
			if !p.Derived && lines[i] != string(row.Record) {
				t.Errorf("record %d is not as stored", row.Seq)
			}
			var m map[string]any
			if err := json.Unmarshal([]byte(lines[i]), &m); err != nil {
				t.Error(err)
			}
			if p.Derived && m["principal"] != row.Cells[1] {
				t.Errorf("%v, want %q", m, row.Cells)
			}
		}
	}
}

func TestUnknownFormatIsAnError(t *testing.T) {
	b := newBench(t)
	b.grow(10)
	b.close()
	x := population.Export{Options: population.Options{Population: find(t, "requests")}, Format: "xls"}
	if _, err := population.Write(t.Context(), b.head(), io.Discard, x); !errors.Is(err, population.ErrOption) {
		t.Error(err)
	}
}

func TestSamplesAreProvenAndDrawnAgain(t *testing.T) {
	b := newBench(t)
	b.grow(1500)
	b.close()
	log := b.head()
	verifier, err := note.NewVerifier(b.cfg.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"requests", "denials", "principals", "lockouts"} {
		opt := population.Options{Population: find(t, name)}
		all, _ := rows(t, log, opt)
		for _, n := range []int{1, 25, 1000} {
			drawn, r, err := population.Sample(t.Context(), log, opt, n, "auditor's seed 7")
			if err != nil {
				t.Fatal(err)
			}
			if len(drawn) != min(n, len(all)) || r.Count != int64(len(all)) {
				t.Fatalf("%s: %d rows of %d for %d", name, len(drawn), r.Count, n)
			}
			var seqs []string
			for i, d := range drawn {
				record, err := log.Dir.Record(d.Row.Seq)
				if err != nil {
					t.Fatal(err)
				}
				if d.Row.Record != nil && !bytes.Equal(record, d.Row.Record) {
					t.Errorf("row %d has another record", d.Row.Seq)
				}
				if _, _, err := d.Proof.Verify(record, verifier); err != nil {
					t.Errorf("row %d: %v", d.Row.Seq, err)
				}
				if name != "principals" && i > 0 && drawn[i-1].Row.Seq >= d.Row.Seq {
					t.Error("the sample is not in order")
				}
				seqs = append(seqs, strconv.FormatInt(d.Row.Seq, 10))
			}
			again, _, err := population.Sample(t.Context(), b.head(), opt, n, "auditor's seed 7")
			if err != nil || len(again) != len(drawn) {
				t.Fatal(err)
			}
			for i := range again {
				if again[i].Row.Seq != drawn[i].Row.Seq {
					t.Error("the same seed drew another sample")
				}
			}
			if name == "denials" {
				inPython(t, all, "auditor's seed 7", log.Head.Root.String(), name, n, seqs)
			}
		}
		other, _, err := population.Sample(t.Context(), log, opt, 5, "another")
		if err != nil {
			t.Fatal(err)
		}
		same, _, err := population.Sample(t.Context(), log, opt, 5, "auditor's seed 7")
		if err != nil {
			t.Fatal(err)
		}
		differ := len(all) <= 5
		for i := range same {
			differ = differ || same[i].Row.Seq != other[i].Row.Seq
		}
		if !differ {
			t.Errorf("%s: another seed drew the same sample", name)
		}
	}
	for _, c := range []struct {
		n    int
		seed string
	}{{0, "x"}, {-1, "x"}, {1001, "x"}, {1, ""}, {1, "a\nb"}, {1, "é"}, {1, strings.Repeat("x", 201)}} {
		if _, _, err := population.Sample(t.Context(), log, population.Options{Population: find(t, "requests")}, c.n, c.seed); !errors.Is(err, population.ErrOption) {
			t.Errorf("%d %q: %v", c.n, c.seed, err)
		}
	}
}

// inPython draws a sample with the lines of the documentation.
func inPython(t *testing.T, all []population.Row, seed, root, name string, n int, want []string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatal("python3 is not there")
		}
		t.Log("python3 is not there: samples are not drawn again in it")
		return
	}
	script := `import hashlib, sys
seed, root, population, n = sys.argv[1:5]
seqs = [int(line) for line in sys.stdin]
ticket = lambda s: hashlib.sha256(f"caddy-soc2-sample-v1\n{seed}\n{root}\n{population}\n{s}".encode()).digest()
print(*sorted(sorted(seqs, key=ticket)[:int(n)]))`
	var in strings.Builder
	for _, row := range all {
		in.WriteString(strconv.FormatInt(row.Seq, 10) + "\n")
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", script, seed, root, name, strconv.Itoa(n))
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != strings.Join(want, " ") {
		t.Errorf("in Python %s %v, want %v", out, err, want)
	}
}

// FuzzMembers reads members as encoding/json does.
func FuzzMembers(f *testing.F) {
	f.Add(`{"a":"x","b":{"c":"\u0041","d":[1,"]"]},"e":-1,"f":{"b":{"c":"no"}},"g":true}`)
	f.Add(`{"a":"\\","b":{}}`)
	f.Add(`{"a":"\\\"","b":[{"c":"}"}]}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, record string) {
		got, err := population.Members([]string{"a", "b.c", "e"}, []byte(record))
		var compact bytes.Buffer
		if json.Compact(&compact, []byte(record)) != nil || compact.String() != record || !strings.HasPrefix(record, "{") {
			return // not what records are; it must only not panic
		}
		var top map[string]json.RawMessage
		if json.Unmarshal([]byte(record), &top) != nil || strings.Contains(record, `\u`) || duplicated(record) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", record, err)
		}
		var b map[string]json.RawMessage
		_ = json.Unmarshal(top["b"], &b)
		for i, want := range []json.RawMessage{top["a"], b["c"], top["e"]} {
			if got[i] != string(want) {
				t.Errorf("%s: member %d is %q, want %q", record, i, got[i], want)
			}
		}
	})
}

// duplicated reports whether a name may be there twice.
func duplicated(record string) bool {
	for _, name := range []string{`"a"`, `"b"`, `"c"`, `"e"`} {
		if strings.Count(record, name) > 1 {
			return true
		}
	}
	return false
}

func FuzzGuard(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := population.Guard(s)
		if strings.ContainsFunc(got, unicode.IsControl) || got != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(got)[0]) {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}

func FuzzPeriod(f *testing.F) {
	f.Add("2026-01-01", "2026-02-01T00:00:00Z")
	f.Add("", "9999-12-31T23:59:59.999999999-23:59")
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, from, to string) {
		p, err := population.ParsePeriod(from, to, now)
		if err != nil {
			if !errors.Is(err, population.ErrPeriod) {
				t.Error(err)
			}
			return
		}
		if !p.From.IsZero() && (p.From.After(now) || !p.To.IsZero() && !p.From.Before(p.To)) {
			t.Errorf("%v", p)
		}
		text, err := json.Marshal(p)
		var again population.Period
		if err != nil || json.Unmarshal(text, &again) != nil || !again.From.Equal(p.From) || !again.To.Equal(p.To) {
			t.Errorf("%s %v", text, err)
		}
	})
}

var _ population.Encoder = (*population.CSV)(nil)
