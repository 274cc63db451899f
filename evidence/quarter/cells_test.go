package quarter_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// row is the cells of a row; empty ones are left out.
type row map[string]string

// text is a text as records have it, where a backslash begins an escape and is
// one itself (docs/records.md).
func (r row) text(name, v string) { r[name] = strings.ReplaceAll(v, `\`, `\x5c`) }

func (r row) time(name string, t time.Time) {
	if !t.IsZero() {
		r[name] = t.UTC().Format(stamp)
	}
}

// count is a number that is left out if it is zero.
func (r row) count(name string, n int64) {
	if n != 0 {
		r.number(name, n)
	}
}
func (r row) number(name string, n int64) { r[name] = strconv.FormatInt(n, 10) }
func (r row) flag(name string, b bool) {
	if b {
		r[name] = "true"
	}
}
func (r row) list(name string, l []string) { r[name] = strings.Join(l, " ") }
func (r row) actor(a audit.Actor) {
	r.text("actor", a.Name)
	r.text("actor_known", a.Known)
	r.text("actor_how", a.How)
	r.text("actor_claim", a.Claim)
	r.text("actor_address", a.Address)
}

// cellsOf says which row a record has, by what the script put into it.
func cellsOf(b audit.Body) (kind string, at time.Time, took time.Duration, cells map[string]string) {
	r := row{}
	switch b := b.(type) {
	case *audit.ConfigChange:
		kind, at = "config.change", b.Time
		r.actor(b.Actor)
		for name, v := range map[string]string{
			"outcome": b.Outcome, "source": b.Source, "mode": b.Mode, "method": b.Method, "path": b.Path, "file": b.File, "adapter": b.Adapter,
			"ticket": b.Ticket, "reason": b.Reason, "error": b.Error, "before": b.Before, "after": b.After,
		} {
			r.text(name, v)
		}
		r.list("risks", b.Risks)
	case *audit.AdminCall:
		kind, at, took = "admin.call", b.Time, b.Duration
		r.actor(b.Actor)
		for name, v := range map[string]string{
			"listener": b.Listener, "method": b.Method, "host": b.Host, "path": b.Path, "body_sha256": b.BodySHA256,
			"ticket": b.Ticket, "reason": b.Reason, "outcome": b.Outcome, "error": b.Error,
		} {
			r.text(name, v)
		}
		r.count("body_bytes", b.BodyBytes)
		r.number("status", int64(b.Status))
		r.number("duration_ns", int64(b.Duration))
	case *audit.EvidenceRead:
		kind, at = "evidence.read", b.Time
		r.actor(b.Actor)
		for name, v := range map[string]string{
			"role": b.Role, "resource": b.Resource, "name": b.Name, "path": b.Path, "format": b.Format, "filter": b.Filter, "seed": b.Seed,
			"outcome": b.Outcome, "tree_root": b.TreeRoot,
		} {
			r.text(name, v)
		}
		r.time("from", b.From)
		r.time("to", b.To)
		r.number("status", int64(b.Status))
		for name, n := range map[string]int64{"rows": b.Rows, "bytes": b.Bytes, "first": b.First, "last": b.Last, "tree_size": b.TreeSize} {
			r.count(name, n)
		}
	case *audit.CheckTransition:
		kind, at = "check.transition", b.Time
		for name, v := range map[string]string{
			"check": b.Check, "definition": b.Definition, "severity": b.Severity, "class": b.Class, "before": b.Before, "after": b.After,
			"trigger": b.Trigger, "summary": b.Summary, "config": b.Config, "exception": b.Exception,
			"threshold": b.Threshold[:min(len(b.Threshold), 256)], // longer ones are cut, which the record says
		} {
			r.text(name, v)
		}
		r.list("criteria", b.Criteria)
		r.count("version", int64(b.Version))
		r.time("since", b.Since)
	case *audit.Review:
		kind, at = string(b.Kind), b.Time
		r.actor(b.Actor)
		for name, v := range map[string]string{"subject": b.Subject, "verdict": b.Verdict, "owner": b.Owner, "approver": b.Approver, "ticket": b.Ticket, "reason": b.Reason} {
			r.text(name, v)
		}
		r.time("from", b.From)
		r.time("to", b.To)
		r.time("until", b.Until)
		r.count("answers", b.Seq)
		r.list("files", b.Files)
	case *audit.Certificate:
		kind, at = string(b.Kind), b.Time
		for name, v := range map[string]string{"issuer": b.Issuer, "serial": b.Serial, "sha256": b.SHA256, "key_type": b.KeyType, "source": b.Source, "reason": b.Reason, "error": b.Error} {
			r.text(name, v)
		}
		r.list("names", b.Names)
		r.time("not_before", b.NotBefore)
		r.time("not_after", b.NotAfter)
		r.count("remaining_ns", int64(b.Remaining))
		r.flag("managed", b.Managed)
		r.flag("forced", b.Forced)
		r.count("attempt", int64(b.Attempt))
	default:
		return moreCells(b)
	}
	return kind, at, took, r
}

func moreCells(b audit.Body) (kind string, at time.Time, took time.Duration, cells map[string]string) {
	r := row{}
	switch b := b.(type) {
	case *audit.UpstreamChange:
		kind, at = string(b.Kind), b.Time
		for name, v := range map[string]string{"address": b.Address, "server": b.Server, "check": b.Check, "before": b.Before, "cause": b.Cause, "error": b.Error} {
			r.text(name, v)
		}
		for name, n := range map[string]int64{"handler": int64(b.Handler), "lasted_ns": int64(b.Lasted), "fails": b.Fails, "requests": b.Requests, "served": b.Served, "failed": b.Failed} {
			r.count(name, n)
		}
	case *audit.ProtocolError:
		kind, at = "protocol.error", b.Time
		for name, v := range map[string]string{"listener": b.Listener, "layer": b.Layer, "reason": b.Reason, "prefix": b.Prefix, "example": b.Example} {
			r.text(name, v)
		}
		r.count("status", int64(b.Status))
		r.number("count", b.Count)
		r.time("from", b.From)
		r.time("to", b.To)
	case *audit.Lockout:
		kind, at = "access.lockout", b.Time
		r.actor(b.Actor)
		for name, v := range map[string]string{"action": b.Action, "what": b.What, "subject": b.Subject, "provider": b.Provider, "rule": b.Rule, "reason": b.Reason} {
			r.text(name, v)
		}
		r.flag("pseudonym", b.Pseudo)
		r.count("attempts", b.Attempts)
		r.count("window_ns", int64(b.Window))
		r.time("until", b.Until)
	case *audit.BreakGlass:
		kind, at = "access.break_glass", b.Time
		r.actor(b.Actor)
		for name, v := range map[string]string{"action": b.Action, "grant": b.Grant, "policy": b.Policy, "principal": b.Principal, "reason": b.Reason, "ticket": b.Ticket} {
			r.text(name, v)
		}
		r.time("until", b.Until)
		r.count("used", b.Used)
	case *audit.LogErase:
		kind, at = "log.erase", b.Time
		for name, v := range map[string]string{"what": b.What, "subject": b.Subject, "period": b.Period, "by": b.By, "reason": b.Reason} {
			r.text(name, v)
		}
		r.count("keys_destroyed", b.KeysDestroyed)
	case *audit.LogHold:
		kind, at = "log.hold", b.Time
		for name, v := range map[string]string{"action": b.Action, "name": b.Name, "by": b.By, "reason": b.Reason} {
			r.text(name, v)
		}
	case *audit.LogGap:
		kind, at = "log.gap", b.Time
		r.text("cause", b.Cause)
		r.text("reason", b.Reason)
		r.time("from", b.From)
		r.time("to", b.To)
		for name, n := range map[string]int64{"refused": b.Refused, "served": b.Served, "late": b.Late, "lost": b.Lost} {
			r.number(name, n)
		}
		r.count("other", b.Other)
	case *audit.Process:
		kind, at = string(b.Kind), b.Time
		for name, v := range map[string]string{
			"boot": b.Boot, "signal": b.Signal, "limit": b.Limit, "state": b.State, "reason": b.Reason, "config": b.Config,
			"program_version": b.Program.Version, "program_sha256": b.Program.SHA256, "program_revision": b.Program.Revision,
		} {
			r.text(name, v)
		}
		r.time("last", b.Last)
		for name, n := range map[string]int64{"pid": int64(b.PID), "uptime_ns": int64(b.Uptime), "value": b.Value, "bound": b.Bound} {
			r.count(name, n)
		}
	case *audit.LimitChange: // it is in no population
		kind, at = string(b.Kind), b.Time
	case *audit.CachePurge:
		kind, at = "cache.purge", b.Time
	case *audit.DockerfileCheck:
		kind, at = "dockerfile.check", b.Time
	case *audit.LogKey:
		kind, at = "log.key", b.Time
	default:
		panic(fmt.Sprintf("the script knows no %T", b))
	}
	return kind, at, took, r
}
