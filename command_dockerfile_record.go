package soc2

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/verdict"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// reportOf is what the log is told of a verdict.
func (c *checking) reportOf(v *verdict.Verdict) evidence.DockerfileReport {
	o := orderOf(c.cmd)
	report := evidence.DockerfileReport{
		By: o.By, Reason: o.Reason, File: v.File, Target: v.Target, Profile: string(v.Profile), Rules: v.Rules, Outcome: v.Outcome,
		Blocking: int64(v.Blocking), Warnings: int64(v.Warnings), Waived: int64(v.Waived), Baseline: int64(v.Baseline),
		Verdict: v.SHA256(), Findings: v.Brief(),
	}
	for _, in := range v.Inputs {
		report.Inputs = append(report.Inputs, in.SHA256+" "+in.Name)
	}
	return report
}

// report has the running server record a verdict.
func (c *checking) report(v *verdict.Verdict) error {
	body, err := json.Marshal(c.reportOf(v))
	if err != nil {
		return err
	}
	quiet := *c.cmd
	quiet.SetOut(c.cmd.ErrOrStderr())
	_, err = call(&quiet, http.MethodPost, "/dockerfile/checks", body)
	return err
}

// inscribe records verdicts in a log that no server has open.
func (c *checking) inscribe(dir string, list []*verdict.Verdict) (err error) {
	var records []*audit.DockerfileCheck
	for _, v := range list {
		report := c.reportOf(v)
		if report.By == "" {
			return errors.New("--by is needed: the log records who reports the verdict")
		}
		r, err := recordOf(&report)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	log, err := c.openIdleLog(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the name of this host: %w", err)
	}
	for _, r := range records {
		seq, err := log.Append(context.WithoutCancel(c.cmd.Context()), r.AppendBody(nil, host))
		if err != nil {
			return err
		}
		fmt.Fprintf(c.cmd.ErrOrStderr(), "the verdict on %s is record %d of %s\n", printable(r.File), seq, dir)
	}
	return nil
}

// openIdleLog opens a log that is there, and that nobody has open, with its own
// key.
func (c *checking) openIdleLog(dir string) (*audit.Log, error) {
	if _, err := os.Stat(filepath.Join(dir, checkpoint.File)); err != nil {
		return nil, fmt.Errorf("%s is no audit log: %w: name the directory that has its checkpoint", dir, err)
	}
	text, _ := c.cmd.Flags().GetString("log-key")
	home := filepath.Dir(filepath.Clean(dir))
	if text == "" {
		text = "file:" + filepath.Join(home, filepath.FromSlash(keyFile))
	}
	source, err := audit.ParseSource(text)
	if err != nil {
		return nil, fmt.Errorf("--log-key: %w", err)
	}
	keys, err := source.LoadSet()
	if err != nil {
		return nil, fmt.Errorf("--log-key: %w", err)
	}
	config := audit.Config{Dir: dir, Key: keys.Key, Cosigners: keys.Cosigners()}
	if state := filepath.Join(home, filepath.FromSlash(stateFile)); exists(state) {
		config.StateFile = state // as the server has it, which so finds that the log was rolled back
	}
	log, err := audit.Open(config)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%w: use --record, which asks the running server", err)
	}
	return log, err
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// RecordDockerfile records a verdict that was reported. It implements
// evidence.Recorder.
func (a *App) RecordDockerfile(r evidence.DockerfileReport) (any, error) {
	record, err := recordOf(&r)
	if err != nil {
		return nil, err
	}
	if err := a.inscribe(record); err != nil {
		return nil, err
	}
	checks.Happened(record)
	return map[string]string{"recorded": r.File, "outcome": r.Outcome}, nil
}

// recordOf makes the record of a report, if it makes sense.
func recordOf(r *evidence.DockerfileReport) (*audit.DockerfileCheck, error) {
	if _, err := hex.DecodeString(r.Verdict); err != nil || len(r.Verdict) != 64 {
		return nil, refused(`"verdict" %q is no SHA-256 in hex`, r.Verdict)
	}
	if r.Outcome != verdict.Pass && r.Outcome != verdict.Fail || (r.Outcome == verdict.Fail) != (r.Blocking > 0) {
		return nil, refused(`"outcome" %q does not fit %d blocking findings`, r.Outcome, r.Blocking)
	}
	return &audit.DockerfileCheck{
		Time: time.Now(), File: r.File, Target: r.Target, Profile: r.Profile, Rules: r.Rules, Outcome: r.Outcome,
		Blocking: r.Blocking, Warnings: r.Warnings, Waived: r.Waived, Baseline: r.Baseline, Inputs: r.Inputs,
		Statement: r.Verdict, Findings: audit.JSON{Value: compactJSON(r.Findings)}, By: r.By, Reason: r.Reason,
	}, nil
}

func compactJSON(text []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return []byte("[]")
	}
	return b.Bytes()
}

var _ evidence.Recorder = (*App)(nil)
