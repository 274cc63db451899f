package soc2

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// packsFolder is the directory of evidence packs below the data directory.
const packsFolder = "packs"

// desks holds the desks of this process by directory. A configuration that
// replaces another takes its desk over, so that a reload ends no job.
var desks = caddy.NewUsagePool()

// sharedDesk is a desk that configurations share.
type sharedDesk struct{ *jobs.Desk }

// Destruct implements caddy.Destructor.
func (d sharedDesk) Destruct() error {
	d.Close()
	return nil
}

// openDesk opens the desk of the data directory, or joins it. It is opened when
// the configuration starts, not when it is made: "caddy validate" must not end
// the jobs of a running server.
func (a *App) openDesk() error {
	dir, err := filepath.Abs(filepath.Join(a.DataDir, packsFolder))
	if err != nil {
		return err
	}
	v, _, err := desks.LoadOrNew(dir, func() (caddy.Destructor, error) {
		d, err := jobs.Open(jobs.Options{Dir: dir, Log: currentLog, Record: recordNow, Report: reportPack})
		return sharedDesk{d}, err
	})
	if err != nil {
		return err
	}
	d, _ := v.(sharedDesk)
	a.deskDir = dir
	a.desk.Store(d.Desk)
	return nil
}

// leaveDesk leaves the desk. The last configuration to leave closes it.
func (a *App) leaveDesk() error {
	if a.desk.Swap(nil) == nil {
		return nil
	}
	_, err := desks.Delete(a.deskDir)
	return err
}

var errNoLog = errors.New("there is no audit log that is open")

// currentLog is the log of this process, as it is packed.
func currentLog(ctx context.Context) (l packer.Log, err error) {
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return l, errNoLog
	}
	defer book.Release()
	return packedLog(ctx, book.Log())
}

// packedLog has an open log sign what it has so far, and returns it to be packed.
func packedLog(ctx context.Context, log *audit.Log) (l packer.Log, err error) {
	if err := log.Sign(ctx, log.Next()); err != nil {
		return l, err
	}
	l = packer.Log{Dir: log.Records(), Signer: log.Key()}
	for _, k := range log.Keys() {
		v, err := k.Verifier()
		if err != nil {
			return l, err
		}
		l.Keys = append(l.Keys, v)
	}
	return l, nil
}

// recordNow appends a record to the log of this process, and waits until it is
// durable.
func recordNow(body audit.Body) error {
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return errNoLog
	}
	defer book.Release()
	return book.Write(body, true)
}

func reportPack(err error) {
	caddy.Log().Named("soc2").Error("making evidence packs", zap.Error(err))
}

// Packs implements evidence.PackMaker: where packs are ordered.
func (a *App) Packs() *jobs.Desk { return a.desk.Load() }

var (
	_ evidence.PackMaker = (*App)(nil)
	_ note.Signer        = (*audit.Key)(nil)
)
