package soc2

import (
	"bytes"
	"context"
	"strings"

	"github.com/spf13/cobra"
)

// RunAccess runs "caddy soc2 access WORDS" for the tests of this package that run
// a server.
func RunAccess(words ...string) (code int, out, said string, err error) {
	var cmd *cobra.Command
	var run func(*cobra.Command, []string) (int, error)
	switch {
	case len(words) > 1 && words[1] == "sign":
		cmd, run, words = reviewSignCommand(), runReviewSign, words[2:]
	case len(words) > 1 && words[1] == "signed":
		cmd, run, words = reviewSignedCommand(), runReviewSigned, words[2:]
	default:
		cmd, run, words = accessReviewCommand(), runAccessReview, words[1:]
	}
	if err := cmd.ParseFlags(words); err != nil {
		return 2, "", "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetIn(strings.NewReader(""))
	cmd.SetContext(context.Background())
	code, err = run(cmd, cmd.Flags().Args())
	return code, stdout.String(), stderr.String(), err
}
