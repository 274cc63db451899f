package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system with the given options at a directory. Where the kernel does not
// let this process mount, whatever is installed, the test is skipped: the seam
// of audit's fault matrix covers the same there.
func smallDisk(t *testing.T, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, options)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("this process may not mount a file system")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func remount(t *testing.T, dir, options string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, options); err != nil {
		t.Fatal(err)
	}
}

// TestSmallDisk fills a real file system under a running server, makes room,
// and then has nothing be written for a while. No restart is needed, nothing that
// was acknowledged is lost, and the gaps are counted.
func TestSmallDisk(t *testing.T) {
	h := newHome(t)
	disk := filepath.Dir(h.logDir())
	smallDisk(t, disk, "size=7m")
	a := h.startAdmin(startUpstream(t))
	tlsReady(t, fmt.Sprintf("127.0.0.1:%d", a.https))
	client := newClient(t, "HTTP/1.1")
	acked := map[string]bool{}
	request := func() (status int) {
		s, header, err := call{method: "GET", path: "/small"}.do(t.Context(), client, fmt.Sprintf("https://localhost:%d", a.https))
		switch {
		case err != nil:
			return 0 // broken off
		case s.status == http.StatusOK:
			acked[s.id] = true
		case s.status == http.StatusServiceUnavailable && (header.Get("Retry-After") == "" || header.Get("Content-Type") != "application/problem+json"):
			t.Errorf("a refusal without Retry-After: %v", header)
		}
		return s.status
	}
	until := func(what string, want int) (others int) {
		t.Helper()
		for range 60_000 {
			if request() == want {
				return others
			}
			others++
		}
		t.Fatalf("no %d: %s:\n%s", want, what, a.p.text())
		return others
	}
	filler := filepath.Join(disk, "filler") // so that the last bytes go to the log
	if err := os.WriteFile(filler, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	until("the disk is full", http.StatusServiceUnavailable)
	full := len(acked)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	remount(t, disk, "size=64m")
	until("there is room again", http.StatusOK)

	// What is open for writing keeps a file system from becoming read-only, so
	// that a disk turns so only by an error. The nearest to it is a limit of
	// nothing.
	limitFiles(t, a.p, 1)
	until("nothing can be written", http.StatusServiceUnavailable)
	limitFiles(t, a.p, unix.RLIM_INFINITY)
	until("it can be written again", http.StatusOK)
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, a.p.text())
	}
	h.verify()
	requests, kinds := h.readLog()
	for id := range acked {
		if _, ok := requests[id]; !ok {
			t.Errorf("%s was acknowledged and is not recorded", id)
		}
	}
	g := h.gaps()
	if kinds["log.gap"] < 2 || g.Lost+g.Refused == 0 {
		t.Errorf("%v, %+v", kinds, g)
	}
	t.Logf("%d acknowledged until the disk was full, %d in all; %d lost, %d refused, %d log.gap records", full, len(acked), g.Lost, g.Refused, kinds["log.gap"])
}
