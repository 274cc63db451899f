package soc2

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// readConfig reads a configuration as JSON, from a file or, if that is "-", from
// stdin. The format is known by the name of the file, as Caddy does it, unless
// an adapter is named.
func readConfig(stdin io.Reader, file, adapter string) ([]byte, error) {
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(stdin)
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	if name := strings.ToLower(filepath.Base(file)); adapter == "" && !strings.HasSuffix(name, ".json") &&
		(strings.HasPrefix(name, "caddyfile") || strings.HasSuffix(name, ".caddyfile")) {
		adapter = "caddyfile"
	}
	if adapter == "" || adapter == "json" {
		return b, nil
	}
	a := caddyconfig.GetAdapter(adapter)
	if a == nil {
		return nil, fmt.Errorf("--adapter %q: there is none of this name in this build", adapter)
	}
	if b, _, err = a.Adapt(b, map[string]any{"filename": file}); err != nil {
		return nil, fmt.Errorf("--config %s: %w", file, err)
	}
	return b, nil
}
