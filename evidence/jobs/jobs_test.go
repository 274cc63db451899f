package jobs_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

var day = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

// office is a desk with a log.
type office struct {
	t    *testing.T
	opt  jobs.Options
	key  *audit.Key
	dir  string
	desk *jobs.Desk

	mu      sync.Mutex
	records []*audit.EvidenceRead
	gate    chan struct{} // jobs wait for it before they begin, if it is not nil
	fail    error         // of records
}

func newOffice(t *testing.T) *office {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, key: key, dir: filepath.Join(t.TempDir(), "log")}
	log, err := audit.Open(audit.Config{Dir: o.dir, Key: key, Instance: "edge-1", Now: func() time.Time { return day }})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		ev := &audit.Event{Start: day, Method: "GET", Host: "example.com", Path: "/", Proto: "HTTP/2.0", Status: 403, End: "complete"}
		if _, err := log.Append(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	o.opt = jobs.Options{
		Dir: filepath.Join(t.TempDir(), "packs"), Keep: 2, Log: o.log, Record: o.record,
		Report: func(err error) { t.Error(err) }, Now: func() time.Time { return time.Now().UTC() },
	}
	o.open()
	t.Cleanup(func() { o.let(); o.desk.Close() })
	return o
}

func (o *office) open() {
	o.t.Helper()
	var err error
	if o.desk, err = jobs.Open(o.opt); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) log(context.Context) (packer.Log, error) {
	o.mu.Lock()
	gate := o.gate
	o.mu.Unlock()
	if gate != nil {
		<-gate
	}
	v, err := o.key.Verifier()
	return packer.Log{Dir: records.Dir{FS: os.DirFS(o.dir)}, Signer: o.key, Keys: []note.Verifier{v}}, err
}

// halt lets no job begin until let.
func (o *office) halt() { o.mu.Lock(); o.gate = make(chan struct{}); o.mu.Unlock() }

func (o *office) let() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gate != nil {
		close(o.gate)
		o.gate = nil
	}
}

func (o *office) record(b audit.Body) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return o.fail
	}
	o.records = append(o.records, b.(*audit.EvidenceRead))
	return nil
}

// said are the records of a job.
func (o *office) said(id string) (list []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.records {
		if r.Name == id {
			list = append(list, r.Filter)
		}
	}
	return list
}

// actors are those of the records of a job.
func (o *office) actors(id string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []string
	for _, r := range o.records {
		if r.Name == id {
			list = append(list, r.Actor.Name)
		}
	}
	return strings.Join(list, ", ")
}

func (o *office) order() jobs.Job {
	o.t.Helper()
	j, err := o.desk.Order(jobs.Order{From: day, To: day.AddDate(0, 0, 1)}, jobs.Actor{Name: "alice", Known: "verified"})
	if err != nil {
		o.t.Fatal(err)
	}
	return j
}

// until waits for a state of a job.
func (o *office) until(id string, state jobs.State) jobs.Job {
	o.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(time.Millisecond) {
		j, err := o.desk.Job(id)
		if err == nil && j.State == state {
			return j
		}
		if err != nil || time.Now().After(deadline) {
			o.t.Fatalf("job %s is %+v, %v; want %s", id, j, err, state)
		}
	}
}

