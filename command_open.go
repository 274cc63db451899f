package soc2

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// openCommand shows what was sealed to who holds an identity.
func openCommand() *cobra.Command {
	cmd := command("open [DIR|-] --identity FILE", "Open what records have sealed",
		`Prints records of the log in DIR, one JSON object a line, with what the server sealed
in them (encrypt). It needs no server, and changes nothing. With - it reads records
from the standard input instead, as "export --format ndjson" writes them.

A line is the record as it is stored and, as its last member, "opened": the sealed
members, in the places that they would have in the record; or "not_opened": why they
cannot be had, for example that the user was forgotten. A record in which nothing is
sealed has neither.

--identity is a file with an age identity, as age-keygen writes it, to which the keys
are encrypted; - is the standard input. --keys is the server's directory of keys or a
copy of it, by default keys beside DIR.

Exit status: 0 all was opened, but for what was erased on purpose; 1 something was
not; 2 wrong usage.`,
		cobra.MaximumNArgs(1), runOpen)
	flags := cmd.Flags()
	flags.StringArray("identity", nil, "file with an age identity, or - for the standard input; may be repeated")
	flags.String("keys", "", "directory of keys; default: keys beside DIR")
	flags.Int64("record", -1, "index of one record")
	flags.String("id", "", "id of one request, which its response carries as X-Request-Id")
	flags.String("from", "", "index or time of the first record; default: the oldest")
	flags.String("to", "", "index or time before which to end; default: the newest")
	return cmd
}

func runOpen(cmd *cobra.Command, args []string) (int, error) {
	c, err := newOpening(cmd, args)
	if err != nil {
		return 2, err
	}
	list, _ := cmd.Flags().GetStringArray("identity")
	identities, err := readIdentities(list, cmd.InOrStdin(), c.dir == "-")
	if err != nil {
		return 2, err
	}
	keys, _ := cmd.Flags().GetString("keys")
	if keys == "" {
		keys = keysBeside(c.dir)
	}
	if info, err := os.Stat(keys); err != nil || !info.IsDir() {
		return 2, fmt.Errorf("%s is not a directory of keys: name the server's, or a copy of it, with --keys", keys)
	}
	c.opener = personal.NewOpener(durable.OS{}, keys, identities...)
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	if c.dir == "-" {
		err = c.readLines(cmd.InOrStdin())
	} else {
		err = c.readLog(ctx)
	}
	if errors.Is(err, syscall.EPIPE) {
		return 0, nil
	}
	fmt.Fprintln(cmd.ErrOrStderr(), c.summary())
	if err != nil || c.failed > 0 {
		return 1, err
	}
	return 0, nil
}

// keysBeside is the directory of keys of the server that writes a log.
func keysBeside(dir string) string {
	if dir == "-" {
		dir = logDir(nil)
	}
	return filepath.Join(filepath.Dir(filepath.Clean(dir)), keysFolder)
}

