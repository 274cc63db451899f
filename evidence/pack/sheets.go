package pack

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// The tables that are made of the report. Part of the format.
const (
	FindingsFile  = "incidents/findings.csv"
	RisksFile     = "exceptions/accepted-risks.csv"
	DailyFile     = "traffic/daily.csv"
	TablesFile    = "traffic/tables.csv"
	UpstreamsFile = "availability/upstreams.csv"
)

// Sheets makes the tables that repeat the report, in the form of the tables of
// populations.
func Sheets(r *Report) (map[string][]byte, error) {
	made := map[string][]byte{}
	for name, fill := range map[string]func(*sheet, *Figures){
		FindingsFile: (*sheet).findings, RisksFile: (*sheet).risks, DailyFile: (*sheet).daily,
		TablesFile: (*sheet).tables, UpstreamsFile: (*sheet).upstreams,
	} {
		s := &sheet{}
		s.w = csv.NewWriter(&s.b)
		s.w.UseCRLF = true
		s.header(sheetColumns[name])
		for i := range r.Logs {
			s.log = r.Logs[i].Origin
			fill(s, &r.Logs[i])
		}
		s.w.Flush()
		if err := errors.Join(s.err, s.w.Error()); err != nil {
			return nil, err
		}
		made[name] = s.b.Bytes()
	}
	return made, nil
}

// sheetColumns are the columns after the log's name. Part of the format.
var sheetColumns = map[string][]string{
	FindingsFile: {
		"finding", "check", "subject", "severity", "result", "opened", "closed", "verdict", "triaged", "triage_seq",
		"by", "by_known", "claim", "owner", "ticket", "reason",
	},
	RisksFile:     {"seq", "source", "check", "time", "verdict", "owner", "approver", "by", "by_known", "claim", "ticket", "reason", "expires", "ended"},
	DailyFile:     {"date", "requests", "bytes", "1xx", "2xx", "3xx", "4xx", "5xx", "other", "denied", "limited", "without_tls"},
	TablesFile:    {"table", "name", "requests"},
	UpstreamsFile: {"upstream", "state", "nanoseconds", "at_end", "since", "transitions"},
}

type sheet struct {
	log string
	b   bytes.Buffer
	w   *csv.Writer
	err error
}

func (s *sheet) header(names []string) {
	s.err = s.w.Write(append([]string{"log"}, names...))
}

// row writes a row of texts.
func (s *sheet) row(cells ...string) {
	row := []string{population.Guard(s.log)}
	for _, c := range cells {
		row = append(row, population.Guard(c))
	}
	s.err = cmp.Or(s.err, s.w.Write(row))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func (s *sheet) findings(f *Figures) {
	for _, x := range f.Findings {
		t, seq := x.Triage, ""
		if t.Time != "" {
			seq = number(t.Seq)
		}
		s.row(number(x.Seq), x.Check, x.Subject, x.Severity, x.Result, x.Opened, x.Closed, t.Verdict, t.Time, seq,
			t.By, t.Known, t.Claim, t.Owner, t.Ticket, t.Reason)
	}
}

func (s *sheet) risks(f *Figures) {
	for _, x := range f.Risks {
		s.row(number(x.Seq), x.Source, x.Check, x.Time, x.Verdict, x.Owner, x.Approver, x.By, x.Known, x.Claim, x.Ticket, x.Reason, x.Expires, x.Ended)
	}
}

func (s *sheet) daily(f *Figures) {
	for _, date := range slices.Sorted(maps.Keys(f.Days)) {
		d := f.Days[date]
		row, other := []string{date, number(d.Requests), number(d.Bytes)}, d.Requests
		for _, class := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
			row = append(row, number(d.Class[class]))
			other -= d.Class[class]
		}
		s.row(append(row, number(other), number(d.Denied), number(d.Limited), number(d.Plain))...)
	}
}

func (s *sheet) tables(f *Figures) {
	for _, table := range slices.Sorted(maps.Keys(f.Requests.By)) {
		for _, name := range slices.Sorted(maps.Keys(f.Requests.By[table])) {
			s.row(table, name, number(f.Requests.By[table][name]))
		}
	}
}

func (s *sheet) upstreams(f *Figures) {
	for _, id := range slices.Sorted(maps.Keys(f.Upstreams)) {
		u := f.Upstreams[id]
		for _, state := range slices.Sorted(maps.Keys(u.NS)) {
			s.row(id, state, number(u.NS[state]), u.State, u.Since, number(u.Transitions))
		}
	}
}
