package population

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// Provenance says where an export comes from: what an auditor needs to judge
// that it is complete and accurate. It is what FILE.provenance.json holds.
type Provenance struct {
	Population string     `json:"population"`
	Definition Definition `json:"definition"`
	Columns    []string   `json:"columns,omitempty"` // if the format has columns
	Format     string     `json:"format"`
	Tool       string     `json:"tool"` // program and version that made the export

	Origin     string `json:"origin"`        // of the log
	Key        string `json:"key,omitempty"` // verifier key of the log (C2SP signed-note)
	Size       int64  `json:"tree_size"`     // that the checkpoint signs
	Root       string `json:"root"`          // base64
	Checkpoint string `json:"checkpoint"`    // signed note

	// Period is half-open; a bound that is absent is none.
	Period   Period   `json:"period"`
	Coverage Coverage `json:"coverage"`

	First *int64 `json:"first_seq"` // of the records that rows stand on; null if there are none
	Last  *int64 `json:"last_seq"`
	Count int64  `json:"count"` // rows

	Bytes  int64     `json:"bytes"`
	SHA256 string    `json:"sha256"` // of the export, in hex
	MadeAt time.Time `json:"made_at,omitzero"`
	MadeBy string    `json:"made_by,omitempty"`
}

// Definition is the version and the SHA-256, in hex, of the definitions of
// populations.
type Definition struct {
	Version int    `json:"version"`
	SHA256  string `json:"sha256"`
}

// ProvenanceSuffix ends the name of the file that tells where an export comes
// from, beside it.
const ProvenanceSuffix = ".provenance.json"

// Export says what Write writes.
type Export struct {
	Options
	Format  string  // name of the format
	Encoder Encoder // of it. Default: that of Formats
	Tool    string  // program and version, for the provenance

	// MadeAt and MadeBy go into the provenance. Without a time, the same log,
	// period and format give the same provenance.
	MadeAt time.Time
	MadeBy string
}

// Begin returns the provenance of an export before its rows are read.
func (x *Export) Begin(log *Log) Provenance {
	p := Provenance{
		Population: x.Population.Name, Definition: Definition{all.Version, definition}, Format: x.Format, Tool: x.Tool,
		Origin: log.Head.Origin, Key: log.Key, Size: log.Head.Size, Root: log.Head.Root.String(), Checkpoint: string(log.Checkpoint),
		Period: x.Period, MadeAt: x.MadeAt.UTC(), MadeBy: x.MadeBy,
	}
	if x.Format == "csv" || x.Population.Derived {
		p.Columns = x.Population.header()
	}
	return p
}

// Write writes the rows of a population. It does not verify the log.
func Write(ctx context.Context, log *Log, w io.Writer, x Export) (Provenance, error) {
	p := x.Begin(log)
	enc := x.Encoder
	if enc == nil {
		fresh, ok := Formats[x.Format]
		if !ok {
			return p, fmt.Errorf("%w: there is no format %q", ErrOption, x.Format)
		}
		enc = fresh()
	}
	hash := sha256.New()
	counted := &counter{w: io.MultiWriter(w, hash)}
	out := bufio.NewWriterSize(counted, 1<<16)
	if err := enc.Begin(out, x.Population, log); err != nil {
		return p, fmt.Errorf("exporting: %w", err)
	}
	x.Bare = x.Format != "csv"
	r, err := Rows(ctx, log, x.Options, enc.Row)
	if err == nil {
		err = enc.End()
	}
	if err == nil {
		err = out.Flush()
	}
	p.Coverage, p.Count = r.Coverage, r.Count
	if r.Count > 0 {
		p.First, p.Last = &r.First, &r.Last
	}
	if err != nil {
		return p, fmt.Errorf("exporting %s: %w", x.Population.Name, err)
	}
	p.Bytes, p.SHA256 = counted.n, hex.EncodeToString(hash.Sum(nil))
	return p, nil
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
