package quarter_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
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

// population compares the rows of a population, each cell of them.
func (o *opened) population(name string) {
	o.t.Helper()
	var p struct {
		Rows          int
		First         *int64 `json:"first_seq"`
		Last          *int64 `json:"last_seq"`
		ExaminedFirst int64  `json:"examined_first"`
		ExaminedNext  int64  `json:"examined_next"`
		Gaps, Files   any
		Log           any
		Period        struct{ From, To time.Time }
		Definitions   string `json:"definitions_sha256"`
		TimeZone      string `json:"time_zone"`
		Population    string
	}
	o.json(o.folder+"populations/"+name+".provenance.json", &p)
	w, rows := o.w, o.w.rows[name]
	files := map[string]any{}
	if name != "requests" || o.full {
		for part := 1; part == 1 || (part-1)*1_000_000 < len(rows); part++ {
			file := tableName(name, part)
			files[file] = o.sums[o.folder+file]
		}
	}
	if name != "requests" {
		files["populations/"+name+".ndjson"] = o.sums[o.folder+"populations/"+name+".ndjson"]
	}
	got := map[string]any{"rows": p.Rows, "first": p.First, "last": p.Last, "from": p.ExaminedFirst, "next": p.ExaminedNext, "gaps": p.Gaps, "files": p.Files, "log": p.Log,
		"definitions": p.Definitions, "zone": p.TimeZone, "population": p.Population, "begin": p.Period.From, "end": p.Period.To}
	want := map[string]any{"rows": len(rows), "first": nil, "last": nil, "from": w.first, "next": w.next, "gaps": w.gapList(), "files": files,
		"log": map[string]any{"origin": origin, "tree_size": w.size, "root": w.root}, "definitions": o.sums["scope/populations.json"], "zone": "UTC", "population": name, "begin": w.from, "end": w.to}
	if len(rows) > 0 {
		want["first"], want["last"] = rows[0], rows[len(rows)-1]
	}
	if list := differences(name, plain(got), plain(want), nil); len(list) > 0 {
		o.t.Errorf("provenance:\n%s", strings.Join(list, "\n"))
	}
	if name == "requests" && !o.full {
		return
	}
	rest := rows
	for part := 1; part == 1 || len(rest) > 0; part++ {
		n := min(len(rest), 1_000_000)
		o.table(tableName(name, part), rest[:n])
		rest = rest[n:]
	}
	if name != "requests" {
		o.lines("populations/"+name+".ndjson", rows)
	}
}

func tableName(name string, part int) string {
	if part == 1 {
		return "populations/" + name + ".csv"
	}
	return fmt.Sprintf("populations/%s.%04d.csv", name, part)
}

// table compares the cells of a table.
func (o *opened) table(name string, rows []int64) {
	o.t.Helper()
	f, err := o.files[o.folder+name].Open()
	if err != nil {
		o.t.Fatal(err)
	}
	in := csv.NewReader(bufio.NewReaderSize(f, 1<<16))
	in.ReuseRecord = true
	header, err := in.Read()
	if err != nil {
		o.t.Fatal(err)
	}
	header = slices.Clone(header)
	i := 0
	for ; ; i++ {
		line, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || i == len(rows) {
			o.t.Fatalf("%s: row %d of %d: %v %v", name, i, len(rows), line, err)
		}
		cells := o.w.cells(rows[i])
		for k, column := range header {
			if want := cells(column); line[k] != want {
				o.t.Fatalf("%s: row %d, record %d: %s is %q, and in truth %q", name, i, rows[i], column, line[k], want)
			}
		}
	}
	if i != len(rows) {
		o.t.Fatalf("%s has %d rows, and in truth %d", name, i, len(rows))
	}
}

// guard is what a table does to text that a spreadsheet would calculate.
func guard(s string) string {
	if r, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune("'=+-@＝＋－＠", r) {
		return "'" + s
	}
	return s
}

// cells returns the cells of a record's row, by column.
func (w *truth) cells(seq int64) func(column string) string {
	f := w.s.facts[seq]
	kind, at := w.s.kinds[f.kind], time.Unix(0, f.at).UTC()
	var r request
	var o *other
	if kind == "request" {
		r = draw(int(f.n), f.mood, at, time.Duration(f.took))
	} else {
		o = &w.s.others[f.n]
	}
	return func(column string) string {
		switch column {
		case "seq":
			return strconv.FormatInt(seq, 10)
		case "time":
			return at.Format(stamp)
		case "instance":
			return instance
		case "kind":
			return kind
		}
		if o != nil {
			return guard(o.cells[column])
		}
		return w.cell(f, &r, column)
	}
}

// cell is a cell of a request.
func (w *truth) cell(f fact, r *request, column string) string {
	switch column {
	case "request_id":
		return fmt.Sprintf("%x-%x-%x-%x-%x", r.id[:4], r.id[4:6], r.id[6:8], r.id[8:10], r.id[10:])
	case "server":
		return r.server
	case "client_ip":
		return w.s.shown(f, r, "client.ip", r.client)
	case "user":
		return w.s.shown(f, r, "auth.user", r.user)
	case "auth_method":
		return r.auth
	case "method":
		return r.method
	case "host":
		return r.host
	case "path":
		return r.path
	case "protocol":
		return r.proto
	case "tls_version":
		return r.tls
	case "tls_cipher":
		return r.cipher
	case "status":
		return strconv.Itoa(r.status)
	case "bytes":
		return strconv.FormatInt(r.bytes, 10)
	case "end":
		return r.end
	case "duration_ns":
		return strconv.FormatInt(int64(r.took), 10)
	case "upstream":
		return r.upstream
	case "upstream_status":
		if r.upstreamStatus == 0 {
			return ""
		}
		return strconv.Itoa(r.upstreamStatus)
	case "access":
		return r.access
	case "access_rule":
		return r.rule
	case "access_reason":
		return r.reason
	case "limit":
		return r.limit
	case "limit_rule":
		return r.zone
	case "limit_reason":
		return r.verdict
	case "cache":
		return r.cache
	case "headers_refused":
		return r.refused
	case "user_agent":
		if f.veil {
			return ""
		}
		return guard(r.agent)
	}
	return ""
}

// lines compares the records of a population.
func (o *opened) lines(name string, rows []int64) {
	o.t.Helper()
	f, err := o.files[o.folder+name].Open()
	if err != nil {
		o.t.Fatal(err)
	}
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	i := 0
	for ; in.Scan(); i++ {
		var r struct {
			Seq        int64
			Time, Kind string
		}
		if err := json.Unmarshal(in.Bytes(), &r); err != nil || i == len(rows) {
			o.t.Fatalf("%s: line %d of %d: %v", name, i, len(rows), err)
		}
		if at := o.w.at(rows[i]).Format(stamp); r.Seq != rows[i] || r.Time != at || r.Kind != o.w.s.kinds[o.w.s.facts[rows[i]].kind] {
			o.t.Fatalf("%s: line %d is record %d of %s, %s, and in truth %d of %s", name, i, r.Seq, r.Time, r.Kind, rows[i], at)
		}
	}
	if err := in.Err(); err != nil || i != len(rows) {
		o.t.Fatalf("%s has %d lines, and in truth %d: %v", name, i, len(rows), err)
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
		want = append(want, []string{origin, id, titles[id], strings.Join(l.meta.Criteria, " "), l.meta.Severity, l.last, l.since, minutes(l.ns["fail"]), l.begun, l.ended, fmt.Sprint(l.ns["unknown"]), fmt.Sprint(l.moves), ""})
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
