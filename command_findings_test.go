package soc2

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// RunDecision runs "caddy soc2 WORDS" of the commands that record what somebody
// decides, for the tests of this package that run a server.
func RunDecision(words ...string) (code int, out string, err error) {
	type runner struct {
		cmd *cobra.Command
		run func(*cobra.Command, []string) (int, error)
	}
	var r runner
	name, n := words[0], 1
	if len(words) > 1 && (name == "drill" || name == "accept" && (words[1] == "list" || words[1] == "withdraw")) {
		name, n = name+" "+words[1], 2
	}
	switch name {
	case "findings":
		r = runner{findingsCommand(), runFindings}
	case "triage":
		r = runner{triageCommand(), runTriage}
	case "accept":
		r = runner{acceptCommand(), runAccept}
	case "accept list":
		r = runner{acceptedCommand(), runAccepted}
	case "accept withdraw":
		r = runner{withdrawCommand(), runWithdraw}
	case "drill restore":
		r = runner{restoreDrillCommand(), runRestoreDrill}
	case "drill alert":
		r = runner{alertDrillCommand(), runAlertDrill}
	}
	if err := r.cmd.ParseFlags(words[n:]); err != nil {
		return 2, "", err
	}
	var b bytes.Buffer
	r.cmd.SetOut(&b)
	r.cmd.SetErr(new(bytes.Buffer))
	r.cmd.SetContext(context.Background())
	code, err = r.run(r.cmd, r.cmd.Flags().Args())
	return code, b.String(), err
}

// TestDecisionsThatAreWrongAreUsageErrors names the flag that is at fault, without
// a server.
func TestDecisionsThatAreWrongAreUsageErrors(t *testing.T) {
	nobody := "--address=127.0.0.1:1"
	for _, c := range []struct {
		words []string
		code  int
		want  string
	}{
		{[]string{"triage", "NONE-1"}, 2, `"NONE-1" is neither a check`},
		{[]string{"triage", "AUD-003", "--owner=o", "--reason=r"}, 2, "--verdict is needed: choose incident"},
		{[]string{"triage", "AUD-003", "--verdict=benign", "--reason=r"}, 2, "--owner is needed"},
		{[]string{"triage", "AUD-003", "--verdict=benign", "--owner=o", "--reason=r", "--until=2020-01-01"}, 2, "--until is 2020-01-02T00:00:00Z, which is over"},
		{[]string{"triage", "AUD-003", "--verdict=benign", "--owner=o", "--reason=r", nobody}, 1, "--address"},
		{[]string{"accept", "NONE-1"}, 2, `there is no check "NONE-1"`},
		{[]string{"accept", "UPS-004", "--reason=r", "--owner=o", "--until=30d"}, 2, "--approved-by is needed"},
		{[]string{"accept", "UPS-004", "--reason=r", "--owner=o", "--approved-by=a"}, 2, "--until is needed"},
		{[]string{"accept", "UPS-004", "--reason=r", "--owner=o", "--approved-by=a", "--until=400d"}, 2, "at most 366 days"},
		{[]string{"accept", "UPS-004", "--reason=r", "--owner=o", "--approved-by=a", "--until=soon"}, 2, `--until is "soon"`},
		{[]string{"accept", "withdraw", "UPS-004"}, 2, "is not the index of a record"},
		{[]string{"accept", "withdraw", "7"}, 2, "--reason is needed"},
		{[]string{"accept", "list", nobody}, 1, "--address"},
		{[]string{"findings", nobody}, 1, "--address"},
		{[]string{"drill", "alert", "--reason=r"}, 2, "--verdict is needed"},
		{[]string{"drill", "alert", "--verdict=passed", "--reason=r", "--file=/nowhere"}, 2, "--file /nowhere"},
		{[]string{"drill", "alert", "--verdict=passed", "--reason=r", nobody}, 1, "the drill is not recorded"},
		{[]string{"drill", "restore"}, 2, "--from is needed"},
		{[]string{"drill", "restore", "--from=/nowhere"}, 2, "is not a directory"},
		{[]string{"drill", "restore", "--from=" + t.TempDir(), "--max-age=0s"}, 2, "--max-age"},
		{[]string{"drill", "restore", "--from=" + t.TempDir(), nobody}, 3, "--address"},
		{[]string{"drill", "restore", "--from=" + t.TempDir(), "--log=/nowhere"}, 3, "--log"},
	} {
		code, _, err := RunDecision(c.words...)
		if err == nil || code != c.code || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
			t.Errorf("%q: exit %d, %v", c.words, code, err)
		}
	}
}

// TestEndsAreTimesDaysAndDurations reads what --until takes.
func TestEndsAreTimesDaysAndDurations(t *testing.T) {
	if got := ending("2027-01-31"); got != "2027-02-01T00:00:00Z" {
		t.Errorf("a day: %s", got)
	}
	if got := ending("2027-01-31T08:00:00+02:00"); got != "2027-01-31T08:00:00+02:00" {
		t.Errorf("a time: %s", got)
	}
	end, err := time.Parse(time.RFC3339, ending("30d"))
	if left := time.Until(end); err != nil || left > 30*24*time.Hour || left < 30*24*time.Hour-time.Minute {
		t.Errorf("a duration: %s, %v", end, err)
	}
}
