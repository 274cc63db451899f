package soc2

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	_ "github.com/caddy-soc2/caddy-soc2/happenings/peer" // the network soc2unix
)

func init() { caddy.RegisterModule(new(changes.Admin)) }

// The names of files below the data directory.
const (
	changesFolder  = "changes"
	changesKeyFile = "keys/changes"
)

// checkChanges checks the option changes.
func (a *App) checkChanges() error {
	switch a.Changes {
	case "":
		a.Changes = changes.Observe
	case changes.Observe, changes.LoadOnly:
	default:
		return fmt.Errorf("soc2: changes %q: choose observe or load_only", a.Changes)
	}
	return nil
}

// startChanges begins to record changes of the configuration.
func (a *App) startChanges() error {
	err := changes.Use(changes.Settings{
		Dir: filepath.Join(a.DataDir, changesFolder),
		Key: filepath.Join(a.DataDir, filepath.FromSlash(changesKeyFile)),
	})
	if err != nil {
		return fmt.Errorf("soc2: changes: %w", err)
	}
	a.changes.Start()
	return nil
}

// ChangeMode says how changes of the configuration are guarded.
func (a *App) ChangeMode() string { return a.Changes }

// ChangeState says the same, and where the admin API listens, for the status.
func (a *App) ChangeState() any { return changes.Now() }

var _ changes.Moder = (*App)(nil)
