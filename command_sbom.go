package soc2

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/sbom"
)

// sbomCommand says what this or another Go program is made of.
func sbomCommand() *cobra.Command {
	return command("sbom [BINARY]", "Print the software bill of materials of this or another Go program",
		`Prints a CycloneDX `+sbom.SpecVersion+` bill of materials in JSON: the Go modules that are in BINARY, by
default this program, with their versions and checksums, the Go version and the
settings of the build. It reads them from the binary itself. The same binary gives the
same bytes; SOURCE_DATE_EPOCH adds a time.`,
		cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) (int, error) {
			name, err := os.Executable()
			if len(args) > 0 {
				name, err = args[0], nil
			}
			if err != nil {
				return 1, err
			}
			o := sbom.Options{Tool: "caddy-soc2", ToolVersion: programVersion()}
			if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
				seconds, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return 2, fmt.Errorf("SOURCE_DATE_EPOCH %q is no number of seconds", text)
				}
				o.Time = time.Unix(seconds, 0)
			}
			b, err := sbom.OfFile(name, o)
			if err != nil {
				return 1, err
			}
			return 0, b.Write(cmd.OutOrStdout())
		})
}
