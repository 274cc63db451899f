package soc2

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/decision"
	"github.com/caddy-soc2/caddy-soc2/evidence/drill"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

func drillCommand() *cobra.Command {
	parent := &cobra.Command{Use: "drill", Short: "Make drills of restoring the log and of alerts, and record how they went"}
	parent.AddCommand(restoreDrillCommand(), alertDrillCommand())
	return parent
}

func restoreDrillCommand() *cobra.Command {
	cmd := deciding(command("restore --from DIR [--log DIR]", "Verify a copy of the log that was restored, and record whether the drill passed",
		`Makes a drill of restoring the log. Restore a copy to a directory other than that of the
log, and name it with --from. All of the copy is read and verified, as "caddy soc2 verify"
does. A proof shows that it is a beginning of the log that runs, and the log says how many
records the copy lacks and since when. If anything of it is wrong, or if the copy is older
than --max-age, the drill failed.

The running server records the verdict as a record review.drill, with what was measured
and the SHA-256 of the copy's checkpoint (BKP-002). It compares a copy that passed with its
log itself.

The checkpoint, the proof and the verifier key come from the running server, or, with
--log, from the log's directory and keys/log.key beside it. --key gives the verifier key of
the log from elsewhere, and those of retired keys, with @N as for "verify".

Exit status: 0 the drill passed and is recorded, 1 it failed and is recorded, 2 wrong usage,
3 it could not be made, or not be recorded.`,
		cobra.NoArgs, runRestoreDrill))
	f := cmd.Flags()
	f.String("from", "", "directory of the copy: the log in it, with its checkpoint")
	f.String("log", "", "directory of the log that runs; default: ask the running server")
	f.StringArray("key", nil, "verifier key of the log, NAME+HASH+KEY, or a file with it; may be repeated")
	f.String("max-age", "24h", "for how long the log may have gone on without the copy, such as 24h or 7d")
	if err := f.Set("reason", "drill of restoring the log"); err == nil {
		f.Lookup("reason").DefValue = "drill of restoring the log"
	}
	return cmd
}

func runRestoreDrill(cmd *cobra.Command, _ []string) (int, error) {
	text := texts(cmd)
	d := &decision.Drill{By: text("by"), Subject: decision.SubjectRestore, Verdict: decision.Failed, Reason: text("reason"), Ticket: text("ticket")}
	if err := d.Vet(); err != nil {
		return exitUsage, flagged(err)
	}
	maxAge, err := controls.ParseDuration(text("max-age"))
	if err != nil || maxAge <= 0 {
		return exitUsage, fmt.Errorf("--max-age %q: it is not a duration like 24h or 7d", text("max-age"))
	}
	from, unlock, err := copyOf(text("from"), text("log"))
	if err != nil {
		return exitUsage, err
	}
	defer unlock()
	ctx, cancel := untilInterrupted(cmd)
	defer cancel()
	live, keys, err := liveLog(ctx, cmd)
	if err != nil {
		return exitCannot, err
	}
	restore := drill.Restore{Copy: os.DirFS(from), Live: live, MaxAge: maxAge}
	if restore.Keys, err = verify.Keys(keys); err != nil {
		return exitUsage, err
	}
	if d.Restored, err = restore.Run(ctx); err != nil {
		return exitCannot, fmt.Errorf("the drill could not be made, and nothing is recorded: %w", err)
	}
	if len(d.Restored.Problems) == 0 {
		d.Verdict = decision.Passed
	}
	if d.Restored.Checkpoint != "" {
		d.Files = []decision.File{{Name: "checkpoint", SHA256: d.Restored.Checkpoint}}
	}
	return recordDrill(cmd, d, exitCannot)
}

// copyOf returns the directory of the copy. It holds the directory's lock, which
// a server has whose log it is: one's own log is no copy that was restored.
func copyOf(from, log string) (dir string, unlock func(), err error) {
	if from == "" {
		return "", nil, errors.New("--from is needed: the directory of a copy of the log that was restored")
	}
	if inside := records.Inside(from); inside != "" {
		return "", nil, fmt.Errorf("--from %s is not an audit log: did you mean %s?", from, inside)
	}
	info, err := os.Stat(from)
	if err != nil || !info.IsDir() {
		return "", nil, fmt.Errorf("--from %s is not a directory that can be read: name the one to which the copy was restored", from)
	}
	if other, err := os.Stat(log); log != "" && err == nil && os.SameFile(info, other) {
		return "", nil, errors.New("--from and --log are one directory: restore a copy of the log elsewhere")
	}
	lock, err := durable.LockDir(from)
	if errors.Is(err, durable.ErrLocked) {
		return "", nil, fmt.Errorf("--from %s is open, so it is the log itself (%w): restore a copy of it elsewhere", from, err)
	}
	if err != nil { // where directories are not locked
		return from, func() {}, nil
	}
	return from, func() { _ = lock.Unlock() }, nil
}

