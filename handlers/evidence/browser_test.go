package evidence

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// opened is what Chromium makes of a page: its document when all has run, and what
// it says of it.
func opened(t *testing.T, url string) (document, said string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatal("chromium is needed, and not installed")
		}
		t.Skip("chromium is not installed")
	}
	home := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
		"--user-data-dir="+home, "--virtual-time-budget=5000", "--dump-dom", url)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("the browser: %v\n%s", err, &stderr)
	}
	return out.String(), stderr.String()
}

// TestPagesAreInertInABrowser opens the status page and the report of a log whose
// records are full of payloads. What would act in them is text, the style sheets
// are applied, and the policies refuse nothing, as there is nothing to refuse.
func TestPagesAreInertInABrowser(t *testing.T) {
	b := newBench(t)
	b.busy()
	h := b.handler(Handler{AllowUnauthenticated: true})
	control := `<!DOCTYPE html><title>x</title><style>body{color:red}</style><script>document.title="acts"</script><p>control`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/control" { // a page under the same policy that is not inert
			w.Header().Set("Content-Type", typeHTML)
			w.Header().Set("Content-Security-Policy", reportSecurity)
			_, _ = w.Write([]byte(control))
			return
		}
		_ = h.ServeHTTP(w, r, nil)
	}))
	defer srv.Close()
	document, said := opened(t, srv.URL+"/control")
	if !strings.Contains(document, "control") || strings.Contains(document, "acts</title>") || !strings.Contains(said, "Content Security Policy") {
		t.Fatalf("the browser does not tell what a policy refuses: %s\n%s", document, said)
	}
	for path, shown := range map[string]string{"/.soc2/": "&lt;svg/onload=1", "/.soc2/v1/report": "&lt;script&gt;"} {
		document, said := opened(t, srv.URL+path)
		if !strings.Contains(document, shown) {
			t.Errorf("%s does not show the payloads: %.2000s", path, document)
		}
		for _, never := range []string{"<script", "<img", "<svg", "onerror=\"", "onload=\""} {
			if strings.Contains(document, never) {
				t.Errorf("%s has %s in its document", path, never)
			}
		}
		if strings.Contains(said, "Content Security Policy") || strings.Contains(said, "CONSOLE") {
			t.Errorf("%s: %s", path, said)
		}
	}
}
