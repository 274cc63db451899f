package quarter_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// The quarter, and the log around it.
var (
	logBegins = time.Date(2025, 12, 28, 9, 0, 0, 0, time.UTC)
	begins    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ends      = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	logEnds   = time.Date(2026, 4, 3, 6, 0, 0, 0, time.UTC)
)

// forgotten is who asks to be.
const forgotten = "user-07@example.com"

// script plays the quarter.
type script struct {
	*site
	daily    int // requests
	steps    []step
	tracker  *controls.Tracker
	saved    []byte
	holes    map[string][]jsonpatch.Op // what is wrong now, by check
	good     any
	runs     map[string]*controls.Report
	states   map[string]string // of upstreams
	since    map[string]time.Time
	config   int
	settings controls.Settings
}

type step struct {
	at time.Time
	do func()
}

// on plans what happens at a time: 02-14 15:04:05 of 2026.
func (s *script) on(at string, do func()) {
	t, err := time.Parse("2006-01-02 15:04:05", "2026-"+at)
	s.must(err)
	s.steps = append(s.steps, step{t, do})
}

func newScript(t testing.TB, daily int) *script {
	t.Helper()
	s := &script{site: newSite(t, logBegins), daily: daily, tracker: new(controls.Tracker), holes: map[string][]jsonpatch.Op{}, runs: map[string]*controls.Report{}, states: map[string]string{}, since: map[string]time.Time{}}
	b, err := os.ReadFile("../../controls/testdata/good.json")
	s.must(err)
	s.good, err = jsonpatch.Parse(b)
	s.must(err)
	s.plan()
	for at := logBegins.Truncate(6 * time.Hour).Add(6 * time.Hour); at.Before(logEnds); at = at.Add(6 * time.Hour) {
		s.steps = append(s.steps, step{at.Add(time.Second), func() { s.check("interval") }})
	}
	for at := logBegins.Add(time.Hour); at.Before(logEnds); at = at.Add(time.Hour) {
		s.steps = append(s.steps, step{at.Add(2 * time.Second), s.repeat})
	}
	slices.SortStableFunc(s.steps, func(a, b step) int { return a.at.Compare(b.at) })
	return s
}

