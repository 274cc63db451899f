package pack

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// MaxSamples is how many samples a pack has of each log at most. Part of the
// format.
const MaxSamples = 20

// Sample is a sample that was asked for: so many rows of a population, drawn with
// the seed of an auditor, as package population does.
type Sample struct {
	Population string `json:"population"`
	Rows       int    `json:"n"`
	Seed       string `json:"seed"`
}

// Drawn is a sample of a log.
type Drawn struct {
	Sample
	Of   int64   `json:"of"` // rows of the population
	Seqs []int64 `json:"seqs"`
}

// fileSeed is what seeds are made of that are in names of files as they are.
var fileSeed = regexp.MustCompile(`^[A-Za-z0-9._-]{1,60}$`)

// name is that of the sample's files, below the log's folder, without its end.
func (s Sample) name() string {
	seed := s.Seed
	if !fileSeed.MatchString(seed) {
		sum := sha256.Sum256([]byte(seed))
		seed = hex.EncodeToString(sum[:8])
	}
	return "samples/" + s.Population + "_" + seed
}

// Table is the name of the file with the sample's rows and their proofs, and
// Records of that with their records, below the log's folder.
func (s Sample) Table() string { return s.name() + ".csv" }

// Records is described at Table.
func (s Sample) Records() string { return s.name() + ".ndjson" }

// CheckSamples reports samples that no pack has.
func CheckSamples(list []Sample) error {
	if len(list) > MaxSamples {
		return fmt.Errorf("a pack has at most %d samples", MaxSamples)
	}
	names := map[string]bool{}
	for i, s := range list {
		p, err := population.Find(s.Population)
		if err == nil && p.Derived {
			err = fmt.Errorf("the population %s is not one of records: packs do not have it", s.Population)
		}
		if err == nil {
			_, err = population.NewLots(s.Seed, "", p, s.Rows)
		}
		if err != nil {
			return fmt.Errorf("the sample of %q: %w", s.Population, err)
		}
		if names[strings.ToLower(s.name())] || i > 0 && compareSamples(list[i-1], s) >= 0 {
			return fmt.Errorf("the sample of %s with the seed %q is there twice, or samples are not in order", s.Population, s.Seed)
		}
		names[strings.ToLower(s.name())] = true
	}
	return nil
}

func compareSamples(a, b Sample) int {
	return cmp.Or(cmp.Compare(a.Population, b.Population), cmp.Compare(a.Seed, b.Seed))
}

// SortSamples puts samples into their order.
func SortSamples(list []Sample) { slices.SortFunc(list, compareSamples) }

// lot is a sample that is being drawn.
type lot struct {
	sample Sample
	lots   *population.Lots
}

// Draw has the account draw samples of its log.
func (a *Account) Draw(list []Sample) error {
	for _, s := range list {
		p, err := population.Find(s.Population)
		if err != nil {
			return err
		}
		l, err := population.NewLots(s.Seed, a.Root, p, s.Rows)
		if err != nil {
			return err
		}
		a.lots = append(a.lots, lot{s, l})
	}
	return nil
}

func (a *Account) offer(p *population.Population, seq int64) {
	for i := range a.lots {
		if a.lots[i].sample.Population == p.Name {
			a.lots[i].lots.Offer(seq)
		}
	}
}

// drawn lists the samples.
func (a *Account) drawn() {
	for _, l := range a.lots {
		d := Drawn{Sample: l.sample, Of: a.Populations[l.sample.Population].Count, Seqs: l.lots.Drawn()}
		if d.Seqs == nil {
			d.Seqs = []int64{}
		}
		a.Samples = append(a.Samples, d)
	}
}

// SampleTable writes the rows of a sample: the columns of its population, the
// leaf hash of the record in hex, and its inclusion proof, hashes in base64 with a
// space between.
type SampleTable struct {
	p      *population.Population
	s      *population.Selector
	period population.Period
}

// NewSampleTable returns what writes a sample of a period.
func NewSampleTable(name string, p Period) (*SampleTable, error) {
	def, err := population.Find(name)
	if err != nil {
		return nil, err
	}
	period := population.Period{From: p.From, To: p.To}
	return &SampleTable{p: def, s: def.Selector(period), period: period}, nil
}

// Header returns the first line.
func (t *SampleTable) Header() ([]byte, error) {
	line, err := t.line(nil)
	return append(line, ",leaf_sha256,proof\r\n"...), err
}

// Row returns the line of a record.
func (t *SampleTable) Row(seq int64, record []byte, proof []tree.Hash) ([]byte, error) {
	line, err := t.start(seq, record)
	if err != nil {
		return nil, err
	}
	for i, h := range proof {
		if i > 0 {
			line = append(line, ' ')
		}
		line = base64.StdEncoding.AppendEncode(line, h[:])
	}
	return append(line, "\r\n"...), nil
}

// start returns the line of a record up to its proof.
func (t *SampleTable) start(seq int64, record []byte) ([]byte, error) {
	row, err := t.s.Row(seq, record)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, fmt.Errorf("record %d is not of the population %s, or not in the period", seq, t.p.Name)
	}
	line, err := t.line(row)
	leaf := tlog.RecordHash(record)
	return append(hex.AppendEncode(append(line, ','), leaf[:]), ','), err
}

