package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
)

// ProofCommand verifies that a record is in a log, from a C2SP tlog-proof and
// the record alone, and reports as a command does.
type ProofCommand struct {
	Proof  string // file of the proof
	Record string // file of the record
	Keys   []note.Verifier
	JSON   bool
	Stdout io.Writer
	Stderr io.Writer
}

// proofReport is what is known of a record.
type proofReport struct {
	Verified bool     `json:"verified"`
	Problem  string   `json:"problem,omitempty"`
	Index    int64    `json:"seq"`
	Origin   string   `json:"origin,omitempty"`
	Size     int64    `json:"tree_size,omitempty"`
	Root     string   `json:"root,omitempty"`
	Others   []string `json:"signatures_not_verified,omitempty"`
}

// Run returns the exit code. The record's file may end with a newline, which is
// not part of the record.
func (c ProofCommand) Run() int {
	text, err := readAtMost(c.Proof, tlogproof.MaxBytes)
	var record []byte
	if err == nil {
		record, err = readAtMost(c.Record, 1<<16)
	}
	var p tlogproof.Proof
	if err == nil {
		if p, err = tlogproof.Parse(text); err != nil {
			err = fmt.Errorf("%s: %w", c.Proof, err)
		}
	}
	if err != nil {
		fmt.Fprintf(c.Stderr, "cannot verify the record: %s\n", clean(err.Error()))
		return ExitCannotTell
	}
	r := proofReport{Index: p.Index}
	head, others, err := p.Verify(bytes.TrimSuffix(record, []byte("\n")), c.Keys...)
	if r.Verified = err == nil; r.Verified {
		r.Origin, r.Size, r.Root, r.Others = head.Origin, head.Size, head.Root.String(), others
	} else {
		r.Problem = err.Error()
	}
	if err := c.print(r); err != nil {
		fmt.Fprintf(c.Stderr, "cannot write the report: %v\n", err)
		return ExitCannotTell
	}
	if !r.Verified {
		return ExitTampered
	}
	return ExitVerified
}

func (c ProofCommand) print(r proofReport) error {
	if c.JSON {
		e := json.NewEncoder(c.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	if !r.Verified {
		_, err := fmt.Fprintf(c.Stdout, "FAILED     %s\n", clean(r.Problem))
		return err
	}
	_, err := fmt.Fprintf(c.Stdout, "VERIFIED   the record is record %d of the log\norigin     %s\ntree size  %d\nroot       %s\n",
		r.Index, clean(r.Origin), r.Size, r.Root)
	for _, name := range r.Others {
		if err == nil {
			_, err = fmt.Fprintf(c.Stdout, "note       the signature of %s is not verified: its key is not given\n", clean(name))
		}
	}
	return err
}

// readAtMost reads a file that is not larger than what it can be.
func readAtMost(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return b, err
}
