package schedule

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// produce makes the file of a task. It has its name when it is whole.
func (s *Schedule) produce(ctx context.Context, t *task) (m made, err error) {
	log, err := s.opt.Log(ctx)
	if err != nil {
		return m, err
	}
	if err := durable.MakeDir(durable.OS{}, t.plan.To); err != nil {
		return m, err
	}
	temp, err := t.plan.temp(t.what)
	if err != nil {
		return m, err
	}
	defer func() { _ = os.RemoveAll(temp) }() // what is left is removed by the next attempt
	opt := packer.Options{Period: t.period, Full: t.plan.Full, Temp: temp, Reserve: packer.Reserve, Now: s.opt.Now}
	f, err := os.OpenFile(filepath.Join(temp, "out"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, durable.FileMode)
	if err != nil {
		return m, err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	if t.what == Pack {
		m, err = writePack(ctx, out, log, opt)
	} else {
		m, err = writeReport(ctx, out, log, opt)
	}
	if err == nil {
		err = errors.Join(out.Flush(), f.Sync())
	}
	info, serr := f.Stat()
	if err = errors.Join(err, serr, f.Close()); err != nil {
		return m, err
	}
	m.bytes = info.Size()
	if err := os.Rename(f.Name(), t.file()); err != nil {
		return m, err
	}
	return m, durable.OS{}.SyncDir(t.plan.To)
}

// temp makes a directory for what is not done yet, and removes those of attempts
// that a crash ended.
func (p *Plan) temp(what string) (string, error) {
	old, err := os.ReadDir(p.To)
	for _, e := range old {
		if name := e.Name(); strings.HasPrefix(name, "."+p.prefix(what)) && strings.HasSuffix(name, durable.TempSuffix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(p.To, name)))
		}
	}
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(p.To, "."+p.prefix(what)+"*"+durable.TempSuffix)
}

func writePack(ctx context.Context, out *bufio.Writer, log packer.Log, opt packer.Options) (m made, err error) {
	p, err := packer.Write(ctx, out, []packer.Log{log}, opt)
	if err == nil {
		m = made{id: p.PackID, size: p.Logs[0].Size, root: p.Logs[0].Root}
	}
	return m, err
}

func writeReport(ctx context.Context, out *bufio.Writer, log packer.Log, opt packer.Options) (m made, err error) {
	r, page, err := packer.Report(ctx, []packer.Log{log}, opt)
	if err == nil {
		m = madeOf(r, int64(len(page)))
		_, err = out.Write(page)
	}
	return m, err
}

// prune removes the oldest files of a plan.
func (p *Plan) prune(what string) error {
	if p.Keep == 0 {
		return nil
	}
	entries, err := os.ReadDir(p.To)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), p.prefix(what)) && filepath.Ext(e.Name()) == ends[what] && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names) // by their periods
	for _, name := range names[:max(0, len(names)-p.Keep)] {
		err = errors.Join(err, os.Remove(filepath.Join(p.To, name)))
	}
	return err
}
