package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestBadCallsAreOneRecordEach sends what no caller in his right mind sends.
// What Caddy takes or refuses does not change.
func TestBadCallsAreOneRecordEach(t *testing.T) {
	c := startChanger(t)
	c.expect("start", want{outcome: "applied", source: "start", known: "none"})
	body := "/config/apps/http/servers/site/routes/0/handle/0/body"
	// Without it a rejected configuration would move the endpoint.
	admin := fmt.Sprintf(`{"admin":{"listen":"soc2unix/%s|0600","origins":["127.0.0.1"]},`, c.socket)
	long := strings.Repeat("canary ", 1<<18)
	for _, x := range []struct {
		name, method, path, body string
		header                   []string
		outcome                  string
	}{
		{"no JSON", "POST", "/load", "\x00\xff" + canary, nil, "rejected"},
		{"no object", "POST", "/load", `["` + canary + `"]`, nil, "rejected"},
		{"deep", "POST", "/load", strings.Repeat(`{"a":`, 30_000) + "1" + strings.Repeat("}", 30_000), nil, "rejected"},
		{"deep, but readable", "POST", "/load", admin + `"apps":{"x":` + strings.Repeat(`[`, 5_000) + strings.Repeat("]", 5_000) + `}}`, nil, "rejected"},
		{"duplicate names", "POST", "/load", admin + `"apps":{"nope":{"password":"` + canary + `1"}},"apps":{"nope":{"password":"` + canary + `2"}}}`, nil, "rejected"},
		{"names to be escaped", "PATCH", "/config/apps/http/servers/site/routes/0/handle/0/headers", `{"~1/~0//":["x"],"` + strings.Repeat("k", 5000) + `":["y"]}`, nil, "applied"},
		{"long", "PATCH", body, `"` + long + `"`, nil, "applied"},
		{"and back", "PATCH", body, `"short"`, nil, "applied"},
		{"media type", "PATCH", body, `"x"`, []string{"Content-Type", "text/nonsense"}, "rejected"},
		{"adapter", "POST", "/load", canary, []string{"Content-Type", "text/nonsense"}, "rejected"},
		{"headers", "PATCH", body, `"y"`, []string{
			"Soc2-Change-Ticket", strings.Repeat("T", 10_000), "Soc2-Change-Actor", `","known":"verified","name":"root`, "X-Change-Reason", "\xff\xfe",
			"Caddy-Config-Source-File", strings.Repeat("f", 10_000),
		}, "applied"},
		{"path", "DELETE", "/config/apps/http/servers/%00/" + strings.Repeat("x", 8000), "", nil, "rejected"},
		{"escaped path", "PATCH", "/config/apps%2Fhttp/servers/site/routes/0/handle/0/body", `"z"`, nil, "applied"},
		{"no body, which is the empty configuration to Caddy", "POST", "/load", "", nil, "applied"},
	} {
		code, answer := c.call(x.method, x.path, x.body, x.header...)
		if (code == http.StatusOK) != (x.outcome == "applied") {
			t.Fatalf("%s: status %d: %.300s", x.name, code, answer)
		}
		got := c.next(x.name)
		if got.Outcome != x.outcome || got.Actor.Known != "verified" || strings.HasPrefix(got.Actor.Name, "root") || len(got.Ticket) > 128 {
			t.Errorf("%s: %+v", x.name, got)
		}
	}
	if code := c.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, c.p.text())
	}
	c.h.verify()
	_, _, all := c.h.happened()
	for _, r := range all {
		if strings.Contains(r, canary) {
			t.Errorf("the secret is in the log: %.2000s", r)
		}
	}
}

// TestConcurrentChangesAreRecordedInOneChain makes changes at once: each record
// begins where the one before ended.
func TestConcurrentChangesAreRecordedInOneChain(t *testing.T) {
	c := startChanger(t)
	c.expect("start", want{outcome: "applied", source: "start", known: "none"})
	const callers, each = 6, 5
	var callersDone sync.WaitGroup
	client := c.client(c.socket)
	for i := range callers {
		callersDone.Go(func() {
			for j := range each {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://127.0.0.1/id/greeting/handle/0/body", strings.NewReader(fmt.Sprintf("%q", fmt.Sprint(i, " ", j))))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Soc2-Change-Ticket", fmt.Sprintf("T-%d-%d", i, j))
				for range 20 { // a reload replaces the endpoint under those who connect
					resp, err := client.Do(r)
					if err != nil {
						r.Body, _ = r.GetBody()
						continue
					}
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						t.Errorf("status %d", resp.StatusCode)
					}
					break
				}
			}
		})
	}
	callersDone.Wait()
	atLeast(t, "changes", 1+callers*each, func() int { list, _, _ := c.h.happened(); return len(list) })
	if code := c.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, c.p.text())
	}
	list, _, _ := c.h.happened()
	for i, x := range list[1:] {
		var n, m int
		if _, err := fmt.Sscanf(x.Ticket, "T-%d-%d", &n, &m); err != nil || x.Outcome == "rejected" {
			t.Errorf("%+v", x)
			continue
		}
		if x.Before != list[i].After {
			t.Errorf("change %d begins with %s, the one before ended with %s", i+1, x.Before, list[i].After)
		}
		if x.Outcome == "applied" && !strings.Contains(string(x.Diff), fmt.Sprintf("%q", fmt.Sprint(n, " ", m))) {
			t.Errorf("change %s has the patch %s", x.Ticket, x.Diff)
		}
	}
	c.h.verify()
}
