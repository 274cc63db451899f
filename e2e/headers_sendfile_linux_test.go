package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// TestLargeFilesAreSentByTheKernel gets a GiB without TLS through the profile
// strict. The server makes far fewer calls than a copy through its memory, of at
// most 32 KiB each, would take, and passes all of it on.
func TestLargeFilesAreSentByTheKernel(t *testing.T) {
	files := t.TempDir()
	bigFile(t, files)
	_, p, _, plain := headersSite(t, files, oddUpstream(t))
	before := reads(t, p)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+plain+"/big.bin", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newClient(t, "HTTP/1.1").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != size || resp.ContentLength != size || resp.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("%d bytes of %d, %v, %v", n, resp.ContentLength, resp.Header, err)
	}
	made := reads(t, p) - before
	t.Logf("%d calls", made)
	if copies := size / (32 << 10); made > copies/2 {
		t.Errorf("%d reads: a copy through memory takes %d", made, copies)
	}
}

// reads is how often a process has read so far.
func reads(t *testing.T, p *process) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "io"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`syscr: (\d+)`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("%s", b)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
