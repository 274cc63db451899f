package soc2

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/registry"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/statement"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/template"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/verdict"
)

func readUpTo(r io.Reader, most int64) ([]byte, error) { return io.ReadAll(io.LimitReader(r, most)) }

// keep signs and records verdicts where that is asked for.
func (c *checking) keep(list []*verdict.Verdict) error {
	name, _ := c.cmd.Flags().GetString("statement")
	key, _ := c.cmd.Flags().GetString("key")
	record, _ := c.cmd.Flags().GetBool("record")
	if (name == "") != (key == "") {
		return errors.New("--statement and --key belong together: the file, and the key that signs it")
	}
	if name != "" {
		signer, err := signerOf(key)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		data, err := statement.Sign(statement.New(list, "caddy-soc2 "+programVersion(), time.Now()), signer)
		if err != nil {
			return err
		}
		if err := replaceFile(name, data); err != nil {
			return fmt.Errorf("--statement: %w", err)
		}
	}
	dir, _ := c.cmd.Flags().GetString("log")
	switch {
	case record && dir != "":
		return errors.New("give --record, for the running server, or --log, for a log that no server has open: one of them")
	case record:
		for _, v := range list {
			if err := c.report(v); err != nil {
				return fmt.Errorf("--record: %w", err)
			}
		}
	case dir != "":
		if err := c.inscribe(dir, list); err != nil {
			return fmt.Errorf("--log: %w", err)
		}
	}
	return nil
}

// signerOf reads a private key in PEM or as the log's key is kept.
func signerOf(text string) (statement.Signer, error) {
	name := strings.TrimPrefix(text, "file:")
	if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, []byte("-----BEGIN")) {
		return statement.ParsePEM(data)
	}
	if !strings.Contains(text, ":") {
		text = "file:" + text
	}
	source, err := audit.ParseSource(text)
	if err != nil {
		return nil, err
	}
	return source.Load()
}

func dockerfileVerifyCommand() *cobra.Command {
	cmd := command("verify STATEMENT --key KEY", "Verify a signed verdict",
		`Verifies the signature of a statement that "check --statement" wrote, compares the
files that it is about with their hashes, where they are there, and prints what it
says. --key is the verifier key, NAME+HASH+KEY, or a file with it or with a public
key in PEM.

Exit status: 0 it holds, 1 it does not, or a file is another one now, 2 wrong usage.`,
		cobra.ExactArgs(1), runDockerfileVerify)
	cmd.Flags().String("key", "", "key that must have signed it")
	return cmd
}

func runDockerfileVerify(cmd *cobra.Command, args []string) (int, error) {
	text, _ := cmd.Flags().GetString("key")
	verify, err := verifierOf(text)
	if err != nil {
		return 2, fmt.Errorf("--key: %w", err)
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return 2, err
	}
	s, err := statement.Open(data, verify)
	if err != nil {
		return 1, fmt.Errorf("%s: %w", args[0], err)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "signed    %s by %s\nresult    %s\n", s.Predicate.Time.Format(time.RFC3339), printable(s.Predicate.Producer), printable(s.Predicate.Result))
	changed := 0
	for _, r := range append(s.Subject, s.Predicate.Configuration...) {
		state := "is not here"
		if data, err := os.ReadFile(r.Name); err == nil {
			state = "is the same"
			if verdict.NewInput(r.Name, data).SHA256 != r.Digest["sha256"] {
				state = "is another one now"
				changed++
			}
		}
		fmt.Fprintf(out, "%s %s %s\n", r.Digest["sha256"], printable(r.Name), state)
	}
	if changed > 0 {
		return 1, fmt.Errorf("%d of the files are not those that were judged", changed)
	}
	return 0, nil
}

