package packer

import (
	"context"
	"fmt"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// Report returns the report of a pack of the logs, and its page, without making
// the pack.
func Report(ctx context.Context, logs []Log, opt Options) (*pack.Report, []byte, error) {
	r, files, err := Documents(ctx, logs, opt)
	return r, files[pack.PageFile], err
}

// Documents returns the report of a pack of the logs, and what is made of it, by
// the names that the files have in the pack, without making the pack.
func Documents(ctx context.Context, logs []Log, opt Options) (*pack.Report, map[string][]byte, error) {
	b, err := bare(ctx, logs, opt)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range b.logs {
		if err := l.count(pack.NewAccount(&l.log, b.opt.Period, nil)); err != nil {
			return nil, nil, fmt.Errorf("reading the log %s: %w", l.entry.Origin, err)
		}
	}
	return b.report()
}

// Definitions returns the documents that say nothing of what happened: the
// catalog of criteria, and the component. No record is read for them. They are
// those of a pack, unless checks were made by other definitions in its period.
func Definitions(ctx context.Context, logs []Log, opt Options) (map[string][]byte, error) {
	b, err := bare(ctx, logs, opt)
	if err != nil {
		return nil, err
	}
	_, files, err := b.report()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{pack.CatalogFile: files[pack.CatalogFile], pack.ComponentFile: files[pack.ComponentFile]}, nil
}

// History follows one check through the period, by its id. It tells fn each span
// with one result in order, and returns the figures of the log, in which that
// check alone is: they are those that a pack has of it.
func History(ctx context.Context, log Log, opt Options, check string, fn func(*pack.Span) error) (*pack.Figures, error) {
	b, err := bare(ctx, []Log{log}, opt)
	if err != nil {
		return nil, err
	}
	l := b.logs[0]
	if err := l.count(pack.Follow(&l.log, b.opt.Period, check, fn)); err != nil {
		return nil, fmt.Errorf("reading the log %s: %w", l.entry.Origin, err)
	}
	return &b.figures[0], nil
}

// bare begins a pack that is not written.
func bare(ctx context.Context, logs []Log, opt Options) (*builder, error) {
	if err := opt.check(logs); err != nil {
		return nil, err
	}
	b := &builder{ctx: ctx, opt: opt}
	b.manifest = opt.manifest()
	return b, b.begin(logs)
}

// count makes the figures of the log alone.
func (l *logBuilder) count(a *pack.Account) error {
	if err := a.Draw(l.b.opt.Samples); err != nil {
		return err
	}
	l.account, l.dry = a, true
	if err := l.walk(); err != nil {
		return err
	}
	f, err := l.account.End()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	l.b.figures = append(l.b.figures, f)
	return nil
}
