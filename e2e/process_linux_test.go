package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// processes returns the records of a kind about the process.
func (h home) processes(kind audit.Kind) (list []*audit.Process) {
	for _, r := range h.family("process.") {
		if p, ok := r.Body.(*audit.Process); ok && r.Kind == kind {
			p.Time = r.Time
			list = append(list, p)
		}
	}
	return list
}

// TestLifeOfTheProcessIsRecorded starts a server, signals it, kills it, starts
// it again and stops it by a signal and by the admin API.
func TestLifeOfTheProcessIsRecorded(t *testing.T) {
	h := newHome(t)
	a := h.startAdmin("127.0.0.1:1")
	wait := func(kind audit.Kind, n int) *audit.Process {
		t.Helper()
		atLeast(t, string(kind), n, func() int { return len(h.processes(kind)) })
		return h.processes(kind)[n-1]
	}
	first := wait(audit.KindProcessStart, 1)
	program, err := os.ReadFile(filepath.Join(bin, "caddy"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	if first.Program.SHA256 != hex.EncodeToString(sum[:]) || first.PID != a.p.cmd.Process.Pid || first.Boot == "" {
		t.Errorf("start: %+v", first)
	}
	if !slices.ContainsFunc(first.Program.Modules, func(s string) bool {
		return strings.HasPrefix(s, "github.com/caddyserver/caddy/v2@v2.") && strings.Contains(s, " h1:")
	}) || !slices.ContainsFunc(first.Limits, func(s string) bool { return strings.HasPrefix(s, "rlimit_nofile=") }) || first.Host.UID != fmt.Sprint(os.Getuid()) {
		t.Errorf("start: modules %q, limits %q, host %+v", first.Program.Modules, first.Limits, first.Host)
	}
	for i, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2} {
		if err := a.p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if got := wait(audit.KindProcessSignal, i+1); got.Signal != []string{"SIGHUP", "SIGUSR2"}[i] || got.Boot != first.Boot {
			t.Errorf("signal: %+v", got)
		}
	}
	for range 3 { // a reload is no end
		if got := a.load(t, a.config("", "again")); got != http.StatusOK {
			t.Fatalf("reload: status %d", got)
		}
	}
	alive := time.Now()
	a.p.stop(syscall.SIGKILL)
	if n := len(h.processes(audit.KindProcessStop)) + len(h.processes(audit.KindProcessStart)); n != 1 {
		t.Errorf("%d starts and stops before the process was killed", n)
	}

	b := h.startAdmin("127.0.0.1:1")
	crash := wait(audit.KindProcessCrash, 1)
	if crash.PID != first.PID || crash.Boot != first.Boot || crash.Last.After(alive) || crash.Last.Before(first.Time) || crash.Uptime <= 0 {
		t.Errorf("crash: %+v, of %+v", crash, first)
	}
	second := wait(audit.KindProcessStart, 2)
	if second.Boot == first.Boot || second.PID == first.PID {
		t.Errorf("second start: %+v", second)
	}
	if code := b.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	if stop := wait(audit.KindProcessStop, 1); stop.Signal != "SIGTERM" || stop.Reason != "signal" || stop.Boot != second.Boot {
		t.Errorf("stop: %+v", stop)
	}
	if n := len(h.processes(audit.KindProcessSignal)); n != 3 {
		t.Errorf("%d signals are recorded, of 3", n)
	}

	c := h.startAdmin("127.0.0.1:1")
	wait(audit.KindProcessStart, 3)
	resp, err := adminClient.Post("http://"+c.api+"/stop", "", nil) //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	<-c.p.ended
	if stop := wait(audit.KindProcessStop, 2); stop.Signal != "" || !strings.Contains(stop.Reason, "admin") {
		t.Errorf("stop: %+v", stop)
	}
	if n := len(h.processes(audit.KindProcessCrash)); n != 1 {
		t.Errorf("%d crashes, of 1", n)
	}
	h.verify()
}

// TestFileDescriptorsNearTheirLimitAreRecorded gives the server few file
// descriptors and takes them with connections.
func TestFileDescriptorsNearTheirLimitAreRecorded(t *testing.T) {
	h := newHome(t)
	a := h.startAdmin("127.0.0.1:1")
	atLeast(t, "process.start", 1, func() int { return len(h.processes(audit.KindProcessStart)) })
	limit := &limits{Cur: uint64(openFiles(t, a.p)) + 20, Max: 4096}
	if err := limit.set(a.p.cmd.Process.Pid); err != nil {
		needs(t, "the right to set limits of another process: "+err.Error())
	}
	conns := holdOpen(t, fmt.Sprintf("127.0.0.1:%d", a.https), 19)
	atLeast(t, "process.limit", 1, func() int { return len(h.processes(audit.KindProcessLimit)) })
	for _, c := range conns {
		_ = c.Close()
	}
	atLeast(t, "process.limit", 2, func() int { return len(h.processes(audit.KindProcessLimit)) })
	list := h.processes(audit.KindProcessLimit)
	for i, state := range []string{"reached", "over"} {
		if p := list[i]; p.Limit != "files" || p.State != state || p.Bound != int64(limit.Cur) || p.Value <= 0 {
			t.Errorf("%+v", p)
		}
	}
	if code := a.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d", code)
	}
	h.verify()
}
