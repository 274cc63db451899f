package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// protocolErrors sums the counts of the log, by layer and reason.
func (h home) protocolErrors() map[string]int64 {
	h.t.Helper()
	got := map[string]int64{}
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		var r struct {
			Kind, Layer, Reason string

			Count int64
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Kind == "protocol.error" {
			got[r.Layer+"/"+r.Reason] += r.Count
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

// TestWhatReachesNoHandlerIsInTheLogAfterTheExit sends refused requests until
// the very exit, and has one connection that the exit itself ends.
func TestWhatReachesNoHandlerIsInTheLogAfterTheExit(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	file := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile("\t\tinstance test", port)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := h.start("serving initial configuration", "caddy", "run", "--config", file)
	dial := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	open := dial()
	_, _ = io.WriteString(open, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := open.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	const times = 50
	for range times {
		conn := dial()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
		if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
			t.Fatalf("answered %q", got)
		}
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit %d:\n%s", code, p.text())
	}
	if got := h.protocolErrors(); got["http1/malformed"] != times || len(got) != 1 {
		t.Errorf("counted %v, want %d of http1/malformed", got, times)
	}
	if requests, _ := h.readLog(); len(requests) != 1 {
		t.Errorf("%d request records, want 1", len(requests))
	}
	h.verify()
}
