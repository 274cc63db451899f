package export

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

func rowsOf(t testing.TB, bodies ...audit.Body) [][]string {
	t.Helper()
	var out bytes.Buffer
	e := new(CSV)
	if err := e.Begin(&out, "o"); err != nil {
		t.Fatal(err)
	}
	for i, b := range bodies {
		frame, err := segment.AppendFrame(nil, int64(i), 0, b.AppendBody(nil, "edge-1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Record(int64(i), segment.Record(frame)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.End(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != len(bodies)+1 {
		t.Errorf("%d lines for %d records", n, len(bodies))
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != len(bodies)+1 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	return rows[1:]
}

// TestCellsAreNoFormulas gives each text of a request to a spreadsheet that
// would calculate it.
func TestCellsAreNoFormulas(t *testing.T) {
	for _, text := range []string{"=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=\"\n\",x", "\u202e=1", "\xff\x00", "\uff1d1+1", "\uff20SUM(A1)", "\ufeff=1", "\u2028=1"} {
		ev := audit.Event{Start: time.Unix(1, 0), ClientIP: text, User: text, Method: text, Host: text, Path: text, Query: text, Proto: text, Cache: text, Agent: text, Access: audit.Decision{Outcome: text, Rule: text}}
		row := rowsOf(t, &ev)[0]
		for i, cell := range row {
			if first, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune("=+-@\t\r\uff1d\uff0b\uff0d\uff20", first) {
				t.Errorf("%s: %q", columns[i], cell)
			}
			if strings.ContainsFunc(cell, func(r rune) bool {
				return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || strings.ContainsRune("\u2028\u2029\ufeff", r)
			}) {
				t.Errorf("%s acts: %q", columns[i], cell)
			}
		}
	}
}

func TestRowsHoldWhatRecordsSay(t *testing.T) {
	ev := audit.Event{Start: time.Unix(1, 0), Duration: 1500 * time.Microsecond, Method: "GET", Host: "h", Path: "/a,\"b", Status: 200, Bytes: -1, End: audit.EndComplete}
	rows := rowsOf(t, &ev, &audit.LogGap{Time: time.Unix(2, 0), Cause: "failure"}, (*audit.Intent)(&ev))
	get := func(row int, name string) string {
		for i, c := range columns {
			if c == name {
				return rows[row][i]
			}
		}
		t.Fatal(name)
		return ""
	}
	for name, want := range map[string]string{"seq": "0", "kind": "request", "path": "/a,\"b", "status": "200", "bytes": "-1", "duration_ms": "1.500", "end": "complete", "record": ""} {
		if got := get(0, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if !strings.HasPrefix(get(1, "record"), `{"v":1,"seq":1`) || get(1, "kind") != "log.gap" || get(1, "status") != "" {
		t.Errorf("%q", rows[1])
	}
	if get(2, "kind") != "request.intent" || get(2, "status") != "" || get(2, "method") != "GET" {
		t.Errorf("%q", rows[2])
	}
}

func FuzzCell(f *testing.F) {
	f.Add("=x")
	f.Fuzz(func(t *testing.T, s string) {
		got := cell(s)
		if got != "" && strings.ContainsRune("=+-@", rune(got[0])) && strings.ContainsAny(got, "(!|") {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
