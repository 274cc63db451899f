package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func listenAt(t *testing.T, addr string) net.Listener {
	t.Helper()
	a, err := caddy.ParseNetworkAddress(addr)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := a.Listen(t.Context(), 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return ln.(net.Listener) //nolint:forcetypeassert // it is ours
}

// serve answers each request with what From says of its peer.
func serve(t *testing.T, ln net.Listener) {
	t.Helper()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := From(r.Context())
		known, there := Known(r.RemoteAddr)
		fmt.Fprintf(w, "%v %s %v %v", ok, c, known == c, there)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-ended })
}

func get(t *testing.T, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://127.0.0.1/") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPeerIsWhoTheKernelSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	serve(t, listenAt(t, Network+"/"+path))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got := get(t, path)
	for _, want := range []string{"true uid:" + fmt.Sprint(os.Getuid()), fmt.Sprintf("/gid:%d/pid:%d/exe:%s", os.Getgid(), os.Getpid(), exe), " true true"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != defaultMode {
		t.Errorf("mode %v, %v, want %v", info.Mode(), err, defaultMode)
	}
}

func TestBoundNameOfAnOrdinarySocketIsNoPeer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plain.sock")
	ln, err := net.Listen("unix", path) //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln)
	name := "@uid=0 gid=0 pid=1 conn=1"
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.UnixAddr{Name: name, Net: "unix"}}).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://127.0.0.1/") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if !strings.HasPrefix(string(b), "false") || !strings.HasSuffix(string(b), "false") {
		t.Errorf("%s", b)
	}
}

func TestListenersOverlapAndTheLastRemovesTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	first := listenAt(t, Network+"/"+path+"|0660")
	second := listenAt(t, Network+"/"+path+"|0600")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	serve(t, second)
	if got := get(t, path); !strings.HasPrefix(got, "true") {
		t.Error(got)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestSocketOfOthersIsNotTakenAway(t *testing.T) {
	dir := t.TempDir()
	busy := filepath.Join(dir, "busy.sock")
	ln, err := net.Listen("unix", busy) //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{busy, file, busy + "|0400", busy + "|9", ""} {
		a := caddy.NetworkAddress{Network: Network, Host: path}
		if got, err := a.Listen(t.Context(), 0, net.ListenConfig{}); err == nil {
			t.Errorf("%s: listens: %v", path, got)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("%s, %v", b, err)
	}
	stale := filepath.Join(dir, "stale.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	if err := listenAt(t, Network+"/"+stale).Close(); err != nil {
		t.Errorf("a socket that was left behind: %v", err)
	}
}