// printable takes control characters away.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func verifierOf(text string) (func(message, sig []byte) bool, error) {
	if text == "" {
		return nil, errors.New("it is needed: whose signature is to be verified")
	}
	if data, err := os.ReadFile(text); err == nil {
		if bytes.Contains(data, []byte("-----BEGIN")) {
			return statement.VerifierPEM(data)
		}
		text = strings.TrimSpace(string(data))
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a verifier key NAME+HASH+KEY nor a file with one: %w", text, err)
	}
	return v.Verify, nil
}

func dockerfileInitCommand() *cobra.Command {
	cmd := command("init KIND [DIR]", "Begin a Dockerfile, .dockerignore and compose.yaml",
		`Writes a multi-stage Dockerfile for an application of a KIND, node, go, python, java
or static, which passes the profile strict, a .dockerignore and a compose.yaml that
puts it behind the proxy. It replaces no file.

The base images are pinned by their digests, for which it asks their registries.
--digest gives one instead; --no-digest leaves the tags alone, which strict refuses.`,
		cobra.RangeArgs(1, 2), runDockerfileInit)
	cmd.Flags().StringArray("digest", nil, "IMAGE=sha256:…; may be repeated")
	cmd.Flags().Bool("no-digest", false, "leave the images without digests")
	return cmd
}

func runDockerfileInit(cmd *cobra.Command, args []string) (int, error) {
	images, err := template.Images(args[0])
	if err != nil {
		return 2, err
	}
	digests, err := digestsOf(cmd, images)
	if err != nil {
		return 2, err
	}
	files, err := template.Files(args[0], digests)
	if err != nil {
		return 2, err
	}
	dir := "."
	if len(args) > 1 {
		dir = args[1]
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.Name)); err == nil {
			return 2, fmt.Errorf("%s is there already: nothing was written", filepath.Join(dir, f.Name))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a directory of sources, as git makes it
		return 2, err
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name)
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a source file
		if err != nil {
			return 2, err
		}
		_, err = file.Write(f.Data)
		if err = errors.Join(err, file.Close()); err != nil {
			return 2, err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "wrote "+name)
	}
	return 0, nil
}

// digestsOf finds the digests of images, as given or from their registries.
func digestsOf(cmd *cobra.Command, images []dockerfile.Image) (map[string]string, error) {
	digests := map[string]string{}
	given, _ := cmd.Flags().GetStringArray("digest")
	for _, text := range given {
		i := strings.LastIndex(text, "=")
		if i < 0 || dockerfile.ParseImage(text[:i]+"@"+text[i+1:]).Repository == "" {
			return nil, fmt.Errorf("--digest %q: write IMAGE=sha256:…", text)
		}
		digests[text[:i]] = text[i+1:]
	}
	if none, _ := cmd.Flags().GetBool("no-digest"); none {
		return digests, nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
	defer cancel()
	for _, m := range images {
		if digests[m.Name] != "" {
			continue
		}
		digest, err := new(registry.Client).Digest(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("%w: give it with --digest %s=sha256:…, or --no-digest", err, m.Name)
		}
		digests[m.Name] = digest
	}
	return digests, nil
}

func dockerfileRulesCommand() *cobra.Command {
	cmd := command("rules [RULE]", "Print the rules, or what one of them is about", "Prints the rules, with the SOC 2 criteria that they are evidence for.",
		cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) (int, error) {
			out := cmd.OutOrStdout()
			if len(args) == 1 {
				r, ok := dockerfile.RuleByID(strings.ToUpper(args[0]))
				if !ok {
					return 2, fmt.Errorf("there is no rule %q", args[0])
				}
				_, err := fmt.Fprintf(out, "%s %s\nseverity  %s in the profile recommended\ncriteria  %s\nwhy       %s\nfix       %s\n",
					r.ID, r.Title, r.Severity, cmp.Or(strings.Join(r.Criteria, ", "), "none"), r.Why, r.Fix)
				return 0, err
			}
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			for _, r := range dockerfile.Rules() {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.ID, r.Severity, strings.Join(r.Criteria, ", "), r.Title)
			}
			return 0, t.Flush()
		})
	return cmd
}
