package soc2

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/drill"
)

// liveLog returns the log that runs, and its verifier keys.
func liveLog(ctx context.Context, cmd *cobra.Command) (drill.Live, []string, error) {
	keys, _ := cmd.Flags().GetStringArray("key")
	if name, _ := cmd.Flags().GetString("log"); name != "" {
		dir, err := recordsOf(name)
		if err != nil {
			return nil, nil, fmt.Errorf("--log: %w", err)
		}
		if len(keys) == 0 {
			key, err := audit.LoadKey(filepath.Join(filepath.Dir(filepath.Clean(name)), filepath.FromSlash(keyFile)))
			if err != nil {
				return nil, nil, fmt.Errorf("no --key is given, and the key beside the log cannot be used: %w", err)
			}
			keys = []string{key.Public()}
		}
		return drill.Directory{Dir: dir}, keys, nil
	}
	address, _ := cmd.Flags().GetString("address")
	live := adminLog{address}
	if len(keys) == 0 {
		b, err := live.get(ctx, "/log/key")
		if err != nil {
			return nil, nil, fmt.Errorf("asking the running server for its verifier key: %w: start it, name its admin API with --address, or the log's directory with --log", err)
		}
		keys = []string{strings.TrimSpace(string(b))}
	}
	return live, keys, nil
}

// adminLog is the log of a running server. It implements drill.Live.
type adminLog struct{ address string }

func (l adminLog) get(ctx context.Context, path string) ([]byte, error) {
	resp, err := askAdmin(ctx, l.address, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", path, records.ErrNotFound)
	case resp.StatusCode != http.StatusOK:
		var p struct{ Detail string }
		if json.Unmarshal(b, &p) != nil {
			p.Detail = "no more is known"
		}
		return nil, fmt.Errorf("%s: %s: %s", path, resp.Status, p.Detail)
	}
	return b, nil
}

// Checkpoint implements drill.Live.
func (l adminLog) Checkpoint(ctx context.Context) ([]byte, error) {
	return l.get(ctx, "/log/checkpoint")
}

// Consistency implements drill.Live.
func (l adminLog) Consistency(ctx context.Context, from, to int64) (tlog.TreeProof, error) {
	b, err := l.get(ctx, "/log/proof/consistency?from="+strconv.FormatInt(from, 10)+"&to="+strconv.FormatInt(to, 10))
	if err != nil {
		return nil, err
	}
	var answer struct{ Hashes tlog.TreeProof }
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, fmt.Errorf("the proof of the running server: %w", err)
	}
	return answer.Hashes, nil
}

// Appended implements drill.Live.
func (l adminLog) Appended(ctx context.Context, seq int64) (time.Time, error) {
	b, err := l.get(ctx, "/log/records/"+strconv.FormatInt(seq, 10))
	if err != nil {
		return time.Time{}, err
	}
	var answer struct{ Record json.RawMessage }
	if err := json.Unmarshal(b, &answer); err != nil {
		return time.Time{}, fmt.Errorf("record %d of the running server: %w", seq, err)
	}
	return records.Appended(answer.Record)
}

var _ drill.Live = adminLog{}
