package soc2

import (
	"errors"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-soc2/caddy-soc2/handlers/access"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity"
	"github.com/caddy-soc2/caddy-soc2/handlers/ratelimit"
	"github.com/caddy-soc2/caddy-soc2/handlers/record"
	"github.com/caddy-soc2/caddy-soc2/handlers/reports"
	"github.com/caddy-soc2/caddy-soc2/handlers/witness"
)

// directives is the one table of this module's directives, from the outermost
// handler to the innermost, each with the standard directive before which it
// comes.
var directives = []struct {
	name   string
	before string
	setup  httpcaddyfile.UnmarshalHandlerFunc
	routes httpcaddyfile.UnmarshalFunc // in place of setup
}{
	{name: "soc2_audit", before: "tracing", setup: record.ParseCaddyfile},
	{name: "soc2_headers", before: "header", routes: headers.ParseCaddyfile},
	{name: "soc2_rate_limit", before: "basicauth", setup: ratelimit.ParseCaddyfile}, // before all that computes a password hash
	{name: "soc2_auth", before: "basic_auth", setup: identity.ParseCaddyfile},
	{name: "soc2_access", before: "request_header", setup: access.ParseCaddyfile}, // after every authentication
	{name: "soc2_rate_limit_user", before: "request_header", setup: ratelimit.ParseUserCaddyfile},
	{name: "soc2_nonces", before: "push", routes: headers.ParseNonces}, // inside encode
	{name: "soc2_jwks", before: "respond", setup: access.ParseJWKSCaddyfile},
	{name: "soc2_evidence", before: "respond", setup: evidence.ParseCaddyfile},
	{name: "soc2_reports", before: "respond", setup: reports.ParseCaddyfile},
	{name: "soc2_witness", before: "respond", setup: witness.ParseCaddyfile},
}

func init() {
	httpcaddyfile.RegisterGlobalOption("soc2", parseGlobalOption)
	for _, d := range directives {
		if d.routes != nil {
			httpcaddyfile.RegisterDirective(d.name, d.routes)
		} else {
			httpcaddyfile.RegisterHandlerDirective(d.name, d.setup)
		}
		httpcaddyfile.RegisterDirectiveOrder(d.name, httpcaddyfile.Before, d.before)
	}
}

// parseGlobalOption reads the global option soc2 into the app's configuration.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // for the error's line
		return nil, d.Err("the global option soc2 is given twice: one block says all")
	}
	var app App
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "soc2", Value: caddyconfig.JSON(&app, nil)}, nil
}

// UnmarshalCaddyfile reads the global option:
//
//	soc2 {
//		instance <name>
//		profile  baseline|strict|api
//		data_dir <path>
//		unmatched <status>
//		changes  observe|load_only
//		audit {
//			mode       durable|async|strict
//			on_failure refuse|count
//			queue      <size>
//			deadline   <duration>
//			dir        <path>
//			key        <path>|env:<name>|credential:<name>
//			checkpoint every <duration>
//			retain     <duration>
//			scrub      every <duration> [<size a second>]
//			witness    <url> <vkey>
//			witness_interval <duration>
//			timestamp  <url> {
//				roots    <file>
//				interval <duration>
//			}
//			…          (see Privacy.option)
//		}
//		witness_server {
//			name     <name>
//			key_file <path>
//			dir      <path>
//			log      <vkey>...
//		}
//		certificates {
//			expiring <duration>...
//		}
//		upstreams {
//			sample  <duration>
//			traffic <duration>
//		}
//		tls {
//			…          (see tlsFloor)
//		}
//		checks {
//			every     <duration>
//			threshold <check> [<name>] <value>...
//			except    <check> <reason> until <date> by <approver>
//		}
//		reports {
//			…          (see reports)
//		}
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("soc2 takes a block and no argument, but has %q", d.Val())
	}
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "instance":
			err = text(d, &a.InstanceName)
		case "profile":
			err = text(d, &a.ProfileName)
		case "data_dir":
			err = text(d, &a.DataDir)
		case "unmatched":
			err = a.unmatched(d)
		case "audit":
			err = a.Audit.unmarshal(d)
		case "changes":
			err = text(d, &a.Changes)
		case "checks":
			err = a.checks(d)
		case "reports":
			err = a.reports(d)
		case "witness_server":
			a.Witness = new(WitnessServer)
			err = a.Witness.unmarshal(d)
		case "certificates":
			err = a.certificates(d)
		case "upstreams":
			err = a.upstreams(d)
		case "tls":
			err = a.tlsFloor(d)
		default:
			err = d.Errf("soc2 has no option %q: it has instance, profile, data_dir, unmatched, changes, audit, witness_server, certificates, upstreams, tls, checks and reports", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Audit) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 audit takes a block and no argument, but has %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "mode":
			err = text(d, &a.Mode)
		case "on_failure":
			err = text(d, &a.OnFailure)
		case "queue":
			err = size(d, &a.QueueBytes)
		case "deadline":
			err = duration(d, &a.Deadline)
		case "dir":
			err = text(d, &a.Dir)
		case "key":
			err = text(d, &a.Key)
		case "checkpoint":
			err = a.checkpoint(d)
		case "retain":
			err = duration(d, &a.Retain)
		case "scrub":
			err = a.scrub(d)
		case "witness":
			err = a.witness(d)
		case "witness_interval":
			err = duration(d, &a.WitnessInterval)
		case "timestamp":
			err = a.timestamp(d)
		default:
			var known bool
			if known, err = a.option(d); known {
				break
			}
			err = d.Errf("soc2 audit has no option %q: it has mode, on_failure, queue, deadline, dir, key, checkpoint, retain, scrub, witness, witness_interval, timestamp, rule, redact, show_query, pseudonymize and encrypt", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Audit) checkpoint(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] != "every" {
		return d.Errf("soc2 audit checkpoint is written: checkpoint every 10s")
	}
	interval, err := caddy.ParseDuration(args[1])
	if err != nil {
		return d.Errf("soc2 audit checkpoint every %q: it is not a duration like 10s", args[1])
	}
	if interval <= 0 {
		return d.Errf("soc2 audit checkpoint every %q: it must be at least %s; leave it out for the default", args[1], minCheckpointInterval)
	}
	a.CheckpointInterval = caddy.Duration(interval)
	return nil
}

