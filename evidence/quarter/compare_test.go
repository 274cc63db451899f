package quarter_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// opened is a pack as the standard library reads it.
type opened struct {
	t      testing.TB
	files  map[string]*zip.File
	sums   map[string]string // SHA-256 by name
	folder string
	w      *truth
	full   bool

	criteria    []criterion
	definitions []definition
}

// compare compares all that a pack says with the truth.
func compare(t testing.TB, r io.ReaderAt, size int64, w *truth, full bool) {
	t.Helper()
	z, err := zip.NewReader(r, size)
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{t: t, files: map[string]*zip.File{}, sums: map[string]string{}, folder: "logs/edge-1_soc2/", w: w, full: full}
	for _, f := range z.File {
		o.files[f.Name] = f
	}
	o.manifest()
	o.sources()
	var got any
	o.json("report.json", &got)
	if list := differences("report.json", got, plain(w.report(full, o.criteria, o.definitions)), nil); len(list) > 0 {
		t.Errorf("%d figures differ:\n%s", len(list), strings.Join(list[:min(len(list), 40)], "\n"))
	}
	for _, name := range populations {
		o.population(name)
	}
	o.results()
	o.sheets()
	for i := range w.samples {
		o.sample(&w.samples[i])
	}
	o.page()
	o.oscal()
	o.log()
}

func (o *opened) read(name string) []byte {
	o.t.Helper()
	f := o.files[name]
	if f == nil {
		o.t.Fatalf("the pack has no %s", name)
	}
	in, err := f.Open()
	if err != nil {
		o.t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err != nil {
		o.t.Fatalf("%s: %v", name, err)
	}
	return b
}

func (o *opened) json(name string, v any) {
	o.t.Helper()
	if err := json.Unmarshal(o.read(name), v); err != nil {
		o.t.Fatalf("%s: %v", name, err)
	}
}

// differences lists where two JSON values differ.
func differences(path string, got, want any, list []string) []string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		names := maps.Clone(g)
		maps.Copy(names, w)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			list = differences(path+"."+name, g[name], w[name], list)
		}
		return list
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		for i := range w {
			list = differences(path+"["+strconv.Itoa(i)+"]", g[i], w[i], list)
		}
		return list
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if bytes.Equal(a, b) {
		return list
	}
	return append(list, fmt.Sprintf("%s is %.300s, and in truth %.300s", path, a, b))
}

// manifest compares the list of files with the files.
func (o *opened) manifest() {
	o.t.Helper()
	var m struct {
		PackID string `json:"pack_id"`
		Period struct{ From, To time.Time }
		Full   bool
		Logs   []struct {
			Origin, Root, Folder string
			Size                 int64 `json:"tree_size"`
		}
		Files []struct {
			Path, SHA256 string
			Size         int64
		}
	}
	o.json("manifest.json", &m)
	w := o.w
	if m.PackID != w.id(o.full) || m.Full != o.full || !m.Period.From.Equal(w.from) || !m.Period.To.Equal(w.to) || len(m.Logs) != 1 ||
		m.Logs[0].Origin != origin || m.Logs[0].Root != w.root || m.Logs[0].Size != w.size || m.Logs[0].Folder != o.folder {
		o.t.Errorf("the manifest says %+v of %s, %s", m.Logs, m.PackID, m.Period)
	}
	if len(m.Files) != len(o.files)-2 {
		o.t.Errorf("the manifest lists %d files of %d", len(m.Files), len(o.files))
	}
	for _, f := range m.Files {
		in, err := o.files[f.Path].Open()
		if err != nil {
			o.t.Fatal(err)
		}
		h := sha256.New()
		n, err := io.Copy(h, in)
		o.sums[f.Path] = hex.EncodeToString(h.Sum(nil))
		if err != nil || n != f.Size || o.sums[f.Path] != f.SHA256 {
			o.t.Errorf("%s has %d bytes and the hash %s: %v", f.Path, n, o.sums[f.Path], err)
		}
	}
}

// sources reads what is no figure: the criteria and the definitions of checks.
func (o *opened) sources() {
	o.t.Helper()
	var c struct{ Criteria []criterion }
	o.json("criteria/mapping.json", &c)
	o.criteria = c.Criteria
	for line := range bytes.Lines(o.read("checks/definitions.ndjson")) {
		var d definition
		if err := json.Unmarshal(line, &d); err != nil {
			o.t.Fatal(err)
		}
		o.definitions = append(o.definitions, d)
	}
	if len(o.criteria) < 20 || len(o.definitions) != 59 {
		o.t.Errorf("the pack has %d criteria and %d definitions", len(o.criteria), len(o.definitions))
	}
}

// results compares the table of checks.
func (o *opened) results() {
	o.t.Helper()
	all, err := csv.NewReader(bytes.NewReader(o.read("checks/results.csv"))).ReadAll()
	if err != nil {
		o.t.Fatal(err)
	}
	var want [][]string
	titles := map[string]string{}
	for _, d := range o.definitions {
		titles[d.ID] = d.Title
	}
	for _, id := range slices.Sorted(maps.Keys(o.w.checks)) {
		l := o.w.checks[id]
		want = append(want, []string{origin, id, titles[id], strings.Join(l.meta.Criteria, " "), l.meta.Severity, l.last, l.since, minutes(l.ns["fail"]), l.begun, l.ended, fmt.Sprint(l.ns["unknown"]), fmt.Sprint(l.moves), guard(l.meta.Exception)})
	}
	if list := differences("checks/results.csv", plain(all[1:]), plain(want), nil); len(list) > 0 {
		o.t.Error(strings.Join(list, "\n"))
	}
}

// log compares which records the pack says that it has.
func (o *opened) log() {
	o.t.Helper()
	var l struct {
		First, Next int64
		Size        int64 `json:"tree_size"`
		Segments    []int64
		Erased      *struct{ Seq int64 }
		Pieces      []struct {
			First, Count int64
			Why          string
		}
	}
	o.json(o.folder+"log.json", &l)
	var segments []int64
	for _, p := range o.w.s.pieces {
		if p.first >= o.w.first && p.first < o.w.next {
			segments = append(segments, p.first)
		}
	}
	next := l.First
	for _, p := range l.Pieces {
		if p.First != next || p.Why != "" {
			o.t.Errorf("a piece of %d begins with %d, not with %d: %s", p.Count, p.First, next, p.Why)
		}
		next += p.Count
	}
	if l.First != o.w.first || l.Next != o.w.next || next != l.Next || l.Size != o.w.size || !slices.Equal(l.Segments, segments) {
		o.t.Errorf("the pack has the records %d to %d in %d segments, and in truth %d to %d in %d", l.First, l.Next, len(l.Segments), o.w.first, o.w.next, len(segments))
	}
	if pruned := o.w.s.pieces[o.w.s.gone].first; (l.Erased != nil) != (pruned > 0 && l.First == pruned) {
		o.t.Errorf("the record of the removal is %+v", l.Erased)
	}
}
