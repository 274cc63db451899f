package pack

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// Command verifies a pack and reports as a command does.
type Command struct {
	File     string
	Keys     []note.Verifier
	JSON     bool
	Stdout   io.Writer
	Stderr   io.Writer
	Progress func(done, total int64) // default: nobody is told
}

// Run returns the exit code, one of package verify.
func (c Command) Run() int {
	r, err := c.verify()
	if err != nil {
		fmt.Fprintf(c.Stderr, "cannot verify %s: %s\n", c.File, clean(err.Error()))
		return verify.ExitCannotTell
	}
	if c.JSON {
		e := json.NewEncoder(c.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		_, err = io.WriteString(c.Stdout, r.Text())
	}
	switch {
	case err != nil:
		fmt.Fprintf(c.Stderr, "cannot write the report: %v\n", err)
		return verify.ExitCannotTell
	case !r.Verified:
		return verify.ExitTampered
	}
	return verify.ExitVerified
}

func (c Command) verify() (*Result, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is neither a directory nor a regular file")
	}
	return Verify(f, info.Size(), c.Keys, Options{Progress: c.Progress})
}

// Text returns the result for people.
func (r *Result) Text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	for _, p := range r.Problems {
		line("FAILED", "%s", p)
	}
	if r.Verified {
		line("VERIFIED", "pack %s, signed by %s", r.PackID, strings.Join(r.SignedBy, " and "))
	}
	if r.Period != nil {
		line("period", "%s to before %s", r.Period.From.Format(time.RFC3339Nano), r.Period.To.Format(time.RFC3339Nano))
	}
	for _, l := range r.Logs {
		line("log", "%s: %d records, root %s", l.Origin, l.Size, l.Root)
	}
	if r.Records+r.Hashed > 0 {
		line("read", "%d records, and the hashes of %d more, in %d files", r.Records, r.Hashed, r.Files)
	}
	for _, u := range r.Unchecked {
		line("unchecked", "%s", u)
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	return b.String()
}

// clean makes text of a pack fit to print.
func clean(s string) string { return strings.ReplaceAll(Visible(s), "\n", " ") }
