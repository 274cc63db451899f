package soc2

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

// strictAdmin answers as Caddy's admin endpoint with enforce_origin does.
func strictAdmin(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); r.Host != "localhost" && origin != "http://"+r.Host {
		http.Error(w, "required Origin header is missing or invalid", http.StatusForbidden)
		return
	}
	_, _ = w.Write([]byte("{}"))
}

// TestCommandsReachClosedAdminEndpoints asks endpoints that are closed as check
// ADM-001 wants them: with enforce_origin, and a Unix socket.
func TestCommandsReachClosedAdminEndpoints(t *testing.T) {
	tcp := httptest.NewServer(http.HandlerFunc(strictAdmin))
	t.Cleanup(tcp.Close)
	dir, err := os.MkdirTemp("", "soc2") // short: it is the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "a.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	unix := httptest.NewUnstartedServer(http.HandlerFunc(strictAdmin))
	unix.Listener = l
	unix.Start()
	t.Cleanup(unix.Close)

	prepare := func(cmd *cobra.Command, args ...string) *cobra.Command {
		cmd.SetOut(new(bytes.Buffer))
		cmd.SetContext(t.Context())
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	for _, address := range []string{tcp.Listener.Addr().String(), "unix/" + socket, "soc2unix/" + socket + "|0600"} {
		if _, err := ask(prepare(checkCommand(), "--address", address), http.MethodPost, "/checks/run"); err != nil {
			t.Errorf("check at %s: %v", address, err)
		}
		if code, err := call(prepare(ordering(new(cobra.Command)), "--address", address), http.MethodPost, "/x", []byte("{}")); code != 0 || err != nil {
			t.Errorf("order at %s: %d %v", address, code, err)
		}
		if code, err := runHealthcheck(prepare(healthcheckCommand(), "--address", address), nil); code != 0 || err != nil {
			t.Errorf("healthcheck at %s: %d %v", address, code, err)
		}
	}
	if code, err := runHealthcheck(prepare(healthcheckCommand(), "--url", tcp.URL+"/soc2/v1/healthz"), nil); code != 0 || err != nil {
		t.Errorf("healthcheck of a URL: %d %v", code, err)
	}
}