func TestAPackThatWasOrderedVerifies(t *testing.T) {
	o := newOffice(t)
	j, err := o.desk.Order(jobs.Order{From: day, To: day.AddDate(0, 0, 1), Full: true, Samples: []pack.Sample{{Population: "denials", Rows: 5, Seed: "s"}}}, jobs.Actor{Name: "alice"})
	if err != nil || j.State != jobs.Waiting {
		t.Fatal(j, err)
	}
	j = o.until(j.ID, jobs.Done)
	f, _, err := o.desk.Pack(j.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != j.Bytes {
		t.Errorf("%v %v, %d bytes of %d", info.Mode(), err, info.Size(), j.Bytes)
	}
	v, _ := o.key.Verifier()
	r, err := pack.Verify(f, info.Size(), []note.Verifier{v}, pack.Options{})
	if err != nil || !r.Verified || r.PackID != j.PackID {
		t.Errorf("%v %+v", err, r)
	}
	b, err := os.ReadFile(f.Name())
	if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != j.SHA256 {
		t.Errorf("%v, another SHA-256", err)
	}
	if got := strings.Join(o.said(j.ID), ", "); got != "ordered, done" {
		t.Errorf("recorded: %s", got)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.records[1]; r.Actor.Name != "alice" || r.Bytes != j.Bytes || r.TreeRoot != j.Root || !r.From.Equal(day) || r.Outcome != "allowed" {
		t.Errorf("%+v", r)
	}
}

func TestOrdersThatCannotBeCarriedOutAreRefused(t *testing.T) {
	o := newOffice(t)
	for name, order := range map[string]jobs.Order{
		"no period": {}, "backwards": {From: day, To: day.Add(-1)}, "future": {From: time.Now().AddDate(1, 0, 0), To: time.Now().AddDate(2, 0, 0)},
		"a sample of nothing": {From: day, To: day.Add(1), Samples: []pack.Sample{{Population: "x", Rows: 1, Seed: "s"}}},
	} {
		if _, err := o.desk.Order(order, jobs.Actor{}); !errors.Is(err, jobs.ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.fail = errors.New("no disk")
	if _, err := o.desk.Order(jobs.Order{From: day, To: day.Add(1)}, jobs.Actor{}); err == nil || len(o.desk.List()) != 0 {
		t.Error("an order that is not recorded is taken")
	}
	o.fail = nil
}

func TestOnlySoManyOrdersWaitAndOneIsCarriedOutAtATime(t *testing.T) {
	o := newOffice(t)
	o.halt()
	first := o.order()
	o.until(first.ID, jobs.Running)
	for range 8 {
		o.order()
	}
	if _, err := o.desk.Order(jobs.Order{From: day, To: day.Add(1)}, jobs.Actor{}); !errors.Is(err, jobs.ErrBusy) {
		t.Errorf("the tenth order: %v", err)
	}
	running := 0
	for _, j := range o.desk.List() {
		if j.State == jobs.Running {
			running++
		}
	}
	if running != 1 {
		t.Errorf("%d jobs run", running)
	}
}

func TestJobsAreCanceledWhileTheyWaitAndWhileTheyRun(t *testing.T) {
	o := newOffice(t)
	o.halt()
	running, waiting := o.order(), o.order()
	o.until(running.ID, jobs.Running)
	for _, id := range []string{running.ID, waiting.ID} {
		if _, err := o.desk.Cancel(id, jobs.Actor{Name: "bob", Known: "verified"}); err != nil {
			t.Fatal(err)
		}
	}
	o.let()
	for _, id := range []string{running.ID, waiting.ID} {
		o.until(id, jobs.Canceled)
		if got := strings.Join(o.said(id), ", "); got != "ordered, canceled" {
			t.Errorf("recorded: %s", got)
		}
		if got := o.actors(id); got != "alice, bob" {
			t.Errorf("recorded of %s", got)
		}
		if _, _, err := o.desk.Pack(id); !errors.Is(err, jobs.ErrJob) {
			t.Errorf("a canceled job has a pack: %v", err)
		}
	}
	if j := o.order(); o.until(j.ID, jobs.Done).Bytes == 0 {
		t.Error("nothing is made after a cancellation")
	}
	if _, err := o.desk.Cancel("00", jobs.Actor{}); !errors.Is(err, jobs.ErrJob) {
		t.Error(err)
	}
}

func TestOnlyTheNewestPacksAreKept(t *testing.T) {
	o := newOffice(t)
	var ids []string
	for range 4 {
		j := o.order()
		o.until(j.ID, jobs.Done)
		ids = append(ids, j.ID)
	}
	if list := o.desk.List(); len(list) != 2 || list[0].ID != ids[3] || list[1].ID != ids[2] {
		t.Errorf("kept %+v", list)
	}
	if n := len(o.files()); n != 4 {
		t.Errorf("files %v", o.files())
	}
	o.fail = errors.New("no disk")
	if _, err := o.desk.Cancel(ids[3], jobs.Actor{Name: "bob"}); err == nil || len(o.files()) != 4 {
		t.Errorf("a removal that is not recorded: %v, files %v", err, o.files())
	}
	o.fail = nil
	if _, err := o.desk.Cancel(ids[3], jobs.Actor{Name: "bob"}); err != nil || len(o.files()) != 2 {
		t.Errorf("%v, files %v", err, o.files())
	}
	if r := o.records[len(o.records)-1]; r.Filter != "removed" || r.Actor.Name != "bob" || r.Name != ids[3] {
		t.Errorf("%+v", r)
	}
}

func (o *office) files() (names []string) {
	list, err := os.ReadDir(o.opt.Dir)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestWhatIsNotDoneWhenTheDeskClosesIsInterruptedAndRecorded(t *testing.T) {
	o := newOffice(t)
	o.desk.Close()
	o.opt.Keep = 20
	o.open()
	done := o.order()
	o.until(done.ID, jobs.Done)
	o.halt()
	running, waiting := o.order(), o.order()
	o.until(running.ID, jobs.Running)
	closed := make(chan struct{})
	go func() { defer close(closed); o.desk.Close() }()
	for { // until it takes no orders any more
		if _, err := o.desk.Order(jobs.Order{From: day, To: day.Add(1)}, jobs.Actor{}); errors.Is(err, jobs.ErrClosed) {
			break
		}
	}
	o.let()
	<-closed
	for _, id := range []string{running.ID, waiting.ID} {
		if j, _ := o.desk.Job(id); j.State != jobs.Interrupted {
			t.Errorf("%+v", j)
		}
		if got := o.said(id); !strings.HasPrefix(got[len(got)-1], "interrupted: ") {
			t.Errorf("recorded: %q", got)
		}
	}
	o.open()
	for id, state := range map[string]jobs.State{done.ID: jobs.Done, running.ID: jobs.Interrupted, waiting.ID: jobs.Interrupted} {
		if j, err := o.desk.Job(id); err != nil || j.State != state {
			t.Errorf("after a restart %+v, %v; want %s", j, err, state)
		}
	}
}

func TestAfterACrashJobsAreInterruptedAndLeftoversAreGone(t *testing.T) {
	o := newOffice(t)
	done := o.order()
	o.until(done.ID, jobs.Done)
	o.desk.Close()
	id := strings.Repeat("ab", 16)
	for name, content := range map[string]string{
		id + ".json": `{"id":"` + id + `","state":"running","order":{"from":"2026-01-02T00:00:00Z","to":"2026-01-03T00:00:00Z"}}`, id + ".tmp": "half a pack",
		strings.Repeat("cd", 16) + ".zip": "a pack of nobody", strings.Repeat("ef", 16) + ".json": "{", "notes.txt": "not ours",
	} {
		if err := os.WriteFile(filepath.Join(o.opt.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(o.opt.Dir, "soc2-pack-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.open()
	if j, err := o.desk.Job(id); err != nil || j.State != jobs.Interrupted || len(o.said(id)) != 1 {
		t.Errorf("%+v %v, recorded %q", j, err, o.said(id))
	}
	want := map[string]bool{done.ID + ".json": true, done.ID + ".zip": true, id + ".json": true, "notes.txt": true}
	for _, name := range o.files() {
		if !want[name] {
			t.Errorf("%s is left", name)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
}

func TestAPackThatCannotBeMadeSaysWhy(t *testing.T) {
	o := newOffice(t)
	if err := os.Remove(filepath.Join(o.dir, "checkpoint")); err != nil {
		t.Fatal(err)
	}
	j := o.until(o.order().ID, jobs.Failed)
	if !strings.Contains(j.Error, "checkpoint") {
		t.Errorf("%+v", j)
	}
	if got := o.said(j.ID); !strings.Contains(got[1], "checkpoint") {
		t.Errorf("recorded %q", got)
	}
	if _, err := os.Stat(filepath.Join(o.opt.Dir, j.ID+".tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("half a pack is left")
	}
}
