package soc2

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
)

const (
	defaultCheckpointInterval = 10 * time.Second
	minCheckpointInterval     = 100 * time.Millisecond

	minQueueBytes = 1 << 20
	minDeadline   = 100 * time.Millisecond
	minRetain     = 24 * time.Hour
	minScrub      = time.Minute
	minScrubRate  = 256 << 10 // what is read at a time
)

func (a *App) setDefaults() error {
	repl := caddy.NewReplacer()
	for _, s := range []*string{&a.InstanceName, &a.DataDir, &a.Audit.Dir, &a.Audit.Key} {
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
	if a.Audit.OnFailure == "" {
		a.Audit.OnFailure = onFailureRefuse
	}
	if a.Audit.Dir == "" {
		a.Audit.Dir = filepath.Join(a.DataDir, logFolder)
	}
	if a.Audit.Key == "" {
		a.Audit.Key = filepath.Join(a.DataDir, filepath.FromSlash(keyFile))
	}
	if w := a.Witness; w != nil {
		w.setDefaults(a)
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
	if err := a.checkUnmatched(); err != nil {
		return err
	}
	if err := a.checkChanges(); err != nil {
		return err
	}
	if err := a.checkReports(); err != nil {
		return err
	}
	if err := a.Audit.check(); err != nil {
		return err
	}
	if err := a.Audit.Privacy.check(); err != nil {
		return err
	}
	if err := a.Checks.SetDefaults(); err != nil {
		return err
	}
	if a.Witness != nil {
		if _, err := a.Witness.known(); err != nil {
			return fmt.Errorf("soc2: witness_server: %w", err)
		}
	}
	var err error
	a.anchors, err = a.Audit.notaryConfig()
	return err
}

func (a *Audit) check() error {
	if a.Mode != modeDurable && a.Mode != modeAsync && a.Mode != modeStrict {
		return fmt.Errorf("soc2: audit mode %q: choose durable, async or strict", a.Mode)
	}
	if a.OnFailure != onFailureRefuse && a.OnFailure != onFailureCount {
		return fmt.Errorf("soc2: audit on_failure %q: choose refuse or count", a.OnFailure)
	}
	if n := a.QueueBytes; n != 0 && n < minQueueBytes {
		return fmt.Errorf("soc2: audit queue %d (queue_bytes): it must be at least %d bytes", n, minQueueBytes)
	}
	if d := time.Duration(a.Deadline); d != 0 && d < minDeadline {
		return fmt.Errorf("soc2: audit deadline %s: it must be at least %s", d, minDeadline)
	}
	if d := time.Duration(a.Retain); d != 0 && d < minRetain {
		return fmt.Errorf("soc2: audit retain %s: it must be at least %s", d, minRetain)
	}
	if d := time.Duration(a.ScrubInterval); d != 0 && d < minScrub {
		return fmt.Errorf("soc2: audit scrub every %s (scrub_interval): it must be at least %s", d, minScrub)
	}
	if n := a.ScrubRate; n != 0 && n < minScrubRate {
		return fmt.Errorf("soc2: audit scrub rate %d (scrub_rate): it must be at least %d bytes a second", n, minScrubRate)
	}
	if d := time.Duration(a.CheckpointInterval); d < minCheckpointInterval {
		return fmt.Errorf("soc2: audit checkpoint every %s (checkpoint_interval): it must be at least %s", d, minCheckpointInterval)
	}
	return nil
}
