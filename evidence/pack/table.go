package pack

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// RowsPerFile is how many rows a table has at most: spreadsheets take 1,048,576.
// Part of the format.
const RowsPerFile = 1_000_000

// requestRows is the population whose rows are raw records, and are there only
// as a table, with all raw records. Part of the format.
const requestRows = "requests"

// TableName is the name of a file of a table, below the log's folder; part is
// 1 for the first.
func TableName(population string, part int64) string {
	if part == 1 {
		return "populations/" + population + ".csv"
	}
	return fmt.Sprintf("populations/%s.%04d.csv", population, part)
}

// RowsName is the name of the file with a population's records, one a line.
func RowsName(population string) string { return "populations/" + population + ".ndjson" }

// ProvenanceName is the name of the file that says where a population comes
// from.
func ProvenanceName(population string) string {
	return "populations/" + population + ".provenance.json"
}

// Provenance says where the rows of a population come from.
type Provenance struct {
	Population  string            `json:"population"`
	Title       string            `json:"title"`
	Definitions string            `json:"definitions_sha256"` // of populations.json
	Query       string            `json:"query"`
	Period      Period            `json:"period"`
	TimeZone    string            `json:"time_zone"`
	Log         Heads             `json:"log"`
	First       int64             `json:"examined_first"` // record
	Next        int64             `json:"examined_next"`
	Rows        int64             `json:"rows"`
	FirstRow    *int64            `json:"first_seq"`
	LastRow     *int64            `json:"last_seq"`
	Gaps        []Gap             `json:"gaps"`
	Files       map[string]string `json:"files"` // SHA-256 by name, below the log's folder
}

// Tables writes the files of populations. Create opens a file by its name below
// the log's folder.
type Tables struct {
	Full   bool
	Create func(name string) (io.WriteCloser, error)

	open map[string]*output
}

type output struct {
	p           *population.Population
	table, rows io.WriteCloser
	csv, ndjson *bufio.Writer
	encoder     population.CSV
	count       int64
}

// Begin opens the files of all populations, so that each is there though it has
// no row.
func (t *Tables) Begin() error {
	t.open = map[string]*output{}
	for _, p := range population.All() {
		if p.Derived || p.Name == requestRows && !t.Full {
			continue
		}
		o := &output{p: p}
		t.open[p.Name] = o
		if err := t.begin(o); err != nil {
			return err
		}
		if p.Name == requestRows {
			continue
		}
		var err error
		if o.rows, err = t.Create(RowsName(p.Name)); err != nil {
			return err
		}
		o.ndjson = bufio.NewWriterSize(o.rows, 64<<10)
	}
	return nil
}

// begin opens the next file of a table.
func (t *Tables) begin(o *output) (err error) {
	if o.table != nil {
		if err := o.close(); err != nil {
			return err
		}
	}
	if o.table, err = t.Create(TableName(o.p.Name, o.count/RowsPerFile+1)); err != nil {
		return err
	}
	o.csv = bufio.NewWriterSize(o.table, 64<<10)
	o.encoder = population.CSV{}
	return o.encoder.Begin(o.csv, o.p, nil)
}

// close ends a file of a table.
func (o *output) close() error {
	if err := o.encoder.End(); err != nil {
		return err
	}
	if err := o.csv.Flush(); err != nil {
		return err
	}
	return o.table.Close()
}

// Wants implements Sink.
func (t *Tables) Wants(p *population.Population) bool { return t.open[p.Name] != nil }

// Row implements Sink.
func (t *Tables) Row(p *population.Population, row *population.Row) error {
	o := t.open[p.Name]
	if o == nil {
		return nil
	}
	if o.count > 0 && o.count%RowsPerFile == 0 {
		if err := t.begin(o); err != nil {
			return err
		}
	}
	o.count++
	if err := o.encoder.Row(row); err != nil {
		return err
	}
	if o.ndjson == nil {
		return nil
	}
	if _, err := o.ndjson.Write(row.Record); err != nil {
		return err
	}
	return o.ndjson.WriteByte('\n')
}

// End closes the files.
func (t *Tables) End() error {
	for _, p := range population.All() {
		o := t.open[p.Name]
		if o == nil {
			continue
		}
		if err := o.close(); err != nil {
			return err
		}
		if o.ndjson == nil {
			continue
		}
		if err := o.ndjson.Flush(); err != nil {
			return err
		}
		if err := o.rows.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Describe writes the provenance of each population, when the files are closed;
// sum returns the SHA-256 of a file.
func (t *Tables) Describe(m *Manifest, f *Figures, sum func(name string) string) error {
	_, definitions := population.Definitions()
	for _, p := range population.All() {
		if p.Derived {
			continue
		}
		c := f.Populations[p.Name]
		from, to := m.Period.texts()
		v := Provenance{
			Population: p.Name, Title: p.Title, Definitions: definitions,
			Query:  fmt.Sprintf("records %d to before %d of the log that belong to the population %s, with %s <= time < %s", f.First, f.Next, p.Name, from, to),
			Period: m.Period, TimeZone: "UTC", Log: f.Heads, First: f.First, Next: f.Next,
			Rows: c.Count, FirstRow: c.First, LastRow: c.Last, Gaps: f.Gaps, Files: map[string]string{},
		}
		if o := t.open[p.Name]; o != nil {
			for part := int64(1); part == 1 || (part-1)*RowsPerFile < o.count; part++ {
				v.Files[TableName(p.Name, part)] = sum(TableName(p.Name, part))
			}
			if o.rows != nil {
				v.Files[RowsName(p.Name)] = sum(RowsName(p.Name))
			}
		}
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		w, err := t.Create(ProvenanceName(p.Name))
		if err != nil {
			return err
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}