// play runs the quarter. Requests come evenly through the day, and each of the
// steps between two of them.
func (s *script) play() {
	s.t.Helper()
	s.open(true, 0)
	s.start("process.start")
	for _, u := range upstreams {
		s.upstream(u, "up", "start")
	}
	every := 24 * time.Hour / time.Duration(s.daily)
	skew := time.Duration(0)
	for at, i := logBegins.Add(time.Minute), 0; at.Before(logEnds); at, i = at.Add(every), i+1 {
		if at.Add(-skew).Day() != at.Add(every-skew).Day() {
			skew = 0 // the clock was set right in the night
		}
		for len(s.steps) > 0 && !at.Add(-skew).Before(s.steps[0].at) {
			next := s.steps[0]
			s.steps = s.steps[1:]
			s.pass(later(s.now, next.at))
			was := s.now
			next.do()
			if s.now.Before(was) {
				skew = was.Sub(s.now)
			}
		}
		s.pass(later(s.now, at.Add(-skew)))
		took, ahead := time.Duration(i%97)*time.Millisecond, ""
		switch {
		case i%1009 == 0:
			took, ahead = time.Duration(1+i%150)*time.Minute, "request.open"
		case i%503 == 0:
			ahead = "request.intent"
		}
		s.request(took, ahead)
	}
	s.stop("")
	s.close()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// forgets checks that nobody opens what was sealed about who is forgotten.
func (s *script) forgets() {
	s.t.Helper()
	o := personal.NewOpener(durable.OS{}, filepath.Join(s.root, "personal"), s.identity)
	for _, b := range s.boxed {
		if _, err := o.Open(b.id, b.ref, b.box); !errors.Is(err, personal.ErrForgotten) {
			s.t.Errorf("a box of %s can be opened, or not for the reason that is to be: %v", forgotten, err)
		}
	}
	s.boxed = [2]boxed{}
}

// crashed is a process that was killed, and the one after it.
func (s *script) crashed() {
	last := s.now
	torn := s.crash()
	s.pass(s.now.Add(7 * time.Minute))
	s.open(false, torn)
	s.tracker = new(controls.Tracker)
	s.must(s.tracker.Load(s.saved))
	s.add(&audit.Process{Time: s.now, Kind: "process.crash", PID: 77, Boot: "b1", Last: last, Reason: "killed, or the power failed"})
	s.start("process.start")
}

// start is what a process records when it begins.
func (s *script) start(kind audit.Kind) {
	s.add(&audit.Process{Time: s.now, Kind: kind, PID: 78, Boot: "b2", Config: fmt.Sprintf("%064x", s.config), Program: audit.Program{Version: "v1", SHA256: "00"}})
	s.tracker = new(controls.Tracker)
	if s.saved != nil {
		s.must(s.tracker.Load(s.saved))
	}
	s.check("start")
	for _, u := range upstreams {
		if s.states[u] != "" {
			s.upstream(u, s.states[u], "start")
		}
	}
}

func (s *script) stop(signal string) {
	s.add(&audit.Process{Time: s.now, Kind: "process.stop", PID: 78, Boot: "b2", Signal: signal, Uptime: time.Hour})
}

// upstream records a state of an upstream.
func (s *script) upstream(address, state, cause string) {
	c := &audit.UpstreamChange{Time: s.now, Kind: audit.Kind("upstream." + state), Address: address, Server: "srv0", Check: "GET /healthz", Before: s.states[address], Cause: cause}
	if address == upstreams[1] {
		c.Handler = 2
	}
	if !s.since[address].IsZero() {
		c.Lasted = max(0, s.now.Sub(s.since[address]))
	}
	if s.states[address] != state {
		s.states[address], s.since[address] = state, s.now
	}
	s.add(c)
}

// repeat records the states again.
func (s *script) repeat() {
	for _, u := range upstreams {
		s.upstream(u, s.states[u], "interval")
	}
}

// check runs the checks on what the server is now, and records what the tracker
// finds to be told.
func (s *script) check(trigger string) {
	s.t.Helper()
	ids := slices.Sorted(keysOf(s.holes))
	name := fmt.Sprint(ids, s.settings.Exceptions)
	r := s.runs[name]
	if r == nil {
		var patch []jsonpatch.Op
		for _, id := range ids {
			patch = append(patch, s.holes[id]...)
		}
		doc, err := jsonpatch.Apply(s.good, patch)
		s.must(err)
		b, err := jsonpatch.Canonical(doc)
		s.must(err)
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		snapshot := new(controls.Snapshot)
		s.must(d.Decode(snapshot))
		settings := s.settings
		r = controls.Run(snapshot, &settings)
		s.runs[name] = r
		s.expected(r)
	}
	r.Time, r.Trigger = s.now, trigger
	for _, c := range s.tracker.Apply(r) {
		s.add(c)
	}
	var err error
	s.saved, err = s.tracker.Save()
	s.must(err)
}

// expected compares results of checks with what the script means: what has a
// hole fails, and a good server passes all but three.
func (s *script) expected(r *controls.Report) {
	s.t.Helper()
	for _, f := range r.Checks {
		want := map[string]string{"CHG-007": "warn", "ALT-002": "not_applicable"}[f.ID]
		if want == "" {
			want = "pass"
		}
		if s.holes[f.ID] != nil {
			want = "fail"
		}
		if string(f.Result) != want {
			s.t.Fatalf("with holes %v the check %s says %s", slices.Sorted(keysOf(s.holes)), f.ID, f.Result)
		}
	}
}

// anchor keeps the checkpoint, as one that an outsider has seen is kept.
func (s *script) anchor() {
	s.t.Helper()
	b, _, _ := s.log.Checkpoint()
	size, _ := head(s.t, b)
	s.must(os.MkdirAll(filepath.Join(s.dir, "anchors"), 0o700))
	s.must(os.WriteFile(filepath.Join(s.dir, "anchors", fmt.Sprintf("%020d.checkpoint", size)), b, 0o600))
}

// head reads a checkpoint: origin, size and root are its first lines.
func head(t testing.TB, b []byte) (size int64, root string) {
	t.Helper()
	lines := bytes.SplitN(b, []byte("\n"), 4)
	size, err := strconv.ParseInt(string(lines[1]), 10, 64)
	if err != nil || string(lines[0]) != origin {
		t.Fatalf("checkpoint %q: %v", b, err)
	}
	return size, string(lines[2])
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
