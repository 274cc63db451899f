// Package packer makes evidence packs (package pack) out of logs. It needs the
// directories of the logs, which it only reads, and what signs for each.
//
// It reads a log once, in constant memory, and keeps the files of the pack,
// compressed, in a temporary directory until all are there. The same logs, heads,
// period and options give the same bytes.
package packer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// Log is a log that goes into a pack.
type Log struct {
	Dir records.Dir
	// Signer signs the pack for the log; its name is the log's origin.
	Signer note.Signer
	// Keys verify the log's checkpoints: that of Signer and, after a rotation,
	// earlier ones.
	Keys []note.Verifier
	// Head is the tree to stand on, where no pack is made: Signer and Keys are not
	// used then, and nothing is verified. Default: the newest that is signed.
	Head *checkpoint.Head
}

// Options say what goes into a pack.
type Options struct {
	Period pack.Period
	// Full puts all raw records in. Without it those of requests are there by
	// their hashes only, but for denied and limited ones.
	Full bool
	// Samples are drawn of each log, in whatever order they are given.
	Samples []pack.Sample
	// Temp is the directory for temporary files. Default: that of the system.
	Temp string
	// Reserve is how many bytes are left free on the disk of Temp, to which the pack
	// goes too: ErrRoom. Default: none.
	Reserve int64
	// Progress, if not nil, is told how many records were read.
	Progress func(done, total int64)
	// Now is the clock; default: time.Now. It decides only whether the period has
	// begun: no time of the making is in a pack.
	Now func() time.Time
}

// Errors that callers tell apart.
var (
	ErrPeriod  = errors.New("what was asked for cannot be packed")
	ErrDamaged = errors.New("the log is damaged: verify it with soc2-verify")
)

// Write writes a pack to w and returns its manifest.
func Write(ctx context.Context, w io.Writer, logs []Log, opt Options) (*pack.Manifest, error) {
	if err := opt.check(logs); err != nil {
		return nil, err
	}
	b := &builder{ctx: ctx, opt: opt}
	var err error
	for _, l := range logs {
		if l.Head != nil {
			return nil, errors.New("a pack is made of the newest tree that is signed")
		}
	}
	if b.spool, err = newSpool(opt.Temp, newRoom(ctx, &opt)); err != nil {
		return nil, err
	}
	defer b.spool.remove()
	b.manifest = opt.manifest()
	if err := b.begin(logs); err != nil {
		return nil, err
	}
	for _, l := range b.logs {
		if err := l.pack(); err != nil {
			return nil, fmt.Errorf("packing the log %s: %w", l.entry.Origin, err)
		}
	}
	if err := b.whole(); err != nil {
		return nil, err
	}
	return b.manifest, b.write(within{b.spool.room, w})
}

func (o *Options) check(logs []Log) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Period.From, o.Period.To = o.Period.From.UTC(), o.Period.To.UTC()
	if err := o.Period.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrPeriod, err)
	}
	if now := o.Now(); o.Period.From.After(now) {
		return fmt.Errorf("%w: it begins at %s, which is in the future: it is %s", ErrPeriod, o.Period.From.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if len(logs) == 0 {
		return fmt.Errorf("%w: there is no log", ErrPeriod)
	}
	o.Samples = slices.Clone(o.Samples)
	pack.SortSamples(o.Samples)
	if err := pack.CheckSamples(o.Samples); err != nil {
		return fmt.Errorf("%w: %w", ErrPeriod, err)
	}
	return nil
}

// manifest is that of a pack before anything is known of its logs.
func (o *Options) manifest() *pack.Manifest {
	return &pack.Manifest{
		Schema: pack.Schema, Generator: pack.Generator, Period: o.Period, Full: o.Full, Logs: []pack.LogEntry{}, Samples: o.Samples,
	}
}

// builder makes a pack.
type builder struct {
	ctx      context.Context
	opt      Options
	spool    *spool
	manifest *pack.Manifest
	logs     []*logBuilder
	figures  []pack.Figures

	done, total int64
}

// begin reads the heads of the logs.
func (b *builder) begin(logs []Log) error {
	for _, l := range logs {
		lb, err := newLogBuilder(b, l)
		if err != nil {
			return err
		}
		b.logs = append(b.logs, lb)
	}
	slices.SortFunc(b.logs, func(x, y *logBuilder) int {
		return cmp.Compare(strings.ToLower(x.entry.Folder), strings.ToLower(y.entry.Folder))
	})
	for i, l := range b.logs {
		if i > 0 && strings.EqualFold(b.logs[i-1].entry.Folder, l.entry.Folder) {
			return fmt.Errorf("two logs, %s and %s, have the same name: a pack takes one of them", b.logs[i-1].entry.Origin, l.entry.Origin)
		}
		b.manifest.Logs = append(b.manifest.Logs, l.entry)
		b.total += l.log.Next - l.log.First
	}
	b.manifest.PackID = b.manifest.ID()
	return nil
}

// put adds a small file.
func (b *builder) put(name string, content []byte) error {
	f, err := b.spool.create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Close()
}

// whole makes the files that are of the pack, not of one log.
func (b *builder) whole() error {
	_, files, err := b.report()
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := b.put(name, content); err != nil {
			return err
		}
	}
	return nil
}

// report makes the report and what goes with it.
func (b *builder) report() (r *pack.Report, files map[string][]byte, err error) {
	criteria, err := indented(controls.Criteria())
	if err != nil {
		return nil, nil, err
	}
	definitions, err := b.definitions()
	if err != nil {
		return nil, nil, err
	}
	m := b.manifest
	r = &pack.Report{Schema: pack.Schema, Notice: pack.Notice, PackID: m.PackID, Period: m.Period, Full: m.Full, Logs: b.figures}
	if r.Criteria, err = pack.Judge(criteria, definitions, b.figures); err != nil {
		return nil, nil, err
	}
	if files, err = pack.Pages(r, m, criteria, definitions); err != nil {
		return nil, nil, err
	}
	if err := validate(files); err != nil {
		return nil, nil, err
	}
	sheets, err := pack.Sheets(r)
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(files, sheets)
	if files[pack.ReportFile], err = indented(r); err != nil {
		return nil, nil, err
	}
	if files[pack.BoundaryFile], err = pack.Boundary(); err != nil {
		return nil, nil, err
	}
	files[pack.CriteriaFile] = criteria
	files[pack.ChecksFile] = append(bytes.Join(definitions, []byte("\n")), '\n')
	files[pack.PopulationsFile], _ = population.Definitions()
	return r, files, nil
}

// write writes the container.
func (b *builder) write(w io.Writer) error {
	b.manifest.Files = b.spool.list()
	manifest, err := b.manifest.Marshal()
	if err != nil {
		return err
	}
	var signers []note.Signer
	for _, l := range b.logs {
		signers = append(signers, l.Signer)
	}
	envelope, err := pack.Seal(b.manifest, manifest, signers)
	if err != nil {
		return err
	}
	out := pack.NewWriter(w)
	for _, f := range b.manifest.Files {
		if err := b.spool.copy(out, f.Path); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{pack.ManifestFile, manifest}, {pack.EnvelopeFile, envelope}} {
		if err := b.put(f.name, f.content); err != nil {
			return err
		}
		if err := b.spool.copy(out, f.name); err != nil {
			return err
		}
	}
	return out.Close()
}
