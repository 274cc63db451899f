// Package soc2 makes Caddy an edge proxy that keeps evidence: a durable,
// tamper-evident record of each request, in a public standard format, and
// security headers that hold for every response. Import it for its side
// effects; it registers
//
//	soc2                          app: owns the audit log and the defaults
//	http.handlers.soc2_audit      keeps one record for each request
//	http.handlers.soc2_headers    enforces security headers
//	http.handlers.soc2_reports    takes browsers' reports about them
//	http.handlers.soc2_rate_limit limits what clients may do
//	http.handlers.soc2_auth       finds out who makes a request
//	http.handlers.soc2_access     lets pass what a policy allows
//	http.handlers.soc2_jwks       serves the keys of its assertions
//	http.handlers.soc2_evidence   serves the log's head, records and status
//	http.handlers.soc2_witness    serves the witness that an instance is for others
//	http.authentication.providers.soc2 finds out the same for Caddy's handler authentication
//	caddy.listeners.soc2          puts the first two before all routes of a server
//	caddy.listeners.soc2_framing  lets the one above see requests over TLS
//	admin.api.soc2                serves the evidence on the admin API
//	admin.api.soc2_access         shows policies, opens and closes break-glass
//	admin.api.soc2_changes        records the calls of the admin API and what they change
//	admin.api.soc2_findings       takes the triage of findings, accepted risks and drills
//	admin.api.soc2_limits         shows and changes what keys have spent, there
//	admin.api.soc2_lockouts       lists who is locked out, and lets in again
package soc2

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/schedule"
	"github.com/caddy-soc2/caddy-soc2/handlers/access"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity"
	"github.com/caddy-soc2/caddy-soc2/handlers/ratelimit"
	"github.com/caddy-soc2/caddy-soc2/handlers/record"
	"github.com/caddy-soc2/caddy-soc2/handlers/reports"
	"github.com/caddy-soc2/caddy-soc2/handlers/witness"
	"github.com/caddy-soc2/caddy-soc2/happenings"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
	"github.com/caddy-soc2/caddy-soc2/happenings/upstreams"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(record.Handler))
	caddy.RegisterModule(new(headers.Handler))
	caddy.RegisterModule(new(ratelimit.Handler))
	caddy.RegisterModule(new(ratelimit.Admin))
	caddy.RegisterModule(new(reports.Handler))
	caddy.RegisterModule(new(access.Handler))
	caddy.RegisterModule(new(access.JWKS))
	caddy.RegisterModule(new(access.Admin))
	caddy.RegisterModule(new(evidence.Handler))
	caddy.RegisterModule(new(evidence.Admin))
	caddy.RegisterModule(new(checks.Admin))
	caddy.RegisterModule(new(witness.Handler))
	caddy.RegisterModule(new(identity.Handler))
	caddy.RegisterModule(new(identity.Provider))
	caddy.RegisterModule(new(identity.Admin))
	caddy.RegisterModule(new(happenings.Coverage))
	caddy.RegisterModule(new(happenings.Framing))
}

// App owns what the soc2 handlers share: the audit log, its key, and the
// defaults for all sites.
type App struct {
	// InstanceName names this server in every record and, when the log's key is
	// made, in the log's origin. It has no spaces and no plus. Default: the
	// host name.
	InstanceName string `json:"instance,omitempty"`

	// ProfileName is the header profile of sites that choose none:
	// baseline (safe in front of an application that is not known), strict or
	// api. Default: baseline.
	ProfileName string `json:"profile,omitempty"`

	// Unmatched is the status of requests that no route answers, on servers with
	// the listener wrapper: 200, with which Caddy answers them, empty, or a
	// status from 400 to 599, which is an error that a site's error routes may
	// answer. Default: 404 if the profile is strict, otherwise 200.
	Unmatched int `json:"unmatched,omitempty"`

	// DataDir is the directory of the log and of its key. Placeholders
	// like {env.NAME} are replaced. Default: soc2 in Caddy's data directory.
	DataDir string `json:"data_dir,omitempty"`

	// Audit says how the log is kept.
	Audit Audit `json:"audit,omitzero"`

	// Changes says how the configuration may be changed. With load_only the
	// admin API refuses to change parts of it (POST, PUT, PATCH and DELETE of
	// /config/ and /id/): every change is a whole configuration that is loaded.
	// With observe all ways are open. All changes are recorded in either case.
	// Default: observe.
	Changes string `json:"changes,omitempty"`

	// Witness makes this instance a witness for the logs of others.
	Witness *WitnessServer `json:"witness_server,omitempty"`

	// TLS is a floor for TLS over all servers. Default: none.
	TLS *TLS `json:"tls,omitempty"`
	// Checks says how the checks of controls are made.
	Checks checks.Options `json:"checks,omitzero"`

	// Reports says which reports and evidence packs are made when, and where they
	// go. Default: none are.
	Reports []*schedule.Plan `json:"reports,omitempty"`

	State

	log        *sharedLog
	locked     error // why there is no log
	anchors    notary.Config
	witness    sharedWitness
	useWitness func() error // applies the settings of Witness
	privacy    privacy
	taps       taps
	changes    *changes.Watch
	tls        tlsState
	monitor    *checks.Monitor
	desk       atomic.Pointer[jobs.Desk] // requests may ask for it while the app stops
	deskDir    string
	schedule   *schedule.Schedule
}

