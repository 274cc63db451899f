// Command soc2-verify checks an audit log of caddy-soc2 offline. It is for the
// auditor: it imports neither Caddy nor the code that writes the log.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

const usage = `usage: soc2-verify DIR --key VKEY [--key VKEY ...] [--checkpoint FILE ...]
                   [--witness VKEY ...] [--timestamp-roots FILE]
                   [--state FILE [--full]] [--json]
       soc2-verify PACK.zip --key VKEY [--key VKEY ...] [--json]
       soc2-verify --proof FILE --record FILE --key VKEY [--json]

Verifies the audit log in DIR: that its checkpoint is signed by the given key,
and that its records, hash tiles and segments are all there and are what the
checkpoint signs.

The second form verifies an evidence pack: its container and signature, the hash of
each file, the hash tree of each log and that it goes on from each checkpoint, and
that every figure of the report is what the records give. It prints what could not
be checked.

The third form verifies that one record is in the log, from its C2SP tlog-proof.

  DIR                the log's directory, which has the file "checkpoint"
  --key VKEY[@N]     the log's verifier key, NAME+HASH+KEY, or a file with it;
                     of a retired key, with the number N of the log.open record
                     that retired it: it is good for at most N records
  --checkpoint FILE  a checkpoint of the log that was kept: the log must be
                     consistent with it
  --witness VKEY     verifier key of a witness, which must have cosigned the log
  --timestamp-roots FILE
                     root certificates (PEM) of the authorities whose time stamps
                     on the log are verified
  --state FILE       keep in FILE how far the log was verified, and go on from
                     there the next time; find a log that is older than the one
                     that was seen last
  --full             read all of the log again, in spite of the state
  --proof FILE       a record's proof, which "caddy soc2 show ID --proof FILE" writes
  --record FILE      the record, as "caddy soc2 show ID" prints it
  --json             print the report as JSON

exit status: 0 verified, 1 evidence of tampering or gaps, 2 wrong usage,
3 the verification could not be made
`

type keyList []string

func (k *keyList) String() string     { return strings.Join(*k, " ") }
func (k *keyList) Set(s string) error { *k = append(*k, s); return nil }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var keys, checkpoints, witnesses keyList
	flags := flag.NewFlagSet("soc2-verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Var(&keys, "key", "")
	flags.Var(&checkpoints, "checkpoint", "")
	flags.Var(&witnesses, "witness", "")
	roots := flags.String("timestamp-roots", "", "")
	state := flags.String("state", "", "")
	full := flags.Bool("full", false, "")
	asJSON := flags.Bool("json", false, "")
	proof := flags.String("proof", "", "")
	record := flags.String("record", "", "")
	dirs, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return verify.ExitVerified
	}
	one := *proof != "" || *record != ""
	switch {
	case err != nil:
	case one && (*proof == "" || *record == "" || len(dirs) > 0):
		err = errors.New("--proof and --record are needed both, and no directory: the proof and the record that it is of")
	case !one && len(dirs) != 1:
		err = fmt.Errorf("one directory or pack is needed, not %d", len(dirs))
	case !one && isFile(dirs[0]) && (len(checkpoints)+len(witnesses) > 0 || *roots != "" || *state != "" || *full):
		err = errors.New("an evidence pack is verified with --key and --json alone")
	}
	verifiers, kerr := verify.Keys(keys)
	if err == nil {
		err = kerr
	}
	outsiders, oerr := verify.NewOutsiders(verifiers, witnesses, *roots)
	if err == nil {
		err = oerr
	}
	if err != nil {
		fmt.Fprintf(stderr, "soc2-verify: %v\nrun soc2-verify --help for the usage\n", err)
		return verify.ExitUsage
	}
	if one {
		return verify.ProofCommand{Proof: *proof, Record: *record, Keys: verifiers, JSON: *asJSON, Stdout: stdout, Stderr: stderr}.Run()
	}
	if isFile(dirs[0]) {
		return pack.Command{File: dirs[0], Keys: verifiers, JSON: *asJSON, Stdout: stdout, Stderr: stderr}.Run()
	}
	return verify.Command{
		Dir: dirs[0], Keys: verifiers, JSON: *asJSON, Checkpoints: checkpoints, State: *state, Full: *full,
		Outsiders: outsiders, Stdout: stdout, Stderr: stderr,
	}.Run()
}

// isFile reports whether a name is that of something that is no directory.
func isFile(name string) bool {
	info, err := os.Stat(name) //nolint:gosec // what the auditor names
	return err == nil && !info.IsDir()
}

// parse lets flags come before and after the directory.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if args = flags.Args(); len(args) == 0 {
			return rest, nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}