// line returns the population's columns, of the header if row is nil, without the
// end of the line.
func (t *SampleTable) line(row *population.Row) ([]byte, error) {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	var e population.CSV
	if err := e.Begin(w, t.p, nil); err != nil {
		return nil, err
	}
	if row != nil {
		if err := errors.Join(e.End(), w.Flush()); err != nil {
			return nil, err
		}
		b.Reset()
		if err := e.Row(row); err != nil {
			return nil, err
		}
	}
	err := errors.Join(e.End(), w.Flush())
	return bytes.TrimSuffix(b.Bytes(), []byte("\r\n")), err
}

// samples checks the samples of the log: that they are those that are drawn
// again, and the proof of each row.
func (c *logCheck) samples(f, said *Figures) error {
	list := c.v.manifest.Samples
	if len(said.Samples) != len(list) {
		return c.v.stop("%s: it does not have the samples of %s", ReportFile, ManifestFile)
	}
	for i := range list {
		d := &f.Samples[i]
		if d.Population == requestRows && c.hidden > c.missing {
			d.Of, d.Seqs = said.Samples[i].Of, said.Samples[i].Seqs
			if err := c.plausible(d); err != nil {
				return err
			}
			c.v.Unchecked = append(c.v.Unchecked, fmt.Sprintf("%s: the sample of requests with the seed %q was not drawn again, because the records of requests are not there; each of its rows is proved to be in the log", c.log.Origin, d.Seed))
		}
		if err := c.sample(d); err != nil {
			return err
		}
	}
	return nil
}

// plausible checks what can be checked of a sample that cannot be drawn again.
func (c *logCheck) plausible(d *Drawn) error {
	ok := int64(len(d.Seqs)) == min(int64(d.Rows), d.Of)
	for i, seq := range d.Seqs {
		ok = ok && seq >= c.log.First && seq < c.log.Next && (i == 0 || seq > d.Seqs[i-1])
	}
	if !ok {
		return c.v.stop("%s: the sample of %s with the seed %q is not one: it has too few rows, or they are not in order", ReportFile, d.Population, d.Seed)
	}
	return nil
}

// sample compares the files of a sample with what was drawn.
func (c *logCheck) sample(d *Drawn) error {
	table, err := NewSampleTable(d.Population, c.v.manifest.Period)
	if err != nil {
		return err
	}
	path, records := c.path(d.Table()), c.path(d.Records())
	c.v.used[path], c.v.used[records] = true, true
	rows, given := c.v.archive.Entry(path), c.v.archive.Entry(records)
	if rows == nil || given == nil {
		return c.v.stop("%s or %s is missing", path, records)
	}
	in, raw := bufio.NewReader(c.v.archive.Open(rows)), newLines(c.v.archive.Open(given), records)
	header, err := table.Header()
	if err != nil {
		return err
	}
	if line, err := readRow(in); err != nil || !bytes.Equal(line, header) {
		return c.v.stop("%s: its first line does not have the names of the columns", path)
	}
	for _, seq := range d.Seqs {
		if err := c.sampled(table, path, seq, in, raw); err != nil {
			return err
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return c.v.stop("%s: it has a row that was not drawn", path)
	}
	if record, err := raw.next(); err != nil || record != nil {
		return c.v.stop("%s: it has a record that was not drawn", records)
	}
	return nil
}

// sampled checks the next row and the next record of a sample, which are of a
// record that was drawn.
func (c *logCheck) sampled(table *SampleTable, path string, seq int64, in *bufio.Reader, raw *lines) error {
	record, err := raw.next()
	if err == nil && record == nil {
		err = errors.New("it ends before it")
	}
	if err == nil {
		err = segment.Check(record, seq)
	}
	if err != nil {
		return c.v.stop("%s: record %d, which the sample has, is not there: %v", raw.name, seq, err)
	}
	root, err := tlog.ParseHash(c.log.Root)
	if err != nil {
		return err
	}
	line, err := readRow(in)
	if err == nil {
		err = table.check(line, seq, record, c.log.Size, root)
	}
	if err != nil {
		return c.v.stop("%s: the row of record %d: %v", path, seq, err)
	}
	return nil
}

// check checks the line of a record, and the proof in it.
func (t *SampleTable) check(line []byte, seq int64, record []byte, size int64, root tree.Hash) error {
	want, err := t.start(seq, record)
	if err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(line, want)
	if !ok {
		return errors.New("it is not the one that the record gives")
	}
	rest, ok = bytes.CutSuffix(rest, []byte("\r\n"))
	if !ok {
		return errors.New("it is cut off")
	}
	var proof tlog.RecordProof
	for text := range strings.FieldsSeq(string(rest)) {
		h, err := tlog.ParseHash(text)
		if err != nil {
			return errors.New("its proof is malformed")
		}
		proof = append(proof, h)
	}
	made, err := t.Row(seq, record, proof)
	if err != nil || !bytes.Equal(made, line) {
		return errors.New("its proof is malformed")
	}
	if err := tlog.CheckRecord(proof, size, root, seq, tlog.RecordHash(record)); err != nil {
		return errors.New("its proof does not lead to the root that is signed")
	}
	return nil
}

// maxRow is the longest line of a table: a record whose text is all escaped.
const maxRow = 8 * segment.MaxRecord

// readRow reads a line of a table, whose cells have no line feeds.
func readRow(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, errors.New("it is missing or cut off")
		case len(line) > maxRow:
			return nil, errors.New("it is too long")
		}
	}
}