// recordDrill has the server record a drill, and prints how it went. It returns
// the exit status cannot if it is not recorded.
func recordDrill(cmd *cobra.Command, d *decision.Drill, cannot int) (int, error) {
	answer, failure := request(cmd, http.MethodPost, "/drills", d)
	out := struct {
		Verdict  string             `json:"verdict"`
		Restored *decision.Restored `json:"restored,omitempty"`
		Files    []decision.File    `json:"files,omitempty"`
		Record   *checks.Entered    `json:"record"` // null: it is not recorded
	}{Verdict: d.Verdict, Restored: d.Restored, Files: d.Files}
	if failure == nil {
		failure = json.Unmarshal(answer, &out.Record)
	}
	var err error
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		err = e.Encode(out)
	} else {
		w := printer(cmd)
		writeDrill(w, d)
		if out.Record != nil {
			err = writeEntered(w, out.Record)
		}
	}
	switch {
	case failure != nil:
		return cannot, fmt.Errorf("the drill is not recorded: %w", failure)
	case err != nil:
		return cannot, err
	case d.Restored != nil && d.Verdict == decision.Failed:
		return exitFindings, nil
	}
	return 0, nil
}

func writeDrill(w io.Writer, d *decision.Drill) {
	r := d.Restored
	if r == nil {
		for _, f := range d.Files {
			fmt.Fprintf(w, "%s  %s\n", f.SHA256, printable(f.Name))
		}
		return
	}
	fmt.Fprintf(w, "copy      %d signed records of %s, root %s\n", r.Size, printable(r.Origin), printable(r.Root))
	fmt.Fprintf(w, "verified  %d records in %s\n", r.Records, r.Took.Round(time.Millisecond))
	fmt.Fprintf(w, "live      checkpoint of %d records, root %s\n", r.LiveSize, printable(r.LiveRoot))
	if r.Behind > 0 {
		fmt.Fprintf(w, "lacks     %d records, the first of them appended %s ago; %s are allowed\n", r.Behind, r.Age.Round(time.Second), r.MaxAge)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "problem   %s\n", printable(p))
	}
	if r.Omitted > 0 {
		fmt.Fprintf(w, "          and %d problems more\n", r.Omitted)
	}
}

func alertDrillCommand() *cobra.Command {
	cmd := deciding(command("alert --verdict passed|failed --reason WHY", "Record how a drill of alerts went",
		`Has the running server record how a drill of alerts went, as a record review.drill
(ALT-001): whether an alert that was sent as a test reached who has to act. The files that
show it, such as the message that arrived, stay where they are: the record has their names
and their SHA-256.

Exit status: 0 recorded, 1 not, 2 wrong usage.`,
		cobra.NoArgs, runAlertDrill))
	cmd.Flags().String("verdict", "", "passed or failed")
	cmd.Flags().StringArray("file", nil, "file that shows it; may be repeated")
	return cmd
}

func runAlertDrill(cmd *cobra.Command, _ []string) (int, error) {
	text := texts(cmd)
	d := &decision.Drill{By: text("by"), Subject: decision.SubjectAlert, Verdict: text("verdict"), Reason: text("reason"), Ticket: text("ticket")}
	names, _ := cmd.Flags().GetStringArray("file")
	for _, name := range names {
		f, err := hashFile(name)
		if err != nil {
			return exitUsage, fmt.Errorf("--file %s: %w", name, err)
		}
		d.Files = append(d.Files, f)
	}
	if err := d.Vet(); err != nil {
		return exitUsage, flagged(err)
	}
	return recordDrill(cmd, d, 1)
}

// hashFile hashes a file. Its directories are not told.
func hashFile(name string) (decision.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return decision.File{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return decision.File{}, err
	}
	return decision.File{Name: decision.FitName(filepath.Base(name)), SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}
