package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// graders is the directory of the programs that grade, with the versions that
// its lock file pins.
func graders(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			needs(t, program)
		}
	}
	dir, err := filepath.Abs("graders")
	if err != nil {
		t.Fatal(err)
	}
	install(t, dir)
	// The grader's install script loads the list of sites whose HSTS browsers
	// know from the network. The site under test is in none.
	preloaded := filepath.Join(dir, "node_modules", "@mdn", "mdn-http-observatory", "conf", "hsts-preload.json")
	if _, err := os.Stat(preloaded); err == nil {
		return dir
	}
	if err := os.WriteFile(preloaded, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// install installs the packages of the graders, unless they are there.
func install(t *testing.T, dir string) {
	t.Helper()
	missing := false
	for _, name := range []string{"@mdn/mdn-http-observatory", "playwright-core", "swagger-ui-dist"} {
		_, err := os.Stat(filepath.Join(dir, "node_modules", filepath.FromSlash(name)))
		missing = missing || err != nil
	}
	if !missing {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("npm ci: %v\n%s", err, out)
		needs(t, "the packages of e2e/graders")
	}
}

// gradedConfig is a site, and gradedPage one with a page, scripts in it or not.
const (
	gradedConfig = `{
	admin off
	local_certs
	skip_install_trust
	default_bind 127.0.0.1
	http_port %d
	https_port %d
	soc2 {
		profile %s
	}
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
}
shop.example.test {
	%s
}
`

	gradedPage = "header Content-Type \"%s\"\n\trespond / `%s`\n\trespond 404"
)

const (
	quietPage = `<!doctype html><html lang=en><title>page</title><link rel=stylesheet href=/a.css><p>A page.`
	busyPage  = `<!doctype html><html lang=en><title>page</title><style>p{color:red}</style><p onclick="0">A page.<script>document.title="run"</script>`
)

// TestObservatoryGradesTheProfiles has MDN HTTP Observatory grade a site with
// each profile.
func TestObservatoryGradesTheProfiles(t *testing.T) {
	dir := graders(t)
	page := func(text string) string { return fmt.Sprintf(gradedPage, "text/html; charset=utf-8", text) }
	// Those that TestApplicationsRenderInABrowser shows to work.
	apps := applications(t, filepath.Join(dir, "node_modules", "swagger-ui-dist"))
	app := func(path string) string { return "rewrite / " + path + "\n\treverse_proxy " + apps }
	tests := []struct {
		name, profile, lines string
		least                int
	}{
		{"strict", "strict", page(quietPage), 130},
		{"strict, the Node.js example", "strict", "reverse_proxy " + startApp(t), 130},
		{"api", "api", fmt.Sprintf(gradedPage, "application/json", `{"ok":true}`), 130},
		{"baseline", "baseline", page(busyPage), 80},
		{"baseline, Swagger UI", "baseline", app("/swagger/"), 80},
		{"baseline with nonces", "baseline", "soc2_nonces\n\t" + page(busyPage), 100},
		{"baseline with nonces, WordPress", "baseline", "soc2_nonces\n\t" + app("/wordpress/"), 100},
		{"baseline with nonces, Swagger UI", "baseline", "soc2_nonces\n\t" + app("/swagger/"), 100},
		{"baseline with nonces, inline scripts", "baseline", "soc2_nonces\n\t" + app("/scripts.html"), 100},
		{"baseline with nonces, one page", "baseline", "soc2_nonces\n\t" + app("/spa/"), 100},
		{"strict with nonces", "strict", "soc2_nonces\n\t" + page(busyPage), 130},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHome(t)
			plain, secure := freePort(t), freePort(t)
			config := fmt.Sprintf(gradedConfig, plain, secure, test.profile, test.lines)
			name := filepath.Join(h.dir, "Caddyfile")
			if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			p := h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
			atLeast(t, "certificates", 1, func() int { return strings.Count(p.text(), "certificate obtained successfully") })
			score, findings := observe(t, dir, filepath.Join(h.dir, "caddy", "pki", "authorities", "local", "root.crt"), plain, secure)
			t.Logf("score %d", score)
			if score < test.least {
				t.Errorf("score %d, want at least %d:\n%s", score, test.least, findings)
			}
		})
	}
}

// observe runs the grader and returns the score and the tests that cost points.
func observe(t *testing.T, dir, root string, plain, secure int) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--import", "./loopback.mjs", "node_modules/@mdn/mdn-http-observatory/src/scan.js", "shop.example.test")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("PORTS=80=%d 443=%d", plain, secure), "NODE_EXTRA_CA_CERTS="+root)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the grader: %v\n%s%s", err, out, &stderr)
	}
	var result struct {
		Scan  struct{ Score int }
		Tests map[string]struct {
			Pass          bool
			Result        string
			ScoreModifier int
		}
	}
	if err := json.Unmarshal(out, &result); err != nil || len(result.Tests) == 0 {
		t.Fatalf("the grader says %s (%v)", out, err)
	}
	var findings strings.Builder
	for name, test := range result.Tests {
		fmt.Fprintf(&findings, "%s: %s, %d points, passed %t\n", name, test.Result, test.ScoreModifier, test.Pass)
	}
	return result.Scan.Score, findings.String()
}
