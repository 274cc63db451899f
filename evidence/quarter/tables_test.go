package quarter_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

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
	got := map[string]any{
		"rows": p.Rows, "first": p.First, "last": p.Last, "from": p.ExaminedFirst, "next": p.ExaminedNext, "gaps": p.Gaps, "files": p.Files, "log": p.Log,
		"definitions": p.Definitions, "zone": p.TimeZone, "population": p.Population, "begin": p.Period.From, "end": p.Period.To,
	}
	want := map[string]any{
		"rows": len(rows), "first": nil, "last": nil, "from": w.first, "next": w.next, "gaps": w.gapList(), "files": files,
		"log": map[string]any{"origin": origin, "tree_size": w.size, "root": w.root}, "definitions": o.sums["scope/populations.json"], "zone": "UTC", "population": name, "begin": w.from, "end": w.to,
	}
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
