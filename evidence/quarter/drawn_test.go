package quarter_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// sample is one that an auditor asks for.
type sample struct {
	Population string  `json:"population"`
	N          int     `json:"n"`
	Seed       string  `json:"seed"`
	Of         int     `json:"of"`
	Seqs       []int64 `json:"seqs"`
}

// draw draws the samples by the rule of docs/evidence.md.
func (w *truth) draw(list []sample) {
	type ticket struct {
		sum [32]byte
		seq int64
	}
	order := func(a, b ticket) int { return bytes.Compare(a.sum[:], b.sum[:]) }
	w.samples = append(w.samples, list...)
	slices.SortFunc(w.samples, func(a, b sample) int { return strings.Compare(a.Population+"\n"+a.Seed, b.Population+"\n"+b.Seed) })
	for i := range w.samples {
		s := &w.samples[i]
		tickets := []ticket{}
		for _, seq := range w.rows[s.Population] {
			tickets = append(tickets, ticket{sha256.Sum256(fmt.Appendf(nil, "caddy-soc2-sample-v1\n%s\n%s\n%s\n%d", s.Seed, w.root, s.Population, seq)), seq})
		}
		slices.SortFunc(tickets, order)
		s.Of, s.Seqs = len(tickets), []int64{}
		for _, t := range tickets[:min(s.N, len(tickets))] {
			s.Seqs = append(s.Seqs, t.seq)
		}
		slices.Sort(s.Seqs)
	}
}

// file is the name of the sample's files without its end.
func (s *sample) file() string {
	plain := strings.Trim(s.Seed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
	if plain && len(s.Seed) <= 60 {
		return "samples/" + s.Population + "_" + s.Seed
	}
	sum := sha256.Sum256([]byte(s.Seed))
	return "samples/" + s.Population + "_" + hex.EncodeToString(sum[:8])
}

// sample compares the files of a sample: the rows and records that were drawn,
// each of which leads to the root of the log.
func (o *opened) sample(s *sample) {
	o.t.Helper()
	name := o.folder + s.file()
	o.lines(s.file()+".ndjson", s.Seqs)
	records := bytes.Split(bytes.TrimSuffix(o.read(name+".ndjson"), []byte("\n")), []byte("\n"))
	all, err := csv.NewReader(bytes.NewReader(o.read(name + ".csv"))).ReadAll()
	if err != nil || len(all) != len(s.Seqs)+1 {
		o.t.Fatalf("%s.csv has %d lines for %d rows: %v", name, len(all), len(s.Seqs), err)
	}
	columns := append(o.columns(s.Population), "leaf_sha256", "proof")
	if !slices.Equal(all[0], columns) {
		o.t.Errorf("%s.csv has the columns %q, and in truth %q", name, all[0], columns)
	}
	for i, line := range all[1:] {
		cells := o.w.cells(s.Seqs[i])
		leaf := sha256.Sum256(append([]byte{0}, records[i]...))
		for k, column := range columns {
			want := ""
			switch column {
			case "leaf_sha256":
				want = hex.EncodeToString(leaf[:])
			case "proof":
				want = line[k]
				if root := rootOf(o.t, s.Seqs[i], o.w.size, leaf, line[k]); root != o.w.root {
					o.t.Errorf("%s.csv: the proof of record %d leads to %s, not to %s", name, s.Seqs[i], root, o.w.root)
				}
			default:
				want = cells(column)
			}
			if line[k] != want {
				o.t.Errorf("%s.csv: record %d: %s is %q, and in truth %q", name, s.Seqs[i], column, line[k], want)
			}
		}
	}
}

// columns are those that a population is defined to have.
func (o *opened) columns(population string) (list []string) {
	o.t.Helper()
	var d struct {
		Populations []struct {
			Name    string
			Columns []struct{ Name string }
		}
	}
	o.json("scope/populations.json", &d)
	for _, p := range d.Populations {
		for _, c := range p.Columns {
			if p.Name == population {
				list = append(list, c.Name)
			}
		}
	}
	return list
}

// rootOf is the root that an inclusion proof leads to (RFC 9162, 2.1.3.2).
func rootOf(t interface{ Errorf(string, ...any) }, index, size int64, leaf [32]byte, proof string) string {
	node, last := leaf, size-1
	for text := range strings.FieldsSeq(proof) {
		p, err := base64.StdEncoding.DecodeString(text)
		if err != nil || last == 0 {
			t.Errorf("the proof of record %d is too long, or malformed: %v", index, err)
			return ""
		}
		if index&1 == 0 && index != last {
			node = sha256.Sum256(slices.Concat([]byte{1}, node[:], p))
		} else {
			node = sha256.Sum256(slices.Concat([]byte{1}, p, node[:]))
			for index&1 == 0 && index != 0 {
				index, last = index>>1, last>>1
			}
		}
		index, last = index>>1, last>>1
	}
	if last != 0 {
		t.Errorf("the proof is too short")
	}
	return base64.StdEncoding.EncodeToString(node[:])
}
