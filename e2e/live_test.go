package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// TestReadingALogThatGrows runs the commands that read a log while records are
// appended and segments are sealed under them. None may take that for damage.
func TestReadingALogThatGrows(t *testing.T) {
	h := newHome(t)
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Save(durable.OS{}, filepath.Join(h.dir, "log.key")); err != nil {
		t.Fatal(err)
	}
	log, err := openSmall(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int)
	go func() { written <- writeUntil(ctx, log) }()
	dir := filepath.Join(h.dir, "log")
	failures := map[string]int{}
	for i := range 20 {
		for _, args := range [][]string{
			{"soc2-verify", dir, "--key", key.Public()},
			{"caddy", "soc2", "tail", "--dir", dir},
			{"caddy", "soc2", "export", dir, "--tiles", filepath.Join(h.dir, fmt.Sprint("export-", i))},
		} {
			if code, out := h.run(args[0], args[1:]...); code != 0 {
				lines := strings.Split(strings.TrimSpace(out), "\n") // the error is the last
				failures[fmt.Sprintf("%s: exit %d: %s", strings.Join(args[:min(3, len(args))], " "), code, lines[len(lines)-1])]++
			}
		}
	}
	cancel()
	n := <-written
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	for failure, times := range failures {
		t.Errorf("%d times %s", times, failure)
	}
	if code, out := h.run("soc2-verify", dir, "--key", key.Public()); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	t.Logf("20 times each while %d records were written", n)
}

// writeUntil appends one record after the other until ctx ends, a batch every
// few milliseconds: as fast as it can the log would outgrow its readers.
func writeUntil(ctx context.Context, log *audit.Log) (n int) {
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	ev := audit.Event{Start: time.Now(), Method: "GET", Path: "/some/path", Status: 200, End: audit.EndComplete}
	for ctx.Err() == nil {
		for range 20 {
			ev.ID = audit.NewID(time.Now())
			if _, err := log.Enqueue(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
				return n
			}
			n++
		}
		<-tick.C
	}
	return n
}
