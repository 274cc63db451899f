// Package export writes records, or a whole log, for tools that know nothing of
// segments.
//
// Records are written in a format, by its Encoder, in the order of the log, each
// under the newest checkpoint: what is exported is signed for. A Provenance says
// which log, which checkpoint, which records, and the hash of the export.
package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
)

// Encoder writes records in a format. It is used for one export, by one
// goroutine.
type Encoder interface {
	// Begin is called once, before the first record. What the encoder writes
	// to w is the export, of the log of the given origin; w is buffered.
	Begin(w io.Writer, origin string) error
	// Record is called for each record that is selected, in order. The record
	// is valid only during the call, and must not be changed.
	Record(seq int64, record []byte) error
	// End is called once after the last record, unless there was an error.
	End() error
}

// Formats makes the encoder of each format, by the format's name.
var Formats = map[string]func() Encoder{
	"ndjson": func() Encoder { return new(NDJSON) },
	"csv":    func() Encoder { return new(CSV) },
	"ocsf":   func() Encoder { return new(OCSF) },
}

// Names lists the formats.
func Names() []string {
	names := make([]string, 0, len(Formats))
	for name := range Formats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Options says what is exported and how.
type Options struct {
	Format    string // one of Formats
	Selection Selection
	Progress  func(done, total int64) // told of records looked at. Default: nobody is
	Now       func() time.Time        // default: time.Now
}

// Provenance says where an export comes from. It is what FILE.provenance.json
// holds.
type Provenance struct {
	Format     string    `json:"format"`
	Origin     string    `json:"origin"`     // of the log
	Size       int64     `json:"tree_size"`  // that the checkpoint signs
	Root       string    `json:"root"`       // base64
	Checkpoint string    `json:"checkpoint"` // signed note
	Selection  Selection `json:"selection"`
	Examined   Examined  `json:"examined"`
	First      *int64    `json:"first_seq"` // of the exported records; null if there are none
	Last       *int64    `json:"last_seq"`
	Count      int64     `json:"count"`
	Bytes      int64     `json:"bytes"`
	SHA256     string    `json:"sha256"` // of the export, in hex
	MadeAt     time.Time `json:"made_at"`
}

// Examined is the run of records of which each was looked at: from First to,
// not including, Next.
type Examined struct {
	First int64 `json:"first_seq"`
	Next  int64 `json:"next_seq"`
}

// job is an export under way.
type job struct {
	opt Options
	out bufio.Writer
	enc Encoder
	sum hash.Hash
	p   Provenance
}

// Write writes the selected records of the log in dir that its checkpoint
// signs. It does not verify the log.
func Write(ctx context.Context, dir records.Dir, w io.Writer, opt Options) (Provenance, error) {
	j := &job{opt: opt, sum: sha256.New()}
	fresh, ok := Formats[opt.Format]
	if !ok {
		return j.p, fmt.Errorf("there is no format %q: choose one of %q", opt.Format, Names())
	}
	if opt.Now == nil {
		j.opt.Now = time.Now
	}
	if dir.Index == nil {
		dir.Index = new(records.Index)
	}
	j.enc = fresh()
	h, err := tiles.Directory{Dir: dir}.Head()
	if err != nil {
		return j.p, fmt.Errorf("exporting: %w", err)
	}
	head, err := checkpoint.Peek(h.Note)
	if err != nil {
		return j.p, fmt.Errorf("exporting: %w", err)
	}
	counted := &counter{w: io.MultiWriter(w, j.sum)}
	j.out = *bufio.NewWriterSize(counted, 1<<18)
	j.p = Provenance{
		Format: opt.Format, Origin: head.Origin, Size: head.Size, Root: head.Root.String(),
		Checkpoint: string(h.Note), Selection: opt.Selection,
	}
	if err := j.run(ctx, dir); err != nil {
		return j.p, fmt.Errorf("exporting: %w", err)
	}
	j.p.Bytes, j.p.SHA256 = counted.n, hex.EncodeToString(j.sum.Sum(nil))
	j.p.MadeAt = j.opt.Now().UTC()
	return j.p, nil
}

// run writes the export.
func (j *job) run(ctx context.Context, dir records.Dir) error {
	if err := j.enc.Begin(&j.out, j.p.Origin); err != nil {
		return err
	}
	from, to, err := j.opt.Selection.run(ctx, dir, j.p.Size)
	if err != nil {
		return err
	}
	j.p.Examined = Examined{from, from}
	chosen := j.opt.Selection.filter()
	_, err = dir.Range(ctx, from, to, func(seq int64, record []byte) error {
		if j.p.Examined.Next == from && seq > from {
			j.p.Examined.First = seq // older ones were removed
		}
		j.p.Examined.Next = seq + 1
		if j.opt.Progress != nil && seq%1024 == 0 {
			j.opt.Progress(seq-from, to-from)
		}
		if !chosen(record) {
			return nil
		}
		j.count(seq)
		return j.enc.Record(seq, record)
	})
	if err != nil {
		return err
	}
	if j.p.Examined.Next < to {
		return fmt.Errorf("the log ends with record %d, but its checkpoint signs %d records: verify the log", j.p.Examined.Next-1, j.p.Size)
	}
	if j.opt.Progress != nil {
		j.opt.Progress(to-from, to-from)
	}
	if err := j.enc.End(); err != nil {
		return err
	}
	return j.out.Flush()
}

func (j *job) count(seq int64) {
	if j.p.Count == 0 {
		j.p.First = new(seq)
		j.p.Last = new(seq)
	}
	*j.p.Last = seq
	j.p.Count++
}

// counter counts bytes.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// NDJSON writes each record as it is stored, one a line: the leaf hash of a
// record is over its line without the newline.
type NDJSON struct{ w io.Writer }

// Begin implements Encoder.
func (e *NDJSON) Begin(w io.Writer, _ string) error { e.w = w; return nil }

// Record implements Encoder.
func (e *NDJSON) Record(_ int64, record []byte) error {
	if bytes.IndexByte(record, '\n') >= 0 {
		return fmt.Errorf("a record has a newline in it: the log was not written by this program")
	}
	if _, err := e.w.Write(record); err != nil {
		return err
	}
	_, err := io.WriteString(e.w, "\n")
	return err
}

// End implements Encoder.
func (*NDJSON) End() error { return nil }