func (a *Audit) scrub(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 || args[0] != "every" {
		return d.Errf("soc2 audit scrub is written: scrub every 24h 8MiB")
	}
	interval, err := caddy.ParseDuration(args[1])
	if err != nil {
		return d.Errf("soc2 audit scrub every %q: it is not a duration like 24h", args[1])
	}
	if interval <= 0 {
		return d.Errf("soc2 audit scrub every %q: it must be at least %s; the log cannot be kept without verifying itself", args[1], minScrub)
	}
	a.ScrubInterval = caddy.Duration(interval)
	if len(args) == 3 {
		n, err := humanize.ParseBytes(args[2])
		if err != nil || n > 1<<31-1 {
			return d.Errf("soc2 audit scrub rate %q: it is not a size like 8MiB", args[2])
		}
		if n < minScrubRate {
			return d.Errf("soc2 audit scrub rate %q: it must be at least 256KiB", args[2])
		}
		a.ScrubRate = int(n)
	}
	return nil
}

func (a *Audit) witness(d *caddyfile.Dispenser) error {
	var w Witness
	if !d.AllArgs(&w.URL, &w.Key) {
		return d.Err("soc2 audit witness is written: witness https://witness.example NAME+HASH+KEY")
	}
	a.Witnesses = append(a.Witnesses, w)
	return nil
}

func (a *Audit) timestamp(d *caddyfile.Dispenser) error {
	a.Timestamp = new(Timestamp)
	if !d.AllArgs(&a.Timestamp.URL) {
		return d.Err("soc2 audit timestamp takes the URL of an RFC 3161 authority")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "roots":
			err = text(d, &a.Timestamp.Roots)
		case "interval":
			err = duration(d, &a.Timestamp.Interval)
		default:
			err = d.Errf("soc2 audit timestamp has no option %q: it has roots and interval", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *WitnessServer) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("soc2 witness_server takes a block and no argument, but has %q", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "name":
			err = text(d, &w.Name)
		case "key_file":
			err = text(d, &w.KeyFile)
		case "dir":
			err = text(d, &w.Dir)
		case "log":
			if list := d.RemainingArgs(); len(list) > 0 {
				w.Logs = append(w.Logs, list...)
			} else {
				err = d.Err("log takes the verifier keys, NAME+HASH+KEY, of a log")
			}
		default:
			err = d.Errf("soc2 witness_server has no option %q: it has name, key_file, dir and log", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// text reads an option's one argument.
func text(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	if !d.AllArgs(to) {
		return d.Errf("%s takes one argument", name)
	}
	return nil
}

// list reads an option's arguments, of which there is at least one.
func list(d *caddyfile.Dispenser, to *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	*to = append(*to, args...)
	return nil
}

// parseCount reads one positive number.
func parseCount(args []string) (int, error) {
	n, err := strconv.Atoi(args[0])
	if err != nil || n <= 0 || len(args) > 1 {
		return 0, errors.New("not one positive number")
	}
	return n, nil
}

// duration reads an option's one argument, like 10s.
func duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	var arg string
	name := d.Val()
	if err := text(d, &arg); err != nil {
		return err
	}
	v, err := caddy.ParseDuration(arg)
	if err != nil {
		return d.Errf("%s %q: it is not a duration like 10s", name, arg)
	}
	if v <= 0 {
		return d.Errf("%s %q: it must be more than nothing; leave %s out for the default", name, arg, name)
	}
	*to = caddy.Duration(v)
	return nil
}

// size reads an option's one argument, like 16MiB.
func size(d *caddyfile.Dispenser, to *int) error {
	var arg string
	name := d.Val()
	if err := text(d, &arg); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(arg)
	if err != nil || n > 1<<31-1 {
		return d.Errf("%s %q: it is not a size like 16MiB", name, arg)
	}
	if n == 0 {
		return d.Errf("%s %q: it must be more than nothing; leave %s out for the default", name, arg, name)
	}
	*to = int(n)
	return nil
}

var _ caddyfile.Unmarshaler = (*App)(nil)
