package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// The exit codes of a verifying command.
const (
	ExitVerified   = 0 // the log is what its checkpoint signs
	ExitTampered   = 1 // there is evidence of tampering or of a gap
	ExitUsage      = 2 // the command was called wrongly
	ExitCannotTell = 3 // the verification could not be made
)

// Keys parses verifier keys, each NAME+HASH+KEY (C2SP signed-note) or the name
// of a file that holds one. With @N behind it a key is good for checkpoints of
// at most N records (checkpoint.Until): those that it signed before it was
// retired.
func Keys(list []string) ([]note.Verifier, error) {
	var keys []note.Verifier
	for _, s := range list {
		v, err := parseKey(s)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(keys, func(k note.Verifier) bool { return k.Name() == v.Name() && k.KeyHash() == v.KeyHash() })
		if i < 0 {
			keys = append(keys, v)
			continue
		}
		a, aok := checkpoint.LimitOf(keys[i])
		if b, bok := checkpoint.LimitOf(v); a != b || aok != bok {
			return nil, fmt.Errorf("--key %s is given twice, with different ends (@N)", s)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("--key is needed: the log's verifier key, which \"caddy soc2 key show\" prints; have it from somewhere else than from the log's host")
	}
	return keys, nil
}

// keyLimit is what may follow a key.
var keyLimit = regexp.MustCompile(`@(0|[1-9][0-9]{0,17})$`)

func parseKey(s string) (note.Verifier, error) {
	text, limit := s, ""
	if m := keyLimit.FindStringSubmatch(s); m != nil {
		text, limit = strings.TrimSuffix(s, m[0]), m[1]
	}
	if !strings.Contains(text, "+") {
		b, err := os.ReadFile(text)
		if err != nil {
			return nil, fmt.Errorf("--key %s is neither a verifier key (NAME+HASH+KEY) nor a file with one: %w", s, err)
		}
		text = string(b)
	}
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("--key %q is not a verifier key (NAME+HASH+KEY): %w", strings.TrimSpace(text), err)
	}
	if limit == "" {
		return v, nil
	}
	n, err := strconv.ParseInt(limit, 10, 64)
	return checkpoint.Until(v, n), err
}

// Command verifies the log in a directory and reports as a command does.
type Command struct {
	Dir         string
	Keys        []note.Verifier
	JSON        bool
	Checkpoints []string   // files with checkpoints that were kept
	State       string     // state file; default: none
	Full        bool       // read all of the log, in spite of the state file
	Outsiders   *Outsiders // who saw the log; default: nobody is known
	Stdout      io.Writer
	Stderr      io.Writer
}

// Run returns the exit code.
func (c Command) Run() int {
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
		fmt.Fprintf(c.Stderr, "cannot verify %s: it is not a directory that can be read\n", c.Dir)
		return ExitCannotTell
	}
	if inside := records.Inside(c.Dir); inside != "" {
		fmt.Fprintf(c.Stderr, "cannot verify %s: it is not an audit log: did you mean %s?\n", c.Dir, inside)
		return ExitCannotTell
	}
	opt, err := c.options()
	if err != nil {
		fmt.Fprintf(c.Stderr, "cannot verify %s: %v\n", c.Dir, err)
		return ExitCannotTell
	}
	r, err := Dir(os.DirFS(c.Dir), c.Keys, opt)
	c.endProgress()
	if err != nil {
		fmt.Fprintf(c.Stderr, "cannot verify %s: %v\n", c.Dir, err)
		return ExitCannotTell
	}
	if c.Outsiders != nil {
		r.Problems = append(r.Problems, c.Outsiders.missing()...)
		r.Notes = append(r.Notes, c.Outsiders.lagging()...)
	}
	if c.JSON {
		e := json.NewEncoder(c.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(struct {
			Verified bool `json:"verified"`
			*Report
		}{r.OK(), r})
	} else {
		_, err = io.WriteString(c.Stdout, r.Text())
	}
	switch {
	case err != nil:
		fmt.Fprintf(c.Stderr, "cannot write the report: %v\n", err)
		return ExitCannotTell
	case !r.OK():
		return ExitTampered
	}
	return ExitVerified
}

// options reads the files that the options name.
func (c Command) options() (opt Options, err error) {
	opt = Options{Progress: c.progress(), Full: c.Full}
	if c.Outsiders != nil {
		opt.Vouch = c.Outsiders.Vouch
	}
	if opt.Earlier, err = Checkpoints(c.Checkpoints, os.ReadFile); err != nil || c.State == "" {
		return opt, err
	}
	if opt.State, err = LoadState(c.State); err != nil {
		return opt, err
	}
	opt.StateName = c.State
	opt.Save = func(s *State) error { return s.Store(c.State) }
	return opt, nil
}

// terminal is where a person watches, or nil.
func (c Command) terminal() *os.File {
	f, ok := c.Stderr.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return f
}

// progress shows how far the verification is, if a person is watching.
func (c Command) progress() func(Progress) {
	f := c.terminal()
	if f == nil {
		return nil
	}
	return func(p Progress) { fmt.Fprintf(f, "\r\x1b[K%s", p) }
}

func (c Command) endProgress() {
	if f := c.terminal(); f != nil {
		fmt.Fprint(f, "\r\x1b[K")
	}
}

// String is one line for a person who waits.
func (p Progress) String() string {
	percent := int64(100)
	if p.OfBytes > 0 {
		percent = min(100, 100*p.Bytes/p.OfBytes)
	}
	return fmt.Sprintf("verifying: %d%%, segment %d of %d, %d of %d MB of files, %.0f MB of records a second",
		percent, p.Segments, p.OfSegments, p.Bytes/1e6, p.OfBytes/1e6, p.Rate()/1e6)
}

// shown is how many problems a text report lists.
const shown = 20

// Text returns the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	if r.OK() {
		line("VERIFIED", "%d records", r.Signed)
		if n := r.Records - r.Signed; n > 0 {
			line("unsigned", "%d records after them", n)
		}
		if r.Pruned > 0 {
			line("by hash", "records 0 to %d, which were removed after their time of retention", r.Pruned-1)
		}
		if r.Resumed > 0 {
			line("resumed", "records before %d were verified by an earlier run: their files and hash tiles are unchanged, and were compared byte by byte, but not read as records again", r.Resumed)
		}
	} else {
		line("FAILED", "%s", r.Problems[0])
		for _, p := range r.Problems[1:min(len(r.Problems), shown)] {
			line("", "%s", p)
		}
		if n := len(r.Problems) - shown; n > 0 {
			line("", "and %d more", n)
		}
		line("read", "%d whole and valid records", r.Records)
	}
	if r.Origin != "" {
		line("origin", "%s", r.Origin)
		line("tree size", "%d", r.Signed)
		line("root", "%s", r.Root)
	}
	if r.Records > 0 {
		line("from", "%s", r.From)
		line("to", "%s", r.To)
	}
	line("files", "%d segments, %d of them sealed; %d hash tiles", r.Segments, r.Sealed, r.Tiles)
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	return b.String()
}

// clean makes text from a log fit to print: what it holds must not move the
// cursor of whoever verifies it.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}
