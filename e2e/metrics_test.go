package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// scrape returns what /metrics of the admin endpoint shows.
func (a *admin) scrape(t *testing.T) string {
	t.Helper()
	resp, err := adminClient.Get("http://" + a.api + "/metrics") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return string(text)
}

// bearer sends a bearer token.
func bearer(t *testing.T, client *http.Client, base, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/small", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestScrapeHasEachMetric scrapes a server after a reload: each metric of the
// document is there, and requests from before the reload still count.
func TestScrapeHasEachMetric(t *testing.T) {
	a := startAdmin(t, startUpstream(t))
	client := newClient(t, "HTTP/1.1")
	base := fmt.Sprintf("https://localhost:%d", a.https)
	const requests = 7
	for range requests {
		if _, _, err := (call{method: "GET", path: "/small"}).do(t.Context(), client, base); err != nil {
			t.Fatal(err)
		}
	}
	// From now on there are a limit, an upstream that tells too much, and an issuer
	// that is away.
	config := strings.Replace(a.config("", "second"), `"handle": [`, `"handle": [
		{"handler": "soc2_auth", "optional": true, "jwt": [{"issuer": "https://127.0.0.1:1", "audience": ["e2e"]}]},
		{"handler": "soc2_access", "name": "e2e", "rules": [{"name": "all", "anonymous": true}]},
		{"handler": "soc2_rate_limit", "zones": [{"name": "all", "limit": "1000/1m"}]},
		{"handler": "headers", "response": {"set": {"X-Powered-By": ["e2e"]}}},`, 1)
	if got := a.load(t, config); got != http.StatusOK {
		t.Fatalf("status %d:\n%s", got, a.p.text())
	}
	if _, _, err := (call{method: "GET", path: "/small"}).do(t.Context(), client, base); err != nil {
		t.Fatal(err)
	}
	if status := bearer(t, client, base, "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.e30"); status != http.StatusServiceUnavailable {
		t.Errorf("a token whose issuer is away is answered %d", status)
	}
	doc, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	const late = "caddy_soc2_certificate_not_after_timestamp_seconds{" // when the certificates were looked at
	atLeast(t, "certificate", 1, func() int { return strings.Count(a.scrape(t), late) })
	const made = "caddy_soc2_check_last_run_timestamp_seconds " // when the checks were made
	atLeast(t, "run of the checks", 1, func() int { return strings.Count(a.scrape(t), "\n"+made) })
	text := a.scrape(t)
	names := regexp.MustCompile("(?m)^\\| `(caddy_soc2_[a-z_]+)`").FindAllStringSubmatch(string(doc), -1)
	for _, name := range names {
		if !regexp.MustCompile(`(?m)^` + name[1] + `(_count)?(\{[^}]*\})? `).MatchString(text) {
			t.Errorf("the scrape has no sample of %s", name[1])
		}
	}
	for _, want := range []string{
		fmt.Sprintf(`caddy_soc2_requests_total{decision="served"} %d`, requests+1),
		`caddy_soc2_config_changes_total{actor="none",outcome="applied",source="admin"} 1`,
		"caddy_soc2_log_up 1",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape has no line %q:\n%s", want, text)
		}
	}
	if len(names) == 0 {
		t.Error("the document has no metrics")
	}
}
