package soc2

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
)

// checksFile is where the results of checks are kept for a later process, below
// the data directory.
const checksFile = "state/checks"

// checks reads the option checks:
//
//	checks {
//		every     60s
//		threshold TLS-005 left 21d
//		except    UPS-004 "single node" until 2027-01-31 by platform-team
//	}
func (a *App) checks(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 checks takes a block and no argument, but has %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "every":
			err = duration(d, &a.Checks.Interval)
		case "threshold":
			if serr := a.Checks.Set(d.RemainingArgs()); serr != nil {
				err = d.Errf("soc2 checks threshold: %v", serr)
			}
		case "except":
			err = a.except(d)
		default:
			err = d.Errf("soc2 checks has no option %q: it has every, threshold and except", d.Val())
		}
		if err != nil {
			return err
		}
	}
	if err := a.Checks.Validate(time.Now()); err != nil {
		return d.Errf("soc2 checks: %v", err)
	}
	return nil
}

// except reads an exception. It expires at the end of the day.
func (a *App) except(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 6 || args[2] != "until" || args[4] != "by" {
		return d.Err("soc2 checks except is written: except CHECK \"why\" until 2027-01-31 by WHO")
	}
	until, err := time.Parse(time.DateOnly, args[3])
	if err != nil {
		return d.Errf("soc2 checks except %s until %q: it is not a date like 2027-01-31", args[0], args[3])
	}
	a.Checks.Exceptions = append(a.Checks.Exceptions, controls.Exception{
		Check: strings.ToUpper(args[0]), Reason: args[1], Approver: args[5], Until: until.Add(24 * time.Hour),
	})
	return nil
}

// Anchors implements checks.App.
func (a *App) Anchors() []notary.Anchor { return a.log.notary.Load().Anchors() }

// Held implements checks.App. A hold that cannot be read is in force.
func (a *App) Held() bool {
	held, err := a.privacy.held(time.Now())
	return held || err != nil
}

// StateFile implements checks.App.
func (a *App) StateFile() string { return filepath.Join(a.DataDir, filepath.FromSlash(checksFile)) }

// Guarded implements checks.App.
func (a *App) Guarded() []controls.File {
	list := []controls.File{
		{Path: filepath.Join(a.DataDir, keysFolder), What: "key"},
		{Path: a.Audit.Dir, What: "log"},
		{Path: filepath.Join(a.Audit.Dir, "segments"), What: "log"},
		{Path: filepath.Join(a.DataDir, changesFolder), What: "configuration"},
		{Path: filepath.Join(a.DataDir, filepath.FromSlash(changesKeyFile)), What: "key"},
		{Path: caddy.ConfigAutosavePath, What: "configuration"},
	}
	if source, err := audit.ParseSource(a.Audit.Key); err == nil {
		if file, ok := source.File(); ok {
			list = append(list, controls.File{Path: file, What: "key"})
		}
	}
	for _, at := range changes.Now().Endpoint.Configured {
		if path, ok := strings.CutPrefix(at, "unix/"); ok {
			list = append(list, controls.File{Path: path, What: "socket"})
		}
	}
	return list
}

// CheckReport implements evidence.Controller.
func (a *App) CheckReport() *controls.Report { return checks.Last() }

// RunChecks implements evidence.Controller.
func (a *App) RunChecks(ctx context.Context) (*controls.Report, error) { return a.monitor.Demand(ctx) }

// Findings implements evidence.Decider.
func (a *App) Findings() *checks.FindingList { return checks.Findings() }

// Exceptions implements evidence.Decider.
func (a *App) Exceptions() *checks.ExceptionList { return checks.Exceptions() }

var (
	_ checks.App          = (*App)(nil)
	_ evidence.Controller = (*App)(nil)
	_ evidence.Decider    = (*App)(nil)
)
