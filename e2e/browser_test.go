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

// browsed is what the browser says of a page.
type browsed struct {
	URL      string
	Rendered bool
	Errors   []string
	Protocol string
}

// visit is a page, with what is true in it once it works.
type visit struct {
	URL   string `json:"url"`
	Ready string `json:"ready"`
}

// browse opens pages in headless Chromium.
func browse(t *testing.T, dir string, visits []visit) []browsed {
	t.Helper()
	return inBrowser[browsed](t, dir, "browse.mjs", visits)
}

// inBrowser runs a script of the graders, which visits pages in headless Chromium
// and says one thing R of each.
func inBrowser[R, V any](t *testing.T, dir, script string, visits []V) []R {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		needs(t, "chromium")
	}
	in, err := json.Marshal(visits)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, chromium)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(in)
	home, err := os.MkdirTemp("", "soc2-") // of the browser's profile; the path of a socket in it has to be short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "TMPDIR="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the browser: %v\n%s%s", err, out, &stderr)
	}
	var results []R
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(visits) {
		t.Fatalf("the browser says %s (%v)", out, err)
	}
	return results
}

const (
	browserConfig = `{
	admin off
	skip_install_trust
	default_bind 127.0.0.1
	http_port %d
	soc2
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
}
`
	browserSite = `https://localhost:%d {
	tls internal
	encode gzip
	soc2_headers %s
	%s
	reverse_proxy %s
}
`
)

// behind starts a proxy with a site for each of the upstreams and returns their
// addresses.
func behind(t *testing.T, profile, lines string, upstreams ...string) []string {
	t.Helper()
	h := newHome(t)
	var config strings.Builder
	fmt.Fprintf(&config, browserConfig, freePort(t))
	var addresses []string
	for _, upstream := range upstreams {
		port := freePort(t)
		fmt.Fprintf(&config, browserSite, port, profile, lines, upstream)
		addresses = append(addresses, fmt.Sprintf("localhost:%d", port))
	}
	name := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(name, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	for _, addr := range addresses {
		tlsReady(t, addr)
	}
	return addresses
}

// steps is the expression that a page has done what it is for.
func steps(names ...string) string {
	list, _ := json.Marshal(names) //nolint:errchkjson // strings
	return string(list) + ".every((step) => window.steps?.includes(step))"
}

// site are the pages of the applications at two addresses.
func site(app, pages string) map[string]visit {
	return map[string]visit{
		"Node.js example": {"https://" + app + "/", `document.querySelector("#add button")?.textContent === "Add" && getComputedStyle(document.querySelector("main")).maxWidth !== "none"`},
		"inline handlers": {"https://" + pages + "/inline.html", steps("style", "eval", "timeout", "onclick", "onload", "link", "created", "frame", "wasm")},
		"inline scripts":  {"https://" + pages + "/scripts.html", steps("style", "data", "click", "timeout", "load", "frame", "more", "module", "lazy")},
		"WordPress":       {"https://" + pages + "/wordpress/", steps("emoji", "skip-link", "style", "images", "ajax", "navigation", "analytics", "embed", "comment")},
		"Swagger UI":      {"https://" + pages + "/swagger/", `document.querySelector("#operations-default-listOrders .opblock-summary-path")?.textContent.includes("/orders") && document.querySelector(".swagger-ui .title")?.textContent.includes("Orders")`},
		"one page":        {"https://" + pages + "/spa/", steps("route", "lazy", "worker", "made worker", "event", "socket", "orders", "style", "service worker")},
	}
}

// TestApplicationsRenderInABrowser opens applications that know nothing of the
// proxy through the profile baseline, as it comes and with nonces. They do all
// that they are for, and the console has no error.
func TestApplicationsRenderInABrowser(t *testing.T) {
	dir := graders(t)
	app, pages := startApp(t), applications(t, filepath.Join(dir, "node_modules", "swagger-ui-dist"))
	tests := []struct {
		name, lines string
		without     string // no nonce helps a script in an attribute
	}{
		{"baseline", "", ""},
		{"baseline with nonces", "soc2_nonces", "inline handlers"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addresses := behind(t, "baseline", test.lines, app, pages)
			var names []string
			var visits []visit
			for name, v := range site(addresses[0], addresses[1]) {
				if name != test.without {
					names, visits = append(names, name), append(visits, v)
				}
			}
			for i, result := range browse(t, dir, visits) {
				if !result.Rendered || len(result.Errors) > 0 {
					t.Errorf("%s: rendered %t over %s:\n%s", names[i], result.Rendered, result.Protocol, strings.Join(result.Errors, "\n"))
				}
			}
		})
	}
}

// TestBrowserSeesWhatAPolicyBreaks shows that the test above would notice: the
// profile strict stops inline scripts, and leaves the example alone, which has
// none.
func TestBrowserSeesWhatAPolicyBreaks(t *testing.T) {
	dir := graders(t)
	app, pages := startApp(t), applications(t, filepath.Join(dir, "node_modules", "swagger-ui-dist"))
	addresses := behind(t, "strict", "", app, pages)
	all := site(addresses[0], addresses[1])
	broken := all["inline scripts"]
	broken.Ready = "document.readyState === 'complete'"
	results := browse(t, dir, []visit{all["Node.js example"], broken})
	if !results[0].Rendered || len(results[0].Errors) > 0 {
		t.Errorf("the example: %t, %q", results[0].Rendered, results[0].Errors)
	}
	if !strings.Contains(strings.Join(results[1].Errors, "\n"), "Content Security Policy") {
		t.Errorf("inline scripts: errors %q", results[1].Errors)
	}
}
