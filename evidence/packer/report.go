package packer

import (
	"context"
	"fmt"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// Report returns the report of a pack of the logs, and its page, without making
// the pack.
func Report(ctx context.Context, logs []Log, opt Options) (*pack.Report, []byte, error) {
	if err := opt.check(logs); err != nil {
		return nil, nil, err
	}
	b := &builder{ctx: ctx, opt: opt}
	b.manifest = opt.manifest()
	if err := b.begin(logs); err != nil {
		return nil, nil, err
	}
	for _, l := range b.logs {
		if err := l.count(); err != nil {
			return nil, nil, fmt.Errorf("reading the log %s: %w", l.entry.Origin, err)
		}
	}
	r, files, err := b.report()
	if err != nil {
		return nil, nil, err
	}
	return r, files[pack.PageFile], nil
}

// count makes the figures of the log alone.
func (l *logBuilder) count() error {
	l.account = pack.NewAccount(&l.log, l.b.opt.Period, nil)
	if err := l.account.Draw(l.b.opt.Samples); err != nil {
		return err
	}
	l.dry = true
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
