package soc2

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// keyCommand works with the key of a log, which is kept in a file.
func keyCommand() *cobra.Command {
	commands := []*cobra.Command{
		command("show", "Print the verifier keys, NAME+HASH+KEY",
			"Prints the public half of the log's key, in the form of C2SP signed-note, and of the\nnext one while a rotation is under way. Give it to whoever verifies the log, on a way\nthat does not pass through this host's log.",
			cobra.NoArgs, showKeys),
		command("new ORIGIN", "Make the key of a new log",
			"Makes an Ed25519 key for the log named ORIGIN, for example edge-1.example.com/soc2,\nwrites it to a file that must not exist yet and prints the verifier key. A log makes\nits own key when it has none; this is for keys that are made elsewhere.",
			cobra.ExactArgs(1), newKey),
		command("rotate", "Begin to replace the log's key",
			"Makes the next key beside the log's key and prints its verifier key. From the next\nstart of the server on both sign every checkpoint, so that whoever knows the old key\nlearns of the new one. Then: caddy soc2 key promote.",
			cobra.NoArgs, rotateKey),
		command("promote", "Finish replacing the log's key",
			"Makes the next key the log's key, and puts the old one aside. It refuses until both\nhave signed the newest checkpoint. From the next start of the server on the new key\nsigns alone.",
			cobra.NoArgs, promoteKey),
	}
	parent := &cobra.Command{Use: "key", Short: "Make, show or rotate the key of a log"}
	for _, c := range commands {
		c.Flags().String("file", filepath.Join(defaultDataDir(), filepath.FromSlash(keyFile)), "file of the private key")
		parent.AddCommand(c)
	}
	promote := commands[len(commands)-1]
	promote.Flags().String("dir", logDir(nil), "directory of the log, whose newest checkpoint both keys must have signed")
	return parent
}

func keyFileOf(cmd *cobra.Command) string {
	name, _ := cmd.Flags().GetString("file")
	return name
}

func showKeys(cmd *cobra.Command, _ []string) (int, error) {
	source, err := audit.ParseSource("file:" + keyFileOf(cmd))
	if err != nil {
		return 2, err
	}
	keys, err := source.LoadSet()
	if err != nil {
		return 1, err
	}
	for _, k := range append([]*audit.Key{keys.Key}, keys.Cosigners()...) {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), k.Public()); err != nil {
			return 1, err
		}
	}
	return 0, nil
}

func newKey(cmd *cobra.Command, args []string) (int, error) {
	key, err := audit.NewKey(args[0])
	if err != nil {
		return 2, err
	}
	if err := key.Save(durable.OS{}, keyFileOf(cmd)); err != nil {
		return 1, err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), key.Public())
	return 0, err
}

func rotateKey(cmd *cobra.Command, _ []string) (int, error) {
	next, err := audit.Rotate(durable.OS{}, keyFileOf(cmd))
	if err != nil {
		return 1, err
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), next.Public()); err != nil {
		return 1, err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "Restart the server: both keys then sign. Give this verifier key to those who verify the log, and run \"caddy soc2 key promote\".")
	return 0, nil
}

func promoteKey(cmd *cobra.Command, _ []string) (int, error) {
	newest, err := os.ReadFile(filepath.Join(dirOf(cmd), checkpoint.File))
	if errors.Is(err, fs.ErrNotExist) {
		return 2, fmt.Errorf("%w: name the log's directory with --dir", err)
	}
	if err != nil {
		return 1, err
	}
	retired, err := audit.Promote(durable.OS{}, keyFileOf(cmd), newest)
	if err != nil {
		return 1, err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "The new key is the log's key. The old one is in %s.\nRestart the server: the new key then signs alone.\n", retired)
	return 0, err
}