// Audit says how the audit log is kept.
type Audit struct {
	// Mode is when a record is on disk. With durable a response does not end
	// before its record is. With strict, moreover, a request whose method is not
	// safe (RFC 9110, section 9.2.1) is not served before a record of its intent
	// is. With async records are written as soon as the disk allows, and
	// requests wait only when the queue is full. Default: durable.
	Mode string `json:"mode,omitempty"`

	// OnFailure is what happens while the log takes no records, because its
	// disk is full, failed or does not answer. With refuse requests are answered
	// 503. With count they are served and counted, and the count is recorded
	// when the log is back. Default: refuse.
	OnFailure string `json:"on_failure,omitempty"`

	// QueueBytes is how many bytes of records may wait for the disk. When it is
	// full requests wait. Default: 16777216 (16 MiB). Minimum: 1048576 (1 MiB).
	QueueBytes int `json:"queue_bytes,omitempty"`

	// Deadline is how long the disk may take to answer before on_failure
	// applies. Default: 10s. Minimum: 100ms.
	Deadline caddy.Duration `json:"deadline,omitempty"`

	// Dir is the directory of the log. Placeholders are replaced. Default: log
	// in the data directory.
	Dir string `json:"dir,omitempty"`

	// Key is where the private key is kept that signs the log's checkpoints, in
	// the form of golang.org/x/mod/sumdb/note: the path of a file that its owner
	// alone can read, env:NAME for an environment variable, or credential:NAME
	// for a systemd credential. A file is made if it does not exist. While a
	// rotation is under way the next key is kept beside it (caddy soc2 key
	// rotate). Placeholders are replaced. Default: keys/log.key in the data
	// directory.
	Key string `json:"key,omitempty"`

	// CheckpointInterval is how often a grown log gets a signed checkpoint.
	// Default: 10s. Minimum: 100ms.
	CheckpointInterval caddy.Duration `json:"checkpoint_interval,omitempty"`

	// Retain is how long records are kept at least; a segment goes when all its
	// records are older. Their hashes stay, so that what is left still proves to
	// be part of the log. Default: for good. Minimum: 24h.
	Retain caddy.Duration `json:"retain,omitempty"`

	// ScrubInterval is how often the running log verifies itself and records the
	// result. Default: 24h. Minimum: 1m.
	ScrubInterval caddy.Duration `json:"scrub_interval,omitempty"`

	// ScrubRate is how many bytes of the log are read in a second at most while
	// it verifies itself. Default: 8388608 (8 MiB). Minimum: 262144 (256 KiB).
	ScrubRate int `json:"scrub_rate,omitempty"`

	Anchors
	Privacy
}

// The modes of the log.
const (
	modeDurable = "durable"
	modeAsync   = "async"
	modeStrict  = "strict"
)

// What happens while the log takes no records.
const (
	onFailureRefuse = "refuse"
	onFailureCount  = "count"
)

// The names of files below the data directory.
const (
	dataFolder = "soc2"
	logFolder  = "log"
	keyFile    = "keys/log.key"
	stateFile  = "state/checkpoint"

	witnessFolder  = "witness"
	witnessKeyFile = "keys/witness.key"
)

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "soc2", New: func() caddy.Module { return new(App) }}
}

// Provision fills in the defaults, checks the configuration and opens the log,
// or joins it where the configuration that is being replaced has it open.
//
// The checks are here and not in Validate, so that a wrong option never makes
// a log.
func (a *App) Provision(ctx caddy.Context) error {
	if err := secret.Fill(a); err != nil {
		return fmt.Errorf("soc2: %w", err)
	}
	a.changes = changes.NewWatch(ctx)
	if err := a.setDefaults(); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	if err := registerMetrics(ctx); err != nil {
		return fmt.Errorf("soc2: metrics: %w", err)
	}
	if err := a.provisionTLS(ctx); err != nil {
		return err
	}
	if err := a.taps.provision(ctx, a); err != nil {
		return err
	}
	return a.open()
}

