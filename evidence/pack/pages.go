package pack

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

//go:embed report.html
var pageText string

//go:embed readme.txt
var readmeText string

// Pages makes the files of a pack that say nothing that its report does not say:
// the page for people, the documents for machines and how to verify.
func Pages(r *Report, m *Manifest, criteria []byte, definitions [][]byte) (map[string][]byte, error) {
	made := map[string][]byte{}
	var err error
	if made[PageFile], err = page(r, criteria, definitions); err != nil {
		return nil, err
	}
	made[ReadmeFile] = []byte(readme(m))
	results, err := results(r, definitions)
	if err != nil {
		return nil, err
	}
	made[ResultsFile] = results
	return made, addOSCAL(made, r, m, criteria, definitions)
}

// ResultsFile has a row for each check of each log.
const ResultsFile = "checks/results.csv"

// readme tells how to verify.
func readme(m *Manifest) string {
	var logs strings.Builder
	for _, l := range m.Logs {
		fmt.Fprintf(&logs, "  %s: %d records, root %s\n", Visible(l.Origin), l.Size, l.Root)
	}
	from, to := m.Period.texts()
	return strings.NewReplacer("{FROM}", from, "{TO}", to, "{LOGS}", logs.String(), "{ID}", m.PackID).Replace(readmeText)
}

// results writes the results of checks as a table.
func results(r *Report, definitions [][]byte) ([]byte, error) {
	titles := map[string]definition{}
	for _, line := range definitions {
		var d definition
		if err := json.Unmarshal(line, &d); err != nil {
			return nil, err
		}
		titles[d.ID] = d
	}
	b := []byte("log,check,title,criteria,severity,result,since,failing_minutes,first_fail,last_fail,unknown_ns,transitions,exception\r\n")
	for i := range r.Logs {
		f := &r.Logs[i]
		for _, id := range slices.Sorted(maps.Keys(f.Checks)) {
			c := f.Checks[id]
			b = appendRow(b, []string{
				f.Origin, id, titles[id].Title, strings.Join(c.Criteria, " "), c.Severity, c.State, c.Since, c.FailingMinutes,
				c.FirstFail, c.LastFail, fmt.Sprint(c.NS[unknown]), fmt.Sprint(c.Transitions), c.Exception,
			})
		}
	}
	return b, nil
}

// appendRow appends a row of a table (RFC 4180), all cells quoted and none a
// formula.
func appendRow(dst []byte, cells []string) []byte {
	for i, c := range cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		c = population.Guard(c)
		dst = append(dst, '"')
		dst = append(dst, strings.ReplaceAll(c, `"`, `""`)...)
		dst = append(dst, '"')
	}
	return append(dst, "\r\n"...)
}

// view is what the page shows.
type view struct {
	*Report
	Logs     []logView
	Criteria []criterionView
	Failing  []failing
	Known    map[string]definition
}

type logView struct {
	*Figures
	Tables []tableView
	Rows   []checkView
}

type tableView struct {
	Name string
	Rows []Pair
}

// Pair is a name with a number.
type Pair struct {
	Name string
	N    int64
}

type checkView struct {
	ID, Title string
	Check
	Unknown string
}

type criterionView struct {
	CriterionResult
	Title, Strength, Limits string
}

type failing struct {
	Log, ID, Title, Remediation string
	Check
}

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"visible": Visible,
	"join":    strings.Join,
	"words":   func(s string) string { return strings.ReplaceAll(s, "_", " ") },
	"class":   func(s string) string { return strings.ReplaceAll(Visible(s), " ", "-") },
}).Parse(pageText))

func page(r *Report, criteria []byte, definitions [][]byte) ([]byte, error) {
	v := view{Report: r, Known: map[string]definition{}}
	for _, line := range definitions {
		var d definition
		if err := json.Unmarshal(line, &d); err != nil {
			return nil, err
		}
		v.Known[d.ID] = d
	}
	var m mapping
	if err := json.Unmarshal(criteria, &m); err != nil {
		return nil, err
	}
	if len(m.Criteria) != len(r.Criteria) {
		return nil, fmt.Errorf("%s has other criteria than %s", ReportFile, CriteriaFile)
	}
	for i, c := range m.Criteria {
		v.Criteria = append(v.Criteria, criterionView{r.Criteria[i], c.Title, c.Strength, c.Limits})
	}
	for i := range r.Logs {
		v.add(&r.Logs[i])
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("making %s: %w", PageFile, err)
	}
	return b.Bytes(), nil
}

// add adds a log to the page.
func (v *view) add(f *Figures) {
	l := logView{Figures: f}
	for _, name := range slices.Sorted(maps.Keys(f.Requests.By)) {
		l.Tables = append(l.Tables, tableView{name, most(f.Requests.By[name], 10)})
	}
	for _, id := range slices.Sorted(maps.Keys(f.Checks)) {
		c := f.Checks[id]
		d := v.Known[id]
		l.Rows = append(l.Rows, checkView{id, d.Title, c, minutes(c.NS[unknown])})
		if c.NS["fail"] > 0 {
			v.Failing = append(v.Failing, failing{f.Origin, id, d.Title, d.Remediation, c})
		}
	}
	v.Logs = append(v.Logs, l)
}

// most returns the largest numbers of a table, and of equal ones those that sort
// first.
func most(table map[string]int64, n int) (list []Pair) {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		list = append(list, Pair{name, table[name]})
	}
	slices.SortStableFunc(list, func(a, b Pair) int { return int(min(1, max(-1, b.N-a.N))) })
	rest := int64(0)
	for len(list) > n {
		rest += list[len(list)-1].N
		list = list[:len(list)-1]
	}
	if rest > 0 {
		list = append(list, Pair{"all others", rest})
	}
	return list
}

// PageStyle is the style sheet in the page, so that a server can allow it by its
// hash.
func PageStyle() string {
	_, style, _ := strings.Cut(pageText, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	return style
}
