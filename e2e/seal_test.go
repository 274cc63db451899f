package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// writerDir names, in the environment of this test program started again, the
// directory of the log to write to. Segments of a running proxy take 64 MiB or
// an hour; here they are so small that they are sealed all the time.
const writerDir = "SOC2_E2E_WRITER"

func init() {
	if dir := os.Getenv(writerDir); dir != "" {
		fmt.Println("error:", writeForever(dir))
		os.Exit(1)
	}
}

func openSmall(dir string) (*audit.Log, error) {
	key, err := audit.LoadKey(filepath.Join(dir, "log.key"))
	if err != nil {
		return nil, err
	}
	return audit.Open(audit.Config{
		Dir: filepath.Join(dir, "log"), Key: key, SegmentBytes: 16 << 10, CheckpointEvery: 10 * time.Millisecond,
	})
}

// writeForever appends records and prints the id of each that is durable.
func writeForever(dir string) error {
	log, err := openSmall(dir)
	if err != nil {
		return err
	}
	ids := make(chan audit.ID)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ev := audit.Event{Start: time.Now(), Method: "GET", Path: "/some/path", Status: 200, End: audit.EndComplete}
			for {
				ev.ID = audit.NewID(time.Now())
				if _, err := log.Append(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
					return
				}
				ids <- ev.ID
			}
		})
	}
	go func() { wg.Wait(); close(ids) }()
	for id := range ids {
		fmt.Println(id)
	}
	return log.Err()
}

// writeAndKill runs the writer for a while and returns the whole lines that it
// printed.
func writeAndKill(t *testing.T, dir string, load time.Duration) (ids []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		if strings.HasPrefix(line, "error:") {
			t.Error(line)
		}
		if ids = append(ids, strings.TrimSpace(line)); len(ids) == 1 {
			time.AfterFunc(load, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		}
	}
	_ = cmd.Wait() // it was killed
	return ids
}

// TestKilledWhileSealing kills a writer whose log begins and seals segments all
// the time.
func TestKilledWhileSealing(t *testing.T) {
	dir := t.TempDir()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Save(durable.OS{}, filepath.Join(dir, "log.key")); err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	acked := map[string]bool{}
	check := func() string {
		t.Helper()
		code, out := h.run("soc2-verify", filepath.Join(dir, "log"), "--key", key.Public())
		if code != 0 {
			t.Fatalf("exit %d:\n%s", code, out)
		}
		return out
	}
	for range 20 {
		for _, id := range writeAndKill(t, dir, time.Duration(20+rand.IntN(100))*time.Millisecond) {
			acked[id] = true
		}
		check()
	}
	log, err := openSmall(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	recorded := 0
	_, err = records.Dir{FS: os.DirFS(filepath.Join(dir, "log"))}.Scan(0, func(seq int64, b []byte) error {
		var r record
		if err := json.Unmarshal(b, &r); err != nil || r.Kind != "request" {
			return err
		}
		recorded++
		delete(acked, r.ID)
		return nil
	})
	if err != nil || len(acked) > 0 {
		t.Errorf("%d acknowledged records are lost; %v", len(acked), err)
	}
	t.Logf("20 kills, %d records:\n%s", recorded, check())
}