// open opens the log, and the keys that belong to it, or joins them.
func (a *App) open() error {
	log, err := joinLog(a)
	if errors.Is(err, durable.ErrLocked) {
		a.locked = err // "caddy validate" is right beside a running server; Start is not
		return nil
	}
	if err != nil {
		return err
	}
	a.log = log
	if err := a.openPrivacy(); err != nil {
		return err
	}
	return a.openWitness()
}

// Start applies the settings that a rejected configuration must not touch.
func (a *App) Start() error {
	if a.locked != nil {
		return a.locked
	}
	if a.useWitness != nil {
		if err := a.useWitness(); err != nil {
			return fmt.Errorf("soc2: witness: %w", err)
		}
	}
	if err := a.privacy.use(); err != nil {
		return err
	}
	if err := a.log.configure(a); err != nil {
		return err
	}
	a.taps.start()
	if err := a.startChanges(); err != nil {
		return err
	}
	if err := a.openDesk(); err != nil { // the last that may fail: Caddy does not stop what did not start
		a.changes.Stop()
		a.taps.stop()
		return fmt.Errorf("soc2: %w", err)
	}
	a.monitor.Start()
	a.startReports()
	return nil
}

// Stop ends what watches the server, the process's end last. The log stays open:
// requests may still be running and want their records.
func (a *App) Stop() error {
	a.changes.Stop()
	a.monitor.Stop()
	a.schedule.Stop()
	err := a.leaveDesk() // before the process's end is recorded
	a.taps.stop()
	return err
}

// Cleanup leaves the log. The last configuration to leave closes it.
func (a *App) Cleanup() error {
	err := a.privacy.release()
	if a.witness.Server != nil {
		_, werr := witnesses.Delete(a.Witness.Dir)
		err = errors.Join(err, werr)
	}
	if a.log == nil { // Provision did not get so far
		return err
	}
	return errors.Join(err, a.log.leave())
}

// Log is the audit log.
func (a *App) Log() *audit.Log { return a.log.get() }

// Instance is the name of this server in records.
func (a *App) Instance() string { return a.InstanceName }

// Profile is the header profile of sites that choose none.
func (a *App) Profile() string { return a.ProfileName }

// Begin implements record.Recorder.
func (a *App) Begin() error {
	if a.log == nil { // Start is about to fail
		return a.locked
	}
	err := a.log.begin(a.counts())
	if err != nil {
		metrics.Count(metrics.Refused)
	}
	return err
}

// Withholds implements record.Recorder.
func (a *App) Withholds() bool { return a.Audit.Mode != modeAsync }

// counts reports whether requests without a record are served and counted.
func (a *App) counts() bool { return a.Audit.OnFailure == onFailureCount }

// WantsHeaders implements record.Recorder.
func (a *App) WantsHeaders() bool { return a.privacy.policy.WantsHeaders() }

// Intent implements record.Recorder.
func (a *App) Intent(ev *audit.Event) error {
	if a.Audit.Mode != modeStrict || safe(ev.Method) {
		return nil
	}
	shown, err := a.privacy.ahead(*ev)
	return a.ahead((*audit.Intent)(&shown), err)
}

// Opening implements record.Recorder.
func (a *App) Opening(ev *audit.Event) error {
	shown, err := a.privacy.ahead(*ev)
	return a.ahead((*audit.Opening)(&shown), err)
}

// ahead appends a record that precedes the request's own. An error of the
// protection is said, but leaves the record without what was to be protected.
func (a *App) ahead(r audit.Body, protection error) error {
	a.log.unprotected(protection)
	err := a.log.appendNow(r, a.InstanceName, a.Withholds())
	if a.counts() {
		return nil // the request's own record, or its absence, is what counts
	}
	return err
}

// safe reports whether a method asks for nothing to be changed (RFC 9110,
// section 9.2.1).
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// Record implements record.Recorder.
func (a *App) Record(ev *audit.Event, request, response http.Header) error {
	upstreams.Count(ev)
	checks.Request(ev, response)
	recorded, err := a.privacy.apply(ev, request, response)
	if !recorded {
		metrics.Count(metrics.LeftOut)
		a.log.end()
		return nil
	}
	a.log.unprotected(err)
	return a.log.record(ev, a.InstanceName, a.Withholds(), a.counts())
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)

	_ record.Recorder  = (*App)(nil)
	_ headers.Profiler = (*App)(nil)
	_ evidence.Source  = (*App)(nil)
	_ witness.Source   = (*App)(nil)
	_ identity.Namer   = (*App)(nil)
)
