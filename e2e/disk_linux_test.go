package e2e_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// limitFiles makes all writes of a running program beyond the first byte of a
// file fail, as a full disk does, or lifts that limit.
func limitFiles(t *testing.T, p *process, size uint64) {
	t.Helper()
	limit := unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
}

// TestNoServiceWithoutTheDisk makes the disk fail under load. Whatever a client
// got whole is then recorded or a refusal, and a restart brings the service
// back with all of the records.
func TestNoServiceWithoutTheDisk(t *testing.T) {
	upstream := startUpstream(t)
	h := newHome(t)
	p, addr := h.startProxy("--to", upstream)
	acked := map[string]seen{}
	l := startLoad(t, "https://"+addr, acked)
	atLeast(t, "answers", 300, l.count)
	limitFiles(t, p, 1)
	refused := func() (n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.refused
	}
	atLeast(t, "refusals", 100, refused)
	l.stop()
	checkRefusal(t, addr)
	limitFiles(t, p, unix.RLIM_INFINITY)
	_ = p.stop(syscall.SIGTERM)
	h.verify()

	p, _ = h.startProxy("--to", upstream)
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	h.verify()
	requests, kinds := h.readLog()
	for id, s := range acked {
		if _, ok := requests[id]; !ok {
			t.Errorf("%+v was acknowledged and is not recorded", s)
		}
	}
	t.Logf("%d requests acknowledged, %d refused, %d broken off; %d records", len(acked), l.refused, l.failures(), kinds["request"])
}

// checkRefusal looks at the answer of a server whose log failed.
func checkRefusal(t *testing.T, addr string) {
	t.Helper()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
		for _, path := range []string{"/small", "/.soc2/", "/missing"} {
			s, header, err := call{method: "GET", path: path}.do(t.Context(), newClient(t, proto), "https://"+addr)
			if err != nil {
				t.Errorf("%s %s: %v", proto, path, err)
				continue
			}
			if s.status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" ||
				header.Get("Content-Type") != "application/problem+json" || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %s: %d %v", proto, path, s.status, header)
			}
		}
	}
}

// startTrailers serves responses with trailers over HTTP/2. For those Caddy
// flushes the header, even of a response without a body.
func startTrailers(t *testing.T) (url string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Checksum")
		_, _ = io.WriteString(w, "x")
		w.Header().Set("Checksum", "0")
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	name := filepath.Join(t.TempDir(), "upstream.pem")
	pem := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(name, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", name) // the proxy's, which trusts the system's authorities
	return srv.URL
}

// TestFlushDoesNotAcknowledge flushes headers of responses without a body. If
// the header left, the response would be whole for the client before its record
// is kept; here, where the disk fails, without one.
func TestFlushDoesNotAcknowledge(t *testing.T) {
	upstream := startTrailers(t)
	for _, proto := range protocols {
		h := newHome(t)
		p, addr := h.startProxy("--to", upstream)
		client := newClient(t, proto)
		c := call{method: "HEAD", path: "/"}
		if s, _, err := c.do(t.Context(), client, "https://"+addr); err != nil || s.status != http.StatusOK {
			t.Fatalf("%+v, %v", s, err)
		}
		limitFiles(t, p, 1)
		if s, _, err := c.do(t.Context(), client, "https://"+addr); err == nil && s.status != http.StatusServiceUnavailable {
			t.Errorf("%+v was acknowledged without a record", s)
		}
	}
}
