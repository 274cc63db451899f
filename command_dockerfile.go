package soc2

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/policy"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/verdict"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// dockerfileCommand checks Dockerfiles and writes new ones.
func dockerfileCommand() *cobra.Command {
	parent := &cobra.Command{Use: "dockerfile", Short: "Check Dockerfiles against a policy, or begin one"}
	parent.AddCommand(dockerfileCheckCommand(), dockerfileInitCommand(), dockerfileVerifyCommand(), dockerfileRulesCommand())
	return parent
}

func dockerfileCheckCommand() *cobra.Command {
	cmd := command("check FILE…", "Check Dockerfiles",
		`Parses each FILE with BuildKit's parser, follows which stages end up in the image of
the target stage, and applies 24 rules and those of BuildKit's linter. Each finding
says the line, the rule, why it matters, with the SOC 2 criteria that it is evidence
for, and what to do. - is the standard input.

--policy names a file with the profile, the registries that images may come from,
severities, and waivers with reason, approver and last day. --baseline names a file
with findings that were there before and do not count; --write-baseline writes it.
--fix mends in the files what can be mended without a decision.

--statement writes the verdict as an in-toto statement in a DSSE envelope, signed by
--key. --record has the running server record it in its audit log; --log records it in
a log that no server has open. Each has the SHA-256 of the Dockerfile, the ignore file,
the policy and the baseline. The check CHG-008 reads the newest verdicts in the log.

Exit status: 0 nothing blocks, 1 something does, 2 wrong usage, or a file that cannot
be judged: then there is no verdict on any.`,
		cobra.MinimumNArgs(1), runDockerfileCheck)
	flags := cmd.Flags()
	flags.String("target", "", "stage that becomes the image; default: the last one")
	flags.String("profile", "", "recommended or strict; default: that of the policy, else recommended")
	flags.String("policy", "", "file of the policy, YAML or JSON")
	flags.StringArray("build-arg", nil, "NAME=VALUE, as it is given to the build; may be repeated")
	flags.String("context", "", "directory that the builder sends; default: that of the file; none: not looked at")
	flags.String("format", "text", "text, json or sarif")
	flags.Bool("fix", false, "mend in the files what can be mended without a decision")
	flags.String("baseline", "", "file with findings that do not count")
	flags.String("write-baseline", "", "write all that is found to this file, and pass")
	flags.String("statement", "", "file for the signed statement")
	flags.String("key", "", "private key that signs it: file:PATH, env:NAME or credential:NAME of a key as \"caddy soc2 key new\" makes it, or a file in PEM (PKCS #8)")
	flags.Bool("record", false, "have the running server record the verdict")
	flags.String("log", "", "directory of an audit log that no server has open, in which to record the verdict")
	flags.String("log-key", "", "key of that log; default: file:keys/log.key beside its directory")
	return ordering(cmd)
}

// checking is a run of the command check.
type checking struct {
	cmd      *cobra.Command
	policy   *policy.Policy
	baseline *policy.Baseline
	options  dockerfile.Options
	context  string
	fix      bool
	always   []verdict.Input // inputs of every verdict
}

func runDockerfileCheck(cmd *cobra.Command, args []string) (int, error) {
	c, err := newChecking(cmd)
	if err != nil {
		return 2, err
	}
	var list []*verdict.Verdict
	var found []dockerfile.Finding
	for _, name := range args {
		v, err := c.file(name)
		if err != nil {
			return 2, err
		}
		list, found = append(list, v), append(found, v.Findings...)
	}
	if name, _ := cmd.Flags().GetString("write-baseline"); name != "" {
		if err := replaceFile(name, policy.NewBaseline(found).Bytes()); err != nil {
			return 2, err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d findings are written to %s: give it with --baseline from now on\n", len(found), name)
		return 0, err
	}
	if err := writeVerdicts(cmd, list); err != nil {
		return 2, err
	}
	if err := c.keep(list); err != nil {
		return 2, err
	}
	if slices.ContainsFunc(list, func(v *verdict.Verdict) bool { return v.Outcome != verdict.Pass }) {
		return 1, nil
	}
	return 0, nil
}

func newChecking(cmd *cobra.Command) (*checking, error) {
	flags := cmd.Flags()
	c := &checking{cmd: cmd, policy: &policy.Policy{Profile: dockerfile.Recommended}}
	if name, _ := flags.GetString("policy"); name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		if c.policy, err = policy.Parse(data); err != nil {
			return nil, fmt.Errorf("--policy %s: %w", name, err)
		}
		c.always = append(c.always, verdict.NewInput(name, data))
	}
	if name, _ := flags.GetString("baseline"); name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--baseline: %w", err)
		}
		if c.baseline, err = policy.ParseBaseline(data); err != nil {
			return nil, fmt.Errorf("--baseline %s: %w", name, err)
		}
		c.always = append(c.always, verdict.NewInput(name, data))
	}
	c.options = c.policy.Options()
	c.options.Target, _ = flags.GetString("target")
	if p, _ := flags.GetString("profile"); p != "" {
		if c.options.Profile = dockerfile.Profile(p); !slices.Contains(dockerfile.Profiles, c.options.Profile) {
			return nil, fmt.Errorf("--profile %q: there are %v", p, dockerfile.Profiles)
		}
	}
	c.context, _ = flags.GetString("context")
	c.fix, _ = flags.GetBool("fix")
	if format, _ := flags.GetString("format"); !slices.Contains([]string{"text", "json", "sarif"}, format) {
		return nil, fmt.Errorf("--format %q: there are text, json and sarif", format)
	}
	return c, c.buildArgs()
}