// readIdentities reads the files of age identities.
func readIdentities(files []string, stdin io.Reader, taken bool) (all []age.Identity, err error) {
	if len(files) == 0 {
		return nil, errors.New("--identity is needed: the file, as age-keygen writes it, of an identity to whose recipient the server encrypts")
	}
	for _, name := range files {
		var text []byte
		switch {
		case name != "-":
			text, err = os.ReadFile(name)
		case taken:
			err = errors.New("the standard input holds records: name a file")
		default:
			text, err = io.ReadAll(io.LimitReader(stdin, 1<<20))
		}
		if err != nil {
			return nil, fmt.Errorf("--identity: %w", err)
		}
		list, err := parseIdentities(text)
		if err != nil {
			return nil, fmt.Errorf("--identity %s: %w", name, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// parseIdentities never repeats what it cannot read: it may be half a secret.
func parseIdentities(text []byte) ([]age.Identity, error) {
	switch {
	case bytes.HasPrefix(text, []byte("age-encryption.org/")), bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE")):
		return nil, errors.New("it is itself encrypted: age -d FILE | caddy soc2 open --identity - …")
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("age1")):
		return nil, errors.New("it is a recipient, the public half: give the file with AGE-SECRET-KEY-…")
	}
	list, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("it is no age identity: give a file as age-keygen writes it, with a line AGE-SECRET-KEY-…")
	}
	return list, nil
}

// opening is a run of the command open.
type opening struct {
	dir       string // of the log; - is the standard input
	record    int64  // index of one record; -1: not asked for
	id        audit.ID
	selection export.Selection
	opener    *personal.Opener
	out       io.Writer

	records, opened, failed int
	erased                  int
	reasons                 map[string]int // why boxes did not open, and how often
}

// newOpening reads the flags that select records.
func newOpening(cmd *cobra.Command, args []string) (*opening, error) {
	c := &opening{dir: logDir(args), out: printer(cmd), reasons: map[string]int{}}
	flags := cmd.Flags()
	c.record, _ = flags.GetInt64("record")
	ranged := flags.Changed("from") || flags.Changed("to")
	if flags.Changed("record") && c.record < 0 {
		return nil, fmt.Errorf("--record %d: an index is not negative", c.record)
	}
	chosen := 0
	for _, on := range []bool{flags.Changed("record"), flags.Changed("id"), ranged} {
		if on {
			chosen++
		}
	}
	if chosen > 1 {
		return nil, errors.New("--record, --id, and --from with --to, exclude each other")
	}
	if text, _ := flags.GetString("id"); flags.Changed("id") {
		var err error
		if c.id, err = audit.ParseID(text); err != nil {
			return nil, fmt.Errorf("--id: %w", err)
		}
	}
	return c, selectionOf(cmd, &c.selection)
}

// selectionOf reads the flags --from and --to.
func selectionOf(cmd *cobra.Command, s *export.Selection) error {
	for name, bound := range map[string]*export.Bound{"from": &s.From, "to": &s.To} {
		text, _ := cmd.Flags().GetString(name)
		var err error
		if *bound, err = export.ParseBound(text); err != nil {
			return fmt.Errorf("--%s %w", name, err)
		}
	}
	return nil
}

// readLog shows records of a directory.
func (c *opening) readLog(ctx context.Context) error {
	dir, err := recordsOf(c.dir)
	if err != nil {
		return err
	}
	var record []byte
	switch {
	case c.record >= 0:
		record, err = dir.Record(c.record)
	case c.id != audit.ID{}:
		_, record, err = audit.Find(ctx, dir, c.id)
	default:
		return c.selection.Each(ctx, dir, func(_ int64, record []byte) error { return c.show(record) })
	}
	if err != nil {
		return err
	}
	return c.show(record)
}

// maxLine is more than any record is long.
const maxLine = 1 << 20

// readLines shows records that come one a line.
func (c *opening) readLines(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		h, err := audit.ParseHeader(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d of the standard input is no record: %w", n, err)
		}
		if c.record >= 0 && h.Seq != c.record || c.id != (audit.ID{}) && h.ID != c.id.String() || !c.selection.Has(h.Seq, lines.Bytes()) {
			continue
		}
		if err := c.show(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading records from the standard input: %w", err)
	}
	if (c.record >= 0 || c.id != audit.ID{}) && c.records == 0 {
		return errors.New("the record is not in the standard input")
	}
	return nil
}

// show prints a record with what is sealed in it.
func (c *opening) show(record []byte) error {
	r, err := audit.Decode(record)
	if err != nil {
		return err
	}
	c.records++
	line := slices.Clone(record)
	var ev *audit.Event
	switch body := r.Body.(type) {
	case *audit.Event:
		ev = body
	case *audit.Intent:
		ev = (*audit.Event)(body)
	case *audit.Opening:
		ev = (*audit.Event)(body)
	}
	if ev != nil && len(ev.Personal) > 0 {
		line = c.lay(bytes.TrimSuffix(bytes.TrimSpace(line), []byte("}")), ev)
	}
	_, err = c.out.Write(append(line, '\n'))
	return err
}

// lay appends what is in the box of an event, and the end of the record.
func (c *opening) lay(line []byte, ev *audit.Event) []byte {
	fields, err := c.opener.Open(ev.ID, ev.PersonalKey, ev.Personal)
	if err == nil {
		c.opened++
		line = append(append(line, `,"opened":`...), fields.JSON...)
		return append(line, '}')
	}
	if errors.Is(err, personal.ErrDestroyed) || errors.Is(err, personal.ErrForgotten) {
		c.erased++
	} else {
		c.failed++
	}
	c.reasons[reasonOf(err)]++
	return append(audit.AppendQuoted(append(line, `,"not_opened":`...), err.Error()), '}')
}

// reasonOf is the reason without what is particular to a record.
func reasonOf(err error) string {
	for _, reason := range []error{personal.ErrDestroyed, personal.ErrForgotten, personal.ErrNoKey, personal.ErrIdentity, personal.ErrBox} {
		if errors.Is(err, reason) {
			return reason.Error()
		}
	}
	return "a key file is damaged"
}

func (c *opening) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records; %d opened, %d not", c.records, c.opened, c.failed+c.erased)
	for _, reason := range slices.Sorted(maps.Keys(c.reasons)) {
		fmt.Fprintf(&b, "; %d: %s", c.reasons[reason], reason)
	}
	return b.String()
}
