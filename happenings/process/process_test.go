package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// book is a log that keeps what it is given.
type book struct {
	mu   sync.Mutex
	log  *audit.Log
	list []audit.Process
}

func (b *book) Hold() bool      { return true }
func (b *book) Release()        {}
func (b *book) Log() *audit.Log { return b.log }

func (b *book) Write(r audit.Body, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := r.(*audit.Process)
	if !ok {
		return errors.New("no process")
	}
	b.list = append(b.list, *p)
	return nil
}

func (b *book) take() (list []audit.Process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list, b.list = b.list, nil
	return list
}

func (b *book) kinds() (kinds []audit.Kind) {
	for _, p := range b.take() {
		kinds = append(kinds, p.Kind)
	}
	return kinds
}

func openLog(t *testing.T, dir string, key *audit.Key) *audit.Log {
	t.Helper()
	log, err := audit.Open(audit.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func newKey(t *testing.T) *audit.Key {
	t.Helper()
	key, err := audit.NewKey("test/log")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRecorder(b *book, limits func() []limit) *Recorder {
	return &Recorder{
		boot: "boot-2", book: func() ledger.Book { return b }, now: time.Now, every: limitsEvery, limits: limits,
		self: func(context.Context) audit.Process { return audit.Process{Program: audit.Program{Path: "caddy"}} },
	}
}

func none() []limit { return nil }

// crashed makes a log that was not closed: the copy of one that is open.
func crashed(t *testing.T, key *audit.Key) string {
	t.Helper()
	dir, torn := t.TempDir(), t.TempDir()
	log := openLog(t, dir, key)
	r := audit.Process{Time: time.Now(), Kind: audit.KindProcessStart}
	if _, err := log.Append(t.Context(), r.AppendBody(nil, "")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(torn, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return torn
}

func TestCrashIsRecordedWithWhatTheMarkKnows(t *testing.T) {
	key := newKey(t)
	dir := crashed(t, key)
	mark := filepath.Join(t.TempDir(), "state", "process")
	before := alive{}
	before.use(mark)
	before.begin("boot-1", time.Now())
	seen := time.Now().Add(-time.Hour).Truncate(time.Second)
	log := openLog(t, dir, key)
	_, _, last, _ := endBefore(log)
	for _, c := range []struct {
		name string
		seen time.Time
		want time.Time
	}{
		{"seen later than the last record", last.Add(time.Millisecond), last.Add(time.Millisecond)},
		{"seen earlier than the last record", seen, last},
	} {
		b := &book{log: log}
		r := newRecorder(b, none)
		// This process is younger than the marks.
		saved := born
		born = time.Now().Add(time.Minute)
		data := `{"boot":"boot-1","pid":4711,"born":"2020-01-01T00:00:00Z"}`
		if err := os.WriteFile(mark, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(mark, c.seen, c.seen); err != nil {
			t.Fatal(err)
		}
		r.alive.use(mark)
		r.crash(b, log)
		born = saved
		list := b.take()
		if len(list) != 1 || list[0].Kind != audit.KindProcessCrash || list[0].PID != 4711 || list[0].Boot != "boot-1" || !list[0].Last.Equal(c.want) {
			t.Errorf("%s: %+v, want last %v", c.name, list, c.want)
		}
	}
}

func TestBadMarksAreIgnored(t *testing.T) {
	key := newKey(t)
	log := openLog(t, crashed(t, key), key)
	for name, data := range map[string]string{
		"empty": "", "text": "no JSON", "of nobody": `{"boot":"b","pid":0,"born":"2020-01-01T00:00:00Z"}`,
		"of the future": `{"boot":"b","pid":1,"born":"2999-01-01T00:00:00Z"}`, "large": string(make([]byte, maxMark+1)),
	} {
		mark := filepath.Join(t.TempDir(), "process")
		if err := os.WriteFile(mark, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		b := &book{log: log}
		r := newRecorder(b, none)
		r.alive.use(mark)
		r.crash(b, log)
		if list := b.take(); len(list) != 1 || list[0].PID != 0 || list[0].Boot != "" || list[0].Last.IsZero() {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

func TestOrderlyEndIsNoCrash(t *testing.T) {
	key, dir := newKey(t), t.TempDir()
	for range 2 {
		log := openLog(t, dir, key)
		b := &book{log: log}
		newRecorder(b, none).crash(b, log)
		if list := b.take(); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartIsRecordedOnceForALog(t *testing.T) {
	key := newKey(t)
	log, other := openLog(t, t.TempDir(), key), openLog(t, t.TempDir(), key)
	b := &book{log: log}
	r := newRecorder(b, none)
	mark := filepath.Join(t.TempDir(), "process")
	r.Enter(mark)
	r.Enter(mark) // a reload
	r.Leave()
	r.Leave()
	r.Enter(mark)
	r.Leave()
	if kinds := b.kinds(); !slices.Equal(kinds, []audit.Kind{audit.KindProcessStart}) {
		t.Error(kinds)
	}
	b.log = other
	r.Enter(mark)
	r.Leave()
	if kinds := b.kinds(); !slices.Equal(kinds, []audit.Kind{audit.KindProcessStart}) {
		t.Error(kinds)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error("no mark is left that the process is alive:", err)
	}
}

func TestSignalsThatCameAreRecordedBeforeTheEnd(t *testing.T) {
	log := openLog(t, t.TempDir(), newKey(t))
	b := &book{log: log}
	r := newRecorder(b, none)
	r.Enter(filepath.Join(t.TempDir(), "process"))
	r.signals <- syscall.SIGTERM
	r.Leave()
	r.finish()
	list := b.take()
	if n := len(list); n != 3 || list[1].Signal != "SIGTERM" || list[2].Kind != audit.KindProcessStop || list[2].Signal != "SIGTERM" {
		t.Errorf("%+v", list)
	}
}

func TestLimitsAreRecordedWhenTheyAreReachedAndWhenTheyAreOver(t *testing.T) {
	log := openLog(t, t.TempDir(), newKey(t)) // outside of the bubble: its goroutines are not this test's
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var value int64
		b := &book{log: log}
		r := newRecorder(b, func() []limit {
			mu.Lock()
			defer mu.Unlock()
			return []limit{{name: limitFiles, value: value, bound: 100}, {name: limitMemory}}
		})
		r.log = log
		r.Enter("")
		var got []string
		for _, v := range []int64{10, 89, 90, 95, 88, 86, 91, 84, 89, 100} {
			mu.Lock()
			value = v
			mu.Unlock()
			time.Sleep(2 * limitsEvery)
			for _, p := range b.take() {
				if p.Limit == limitFiles {
					got = append(got, p.State)
				}
			}
		}
		r.Leave()
		if !slices.Equal(got, []string{"reached", "over", "reached"}) {
			t.Error(got)
		}
	})
}

func TestFreeSpaceIsLowBelowATwentiethOrAGibibyte(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		size, free    int64
		reached, over bool
	}{
		{10 * gib, gib / 4, true, false},
		{10 * gib, gib * 3 / 5, false, false},
		{10 * gib, gib, false, true},
		{1000 * gib, gib - 1, true, false},
		{1000 * gib, 2 * gib, false, true},
	} {
		if l := lowDisk(c.size, c.free); l.isReached() != c.reached || l.isOver() != c.over {
			t.Errorf("%+v: %+v", c, l)
		}
	}
}

func TestContainerIsFoundOut(t *testing.T) {
	id := hex.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct {
		file, text, id, image string
	}{
		"docker, v1":  {"/proc/self/cgroup", "12:pids:/docker/" + id + "\n", id, ""},
		"kubernetes":  {"/proc/self/cgroup", "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope\n", id, ""},
		"docker, v2":  {"/proc/self/mountinfo", "1 2 0:1 /var/lib/docker/containers/" + id + "/hostname /etc/hostname rw\n", id, ""},
		"podman":      {"/run/.containerenv", "engine=\"podman-4\"\nid=\"" + id + "\"\nimage=\"docker.io/x@sha256:1\"\n", id, "docker.io/x@sha256:1"},
		"none":        {"/proc/self/cgroup", "0::/user.slice/session-1.scope\n", "", ""},
		"no sense":    {"/run/.containerenv", "id=\nimage\n\x00=\"", "", ""},
		"other names": {"/proc/self/cgroup", "0::/" + id + "\n", "", ""},
	} {
		gotID, image := container(func(file string) string {
			if file == c.file {
				return c.text
			}
			return ""
		})
		if gotID != c.id || image != c.image {
			t.Errorf("%s: %q %q", name, gotID, image)
		}
	}
}

func TestProcessIsDescribed(t *testing.T) {
	p := describe(t.Context())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if p.Program.SHA256 != hex.EncodeToString(sum[:]) || p.Program.Go == "" || len(p.Program.Modules) < 1 || p.Host.OS == "" || len(p.Limits) < 3 {
		t.Errorf("%+v", p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s := fileSum(ctx, self); s != "" {
		t.Error("the sum of a part of a file is given:", s)
	}
}