func (c *checking) buildArgs() error {
	list, _ := c.cmd.Flags().GetStringArray("build-arg")
	all := map[string]string{}
	maps.Copy(all, c.options.BuildArgs)
	for _, arg := range list {
		name, value, ok := strings.Cut(arg, "=")
		if name == "" || !ok {
			return fmt.Errorf("--build-arg %q: write NAME=VALUE", arg)
		}
		all[name] = value
	}
	c.options.BuildArgs = all
	return nil
}

// file judges one.
func (c *checking) file(name string) (*verdict.Verdict, error) {
	data, err := c.read(name)
	if err != nil {
		return nil, err
	}
	if c.fix && name != "-" {
		if data, err = c.mend(name, data); err != nil {
			return nil, err
		}
	}
	f, o, err := c.parse(name, data)
	if err != nil {
		return nil, err
	}
	found, err := f.Check(o)
	if err != nil {
		return nil, err
	}
	inputs := []verdict.Input{verdict.NewInput(name, data)}
	if o.Context != nil && o.Context.HasIgnore {
		inputs = append(inputs, verdict.NewInput(path.Join(filepath.ToSlash(c.contextOf(name)), o.Context.IgnoreName), o.Context.Ignore))
	}
	remarks := c.policy.Waive(found, time.Now())
	if c.baseline != nil {
		remarks = append(remarks, c.baseline.Apply(name, found)...)
	}
	v := verdict.New(name, f.Target(o.Target), &o, found, append(inputs, c.always...))
	v.Remarks = remarks
	return v, nil
}

func (c *checking) read(name string) ([]byte, error) {
	if name == "-" {
		return readUpTo(c.cmd.InOrStdin(), dockerfile.MaxSize+1)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file: name a Dockerfile", name))
	}
	return readUpTo(file, dockerfile.MaxSize+1)
}

// parse reads a file and its context.
func (c *checking) parse(name string, data []byte) (*dockerfile.File, dockerfile.Options, error) {
	o := c.options
	shown := name
	if name == "-" {
		shown = "Dockerfile"
	}
	f, err := dockerfile.Parse(shown, data, o.BuildArgs)
	if err != nil {
		return nil, o, err
	}
	if dir := c.contextOf(name); dir != "" {
		if o.Context, err = dockerfile.ReadContext(os.DirFS(dir), shown); err != nil {
			return nil, o, fmt.Errorf("%s: %w: mend it, or give --context none", shown, err)
		}
	}
	return f, o, nil
}

// contextOf is the directory of the build context; empty if it is not looked at.
func (c *checking) contextOf(name string) string {
	switch {
	case c.context == "none" || c.context == "" && name == "-":
		return ""
	case c.context != "":
		return c.context
	}
	return filepath.Dir(name)
}

// mend changes the file in place, and says what it changed.
func (c *checking) mend(name string, data []byte) ([]byte, error) {
	out := c.cmd.ErrOrStderr()
	data, normal := dockerfile.Normalize(data)
	f, o, err := c.parse(name, data)
	if err != nil {
		return nil, err
	}
	found, err := f.Check(o)
	if err != nil {
		return nil, err
	}
	c.policy.Waive(found, time.Now())
	fixed, mended := f.Fix(found)
	if len(mended) == 0 && !normal {
		return data, nil
	}
	if _, _, err := c.parse(name, fixed); err != nil {
		return nil, fmt.Errorf("--fix would break the file, so nothing was changed: %w", err)
	}
	if err := replaceFile(name, fixed); err != nil {
		return nil, fmt.Errorf("--fix: %w", err)
	}
	if normal {
		fmt.Fprintf(out, "%s: fixed: line ends and byte order mark\n", name)
	}
	for _, m := range mended {
		fmt.Fprintf(out, "%s:%d: fixed %s: %s\n", name, m.Line, m.Rule, m.Fix)
	}
	return fixed, nil
}

// replaceFile writes a file in one step. One that is there keeps its rights.
func replaceFile(name string, data []byte) error {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	if err := durable.WriteFile(durable.OS{}, name, data); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

func writeVerdicts(cmd *cobra.Command, list []*verdict.Verdict) error {
	format, _ := cmd.Flags().GetString("format")
	switch format {
	case "json":
		return verdict.WriteJSON(cmd.OutOrStdout(), list)
	case "sarif":
		return verdict.WriteSARIF(cmd.OutOrStdout(), programVersion(), list)
	}
	return verdict.WriteText(cmd.OutOrStdout(), list)
}

// programVersion is that of the program, as Caddy says it.
func programVersion() string {
	simple, _ := caddy.Version()
	return simple
}
