// Package soc2 makes Caddy an edge proxy that keeps evidence: a durable,
// tamper-evident record of each request, in a public standard format, and
// security headers that hold for every response. Import it for its side
// effects; it registers
//
//	soc2                        app: owns the audit log and the defaults
//	http.handlers.soc2_audit    keeps one record for each request
//	http.handlers.soc2_headers  enforces security headers
//	http.handlers.soc2_evidence serves the log's head, records and status
//	caddy.listeners.soc2        puts the first two before all routes of a server
//	admin.api.soc2              serves the evidence on the admin API
package soc2

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
	"github.com/caddy-soc2/caddy-soc2/handlers/record"
	"github.com/caddy-soc2/caddy-soc2/happenings"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(record.Handler))
	caddy.RegisterModule(new(headers.Handler))
	caddy.RegisterModule(new(evidence.Handler))
	caddy.RegisterModule(new(evidence.Admin))
	caddy.RegisterModule(new(happenings.Coverage))
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

	// DataDir is the directory of the log and of its key. Placeholders
	// like {env.NAME} are replaced. Default: soc2 in Caddy's data directory.
	DataDir string `json:"data_dir,omitempty"`

	// Audit says how the log is kept.
	Audit Audit `json:"audit,omitzero"`

	log *sharedLog
}

// Audit says how the audit log is kept.
type Audit struct {
	// Mode is when a record is on disk. With durable a response does not end
	// before its record is; with async records are written as soon as the disk
	// allows, and requests wait only when the queue is full. Default: durable.
	Mode string `json:"mode,omitempty"`

	// Dir is the directory of the log. Placeholders are replaced. Default: log
	// in the data directory.
	Dir string `json:"dir,omitempty"`

	// KeyFile holds the private key that signs the log's checkpoints, in the
	// form of golang.org/x/mod/sumdb/note, readable by its owner alone. It is
	// made if it does not exist. Placeholders are replaced. Default:
	// keys/log.key in the data directory.
	KeyFile string `json:"key_file,omitempty"`

	// CheckpointInterval is how often a grown log gets a signed checkpoint.
	// Default: 10s. Minimum: 100ms.
	CheckpointInterval caddy.Duration `json:"checkpoint_interval,omitempty"`
}

// The modes of the log.
const (
	modeDurable = "durable"
	modeAsync   = "async"
)

// The names of files below the data directory.
const (
	dataFolder = "soc2"
	logFolder  = "log"
	keyFile    = "keys/log.key"
)

const (
	defaultCheckpointInterval = 10 * time.Second
	minCheckpointInterval     = 100 * time.Millisecond
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
func (a *App) Provision(_ caddy.Context) error {
	if err := a.setDefaults(); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	log, err := joinLog(a)
	if err != nil {
		return err
	}
	a.log = log
	return nil
}

func (a *App) setDefaults() error {
	repl := caddy.NewReplacer()
	for _, s := range []*string{&a.InstanceName, &a.DataDir, &a.Audit.Dir, &a.Audit.KeyFile} {
		*s = repl.ReplaceKnown(*s, "")
	}
	if a.InstanceName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("soc2: instance: the host has no name: set instance: %w", err)
		}
		a.InstanceName = host
	}
	if a.ProfileName == "" {
		a.ProfileName = headers.Baseline
	}
	if a.DataDir == "" {
		a.DataDir = defaultDataDir()
	}
	if a.Audit.Mode == "" {
		a.Audit.Mode = modeDurable
	}
	if a.Audit.Dir == "" {
		a.Audit.Dir = filepath.Join(a.DataDir, logFolder)
	}
	if a.Audit.KeyFile == "" {
		a.Audit.KeyFile = filepath.Join(a.DataDir, filepath.FromSlash(keyFile))
	}
	if a.Audit.CheckpointInterval == 0 {
		a.Audit.CheckpointInterval = caddy.Duration(defaultCheckpointInterval)
	}
	return nil
}

func defaultDataDir() string { return filepath.Join(caddy.AppDataDir(), dataFolder) }

func (a *App) check() error {
	if strings.ContainsAny(a.InstanceName, " +\t\r\n") {
		return fmt.Errorf("soc2: instance %q: a name has no spaces and no plus", a.InstanceName)
	}
	if !headers.Known(a.ProfileName) {
		return fmt.Errorf("soc2: profile %q: choose baseline, strict or api", a.ProfileName)
	}
	if a.Audit.Mode != modeDurable && a.Audit.Mode != modeAsync {
		return fmt.Errorf("soc2: audit mode %q: choose durable or async", a.Audit.Mode)
	}
	if d := time.Duration(a.Audit.CheckpointInterval); d < minCheckpointInterval {
		return fmt.Errorf("soc2: audit checkpoint_interval %s: it must be at least %s", d, minCheckpointInterval)
	}
	return nil
}

// Start applies the settings that a rejected configuration must not touch.
func (a *App) Start() error {
	a.log.configure(a)
	return nil
}

// Stop does nothing: requests may still be running and want their records.
func (a *App) Stop() error { return nil }

// Cleanup leaves the log. The last configuration to leave closes it.
func (a *App) Cleanup() error {
	if a.log == nil { // Provision did not get so far
		return nil
	}
	return a.log.leave()
}

// Log is the audit log.
func (a *App) Log() *audit.Log { return a.log.get() }

// Instance is the name of this server in records.
func (a *App) Instance() string { return a.InstanceName }

// Profile is the header profile of sites that choose none.
func (a *App) Profile() string { return a.ProfileName }

// Begin implements record.Recorder.
func (a *App) Begin() error { return a.log.begin() }

// Withholds implements record.Recorder.
func (a *App) Withholds() bool { return a.Audit.Mode == modeDurable }

// Record implements record.Recorder.
func (a *App) Record(ev *audit.Event) error {
	return a.log.record(ev, a.InstanceName, a.Withholds())
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)

	_ record.Recorder  = (*App)(nil)
	_ headers.Profiler = (*App)(nil)
	_ evidence.Source  = (*App)(nil)
)
