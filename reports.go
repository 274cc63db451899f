package soc2

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/evidence/schedule"
)

// reports reads the option reports:
//
//	reports {
//		weekly|monthly|quarterly|cron <expression> {
//			to   <directory>
//			pack [full]
//			report
//			keep <number>
//		}
//	}
func (a *App) reports(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 reports takes a block and no argument, but has %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		p := new(schedule.Plan)
		switch every := d.Val(); every {
		case schedule.Weekly, schedule.Monthly, schedule.Quarterly:
			p.Every = every
			if d.NextArg() {
				return d.Errf("soc2 reports %s takes a block and no argument, but has %q", every, d.Val())
			}
		case "cron":
			if !d.AllArgs(&p.Cron) {
				return d.Err(`soc2 reports cron takes an expression in quotes, like "0 6 1 * *"`)
			}
		default:
			return d.Errf("soc2 reports has no option %q: it has weekly, monthly, quarterly and cron", every)
		}
		if err := readPlan(d, p); err != nil {
			return err
		}
		a.Reports = append(a.Reports, p)
	}
	return nil
}

// readPlan reads the block of a plan.
func readPlan(d *caddyfile.Dispenser, p *schedule.Plan) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch what := d.Val(); what {
		case "to":
			err = text(d, &p.To)
		case schedule.Report, schedule.Pack:
			p.Make = append(p.Make, what)
			args := d.RemainingArgs()
			switch {
			case what == schedule.Pack && len(args) == 1 && args[0] == "full":
				p.Full = true
			case len(args) > 0:
				err = d.Errf("soc2 reports %s has %q, which is nothing: pack takes full, or no argument, and report none", what, args[0])
			}
		case "keep":
			var number string
			if err = text(d, &number); err != nil {
				return err
			}
			if p.Keep, err = strconv.Atoi(number); err != nil || p.Keep < 1 {
				err = d.Errf("soc2 reports keep %q: it is a number of files", number)
			}
		default:
			err = d.Errf("soc2 reports has no option %q: it has to, pack, report and keep", what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkReports checks the option reports.
func (a *App) checkReports() error {
	repl := caddy.NewReplacer()
	for _, p := range a.Reports {
		p.To = repl.ReplaceKnown(p.To, "")
	}
	if err := schedule.Check(a.Reports); err != nil {
		return fmt.Errorf("soc2: reports %w", err)
	}
	log, err := filepath.Abs(a.Audit.Dir)
	if err != nil {
		return fmt.Errorf("soc2: audit dir %s: %w", a.Audit.Dir, err)
	}
	for _, p := range a.Reports {
		if rel, err := filepath.Rel(log, p.To); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("soc2: reports to %s: that is in the directory of the log, which nobody else writes to: choose another", p.To)
		}
	}
	return nil
}

// startReports begins to make the reports.
func (a *App) startReports() {
	if len(a.Reports) == 0 {
		return
	}
	a.schedule = schedule.Start(schedule.Options{
		Plans: a.Reports, Log: func(ctx context.Context) (packer.Log, error) { return packedLog(ctx, a.log.get()) },
		Record: func(r audit.Body) error { return a.log.Write(r, true) },
		Report: func(err error) { caddy.Log().Named("soc2").Error("reports", zap.Error(err)) },
	})
}
