package soc2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/handlers/ratelimit"
)

// recordedLog makes a log of 40 requests of two clients, one a second.
func recordedLog(t *testing.T, from time.Time) (dir string) {
	t.Helper()
	key, err := audit.NewKey("test/soc2")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "log")
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		ev := audit.Event{
			Start: from.Add(time.Duration(i) * time.Second), Method: "GET", Host: "example.com", Path: "/a", Proto: "HTTP/2.0",
			ClientIP: fmt.Sprintf("192.0.2.%d", 1+min(1, i%4)), Status: 200, End: audit.EndComplete,
		}
		ev.ID = audit.NewID(ev.Start)
		if _, err := log.Append(t.Context(), ev.AppendBody(nil, "test")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func simulate(t *testing.T, flags map[string]string) (code int, out string, err error) {
	t.Helper()
	cmd := simulateCommand()
	var b bytes.Buffer
	cmd.SetOut(&b)
	cmd.SetContext(t.Context())
	for name, value := range flags {
		if err := cmd.Flags().Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	code, err = runSimulate(cmd, nil)
	return code, b.String(), err
}

func TestSimulateShowsWhoWouldHaveBeenLimited(t *testing.T) {
	from := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte("example.com {\n\tsoc2_rate_limit {\n\t\tzone tried {\n\t\t\tlimit 15/1h\n\t\t}\n\t}\n\trespond ok\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{"config": config, "log": recordedLog(t, from)}
	code, text, err := simulate(t, flags)
	if err != nil || code != 0 {
		t.Fatal(code, err)
	}
	for _, want := range []string{"40 recorded requests", "zone tried: 15/1h, gcra", "15 (37.50 %) of 1 keys", `"192.0.2.2"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	flags["json"], flags["from"], flags["to"] = "true", from.Add(20*time.Second).Format(time.RFC3339), from.Add(40*time.Second).Format(time.RFC3339)
	code, text, err = simulate(t, flags)
	var got struct {
		Requests int
		Zones    []ratelimit.ReplayedZone
	}
	if jerr := json.Unmarshal([]byte(text), &got); err != nil || code != 0 || jerr != nil {
		t.Fatal(code, err, jerr)
	}
	if got.Requests != 20 || len(got.Zones) != 1 || got.Zones[0].Asked != 20 || got.Zones[0].Refused != 0 {
		t.Errorf("%+v", got)
	}
}

func TestSimulateSaysWhatIsWrong(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.json")
	if err := os.WriteFile(none, []byte(`{"apps":{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"static_response"}]}]}}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string]map[string]string{
		"no configuration": {},
		"no limiter":       {"config": none},
		"missing":          {"config": none + "x"},
		"time":             {"config": none, "from": "yesterday"},
		"negative":         {"config": none, "top": "-1"},
	} {
		if code, out, err := simulate(t, flags); err == nil || code != 2 {
			t.Errorf("%s: %d, %v, %s", name, code, err, out)
		}
	}
}
