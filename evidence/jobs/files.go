package jobs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// The ends of names in the directory.
const (
	jobEnd  = ".json"
	packEnd = ".zip"
)

var idForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// file is the name of a file of a job.
func (d *Desk) file(id, end string) string { return filepath.Join(d.opt.Dir, id+end) }

// load reads the directory, ends what an earlier process left, and removes what
// belongs to no job.
func (d *Desk) load() error {
	if err := durable.MakeDir(durable.OS{}, d.opt.Dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.opt.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), jobEnd)
		if !ok || !idForm.MatchString(id) {
			continue
		}
		b, err := durable.ReadFile(durable.OS{}, d.file(id, jobEnd))
		if err != nil {
			return err
		}
		j := new(Job)
		if json.Unmarshal(b, j) == nil && j.ID == id {
			d.jobs[id] = j
		}
	}
	for _, e := range entries {
		if err := d.sweep(e.Name()); err != nil {
			return err
		}
	}
	for _, j := range d.jobs {
		if !j.State.Over() {
			d.end(j, Interrupted, errInterrupted)
		}
	}
	d.prune()
	return nil
}

// sweep removes what is left of a pack that was not done, and files of jobs that
// cannot be read.
func (d *Desk) sweep(name string) error {
	id, end := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	j := d.jobs[id]
	switch {
	case strings.HasPrefix(name, "soc2-pack-"), end == durable.TempSuffix:
	case !idForm.MatchString(id), end == jobEnd && j != nil, end == packEnd && j != nil && j.State == Done:
		return nil // it is in use, or not ours
	}
	return os.RemoveAll(filepath.Join(d.opt.Dir, name))
}

// save writes the file of a job.
func (d *Desk) save(j *Job) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.OS{}, d.file(j.ID, jobEnd), b)
}

// remove removes a job and its pack. The caller holds mu.
func (d *Desk) remove(id string) error {
	delete(d.jobs, id)
	err := os.Remove(d.file(id, packEnd))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(d.file(id, jobEnd)))
}

// prune removes the oldest packs, but for as many as are kept, and likewise jobs
// that left none. The caller holds mu, or has the desk for itself.
func (d *Desk) prune() {
	over := map[bool][]*Job{} // by whether there is a pack
	for _, j := range d.jobs {
		if j.State.Over() {
			over[j.State == Done] = append(over[j.State == Done], j)
		}
	}
	for _, list := range over {
		slices.SortFunc(list, func(a, b *Job) int { return b.Ended.Compare(a.Ended) })
		for _, j := range list[min(len(list), d.opt.Keep):] {
			if err := d.remove(j.ID); err != nil {
				d.report(fmt.Errorf("removing the pack %s: %w", j.ID, err))
			}
		}
	}
}

// produce makes a pack and returns a job with what is known of it.
func (d *Desk) produce(ctx context.Context, id string, o Order) (result Job, err error) {
	log, err := d.opt.Log(ctx)
	if err != nil {
		return result, err
	}
	tmp := d.file(id, durable.TempSuffix)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, durable.FileMode)
	if err != nil {
		return result, err
	}
	defer func() { _ = os.Remove(tmp) }() // after it was renamed there is none
	sum, out := sha256.New(), bufio.NewWriterSize(f, 1<<20)
	m, err := packer.Write(ctx, io.MultiWriter(out, sum), []packer.Log{log}, d.options(id, &o))
	if err == nil {
		err = errors.Join(out.Flush(), f.Sync())
	}
	info, serr := f.Stat()
	if err = errors.Join(err, serr, f.Close()); err != nil {
		return result, err
	}
	if err := os.Rename(tmp, d.file(id, packEnd)); err != nil {
		return result, err
	}
	result = Job{PackID: m.PackID, Bytes: info.Size(), SHA256: hex.EncodeToString(sum.Sum(nil))}
	result.Size, result.Root = m.Logs[0].Size, m.Logs[0].Root
	return result, durable.OS{}.SyncDir(d.opt.Dir)
}
