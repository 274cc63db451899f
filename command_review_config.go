package soc2

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// reviewedGrants reads what the configuration of a review grants: that of the
// flag, or the one that the log says was in force at the end of the period.
func reviewedGrants(cmd *cobra.Command, dir records.Dir, root string, o *review.Options) (*review.Grants, error) {
	flags := cmd.Flags()
	file, _ := flags.GetString("config")
	adapter, _ := flags.GetString("adapter")
	none, _ := flags.GetBool("no-config")
	missing, _ := flags.GetBool("missing-files")
	if none && file != "" {
		return nil, errors.New("give --config or --no-config, not both")
	}
	var g *review.Grants
	var err error
	switch {
	case none:
		g = &review.Grants{Configuration: review.Configuration{Source: "none"}}
	case file != "":
		g, err = grantsOfFile(cmd, file, adapter, missing)
	default:
		g, err = recordedGrants(dir, root, o, missing)
	}
	if err != nil {
		return nil, err
	}
	return g, resolve(cmd, g, root)
}

func grantsOfFile(cmd *cobra.Command, file, adapter string, missing bool) (*review.Grants, error) {
	stdin := cmd.InOrStdin()
	var b []byte
	var err error
	if file == "-" {
		var all bytes.Buffer
		if _, err = all.ReadFrom(stdin); err == nil {
			b, stdin = all.Bytes(), &all
		}
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	hash := review.Hash(b)
	config, err := readConfig(stdin, file, adapter)
	if err != nil {
		return nil, err
	}
	return grantsOf(config, review.Configuration{Source: "file", Name: filepath.Base(file), SHA256: hash}, missing)
}

// recordedGrants reads the configuration that a config.change record before the
// end of the period names, from the history beside the log.
func recordedGrants(dir records.Dir, root string, o *review.Options, missing bool) (*review.Grants, error) {
	end, hash := o.Period.To.UTC(), ""
	if o.Size == 0 { // a change that the tree does not have is none of this review
		if text, err := fs.ReadFile(dir.FS, checkpoint.File); err == nil {
			if head, err := checkpoint.Peek(text); err == nil {
				o.Size = head.Size
			}
		}
	}
	var failed error
	err := dir.Newest(func(seq int64, record []byte) bool {
		if string(records.Kind(record)) != string(audit.KindConfigChange) || o.Size > 0 && seq >= o.Size {
			return true
		}
		r, err := audit.Decode(record)
		if err != nil {
			failed = fmt.Errorf("record %d: %w", seq, err)
			return false
		}
		b, ok := r.Body.(*audit.ConfigChange)
		if !ok || !b.Time.Before(end) || b.After == "" || b.Outcome != "applied" && b.Outcome != "unchanged" {
			return true
		}
		hash = b.After
		return false
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	if sum, err := hex.DecodeString(hash); err != nil || len(sum) == 0 {
		return nil, errors.New("the log does not say which configuration was in force at the end of the period: name one with --config, or say --no-config for a review of who did alone")
	}
	name := filepath.Join(filepath.Dir(filepath.Clean(root)), changesFolder, hash+".json")
	config, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("the configuration %s, which was in force at the end of the period, cannot be read: %w: name it with --config, or say --no-config for a review of who did alone", hash, err)
	}
	if review.Hash(config) != hash {
		return nil, fmt.Errorf("%s is damaged: its contents have another hash than its name", name)
	}
	return grantsOf(config, review.Configuration{Source: "recorded", SHA256: hash}, missing)
}

// resolve finds the pseudonyms of the principals that the configuration names, if
// the keys are at hand.
func resolve(cmd *cobra.Command, g *review.Grants, root string) error {
	keys, _ := cmd.Flags().GetString("keys")
	if keys == "" {
		keys = keysBeside(root)
		if info, err := os.Stat(keys); err != nil || !info.IsDir() {
			return nil // an auditor has none
		}
	} else if info, err := os.Stat(keys); err != nil || !info.IsDir() {
		return fmt.Errorf("--keys: %s is not a directory of keys", keys)
	}
	periods, err := personal.Periods(durable.OS{}, keys)
	if err != nil {
		return err
	}
	for _, p := range periods {
		for i := range g.Accounts {
			a := &g.Accounts[i]
			if a.Kind == review.Pattern {
				continue
			}
			alias, err := personal.Lookup(durable.OS{}, keys, p.Name, personal.User, a.Name)
			if err != nil {
				return err
			}
			a.Aliases = append(a.Aliases, alias)
		}
		g.Resolved = append(g.Resolved, p.Name)
	}
	return nil
}

// moment reads a time as RFC 3339, or a day in UTC.
func moment(cmd *cobra.Command, name string) (time.Time, error) {
	s, _ := cmd.Flags().GetString(name)
	if s == "" {
		return time.Time{}, fmt.Errorf("--%s is needed: a time like 2026-10-01T00:00:00Z, or a day like 2026-10-01 (UTC)", name)
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(s))
	if err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return t, fmt.Errorf("--%s %q: it is neither a time like 2026-10-01T00:00:00Z nor a day like 2026-10-01", name, s)
	}
	return t.UTC(), nil
}
