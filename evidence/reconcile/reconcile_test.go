package reconcile

import (
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// sides makes a log of n requests, seconds apart, and the lines that Caddy would
// have written of them.
func sides(t *testing.T, n int) (*population.Log, []string) {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "log")
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range n {
		start, took := began.Add(time.Duration(i)*time.Second+999_999_700*time.Nanosecond), time.Duration(i%7)*time.Second
		ev := audit.Event{ID: audit.NewID(start), Start: start, Duration: took, Status: 200 + i%3, Method: "GET", Path: "/", Upstream: audit.Upstream{Address: "10.0.0.1:80", Status: 200}}
		if _, err := log.Enqueue(t.Context(), ev.AppendBody(nil, "")); err != nil {
			t.Fatal(err)
		}
		end := start.Add(took + 3*time.Microsecond)
		lines = append(lines, fmt.Sprintf(`{"level":"info","ts":%d.%09d,"logger":"http.log.access.log0","msg":"handled request","request":{"method":"GET","uri":"/"},"duration":%f,"size":2,"status":%d,"resp_headers":{"X-Request-Id":["%s"]}}`,
			end.Unix(), end.Nanosecond(), took.Seconds(), ev.Status, ev.ID))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	head, err := population.Open(records.Dir{FS: os.DirFS(dir)}, "")
	if err != nil {
		t.Fatal(err)
	}
	return head, lines
}

func file(t *testing.T, lines []string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func compare(t *testing.T, opt Options) *Report {
	t.Helper()
	r, err := Compare(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSidesThatAreTheSameAgree(t *testing.T) {
	for _, most := range []int64{1 << 20, 7} { // in one reading, and in many
		old := pass
		pass = most
		defer func() { pass = old }()
		log, lines := sides(t, 300)
		name := file(t, lines)
		var zipped strings.Builder
		z := gzip.NewWriter(&zipped)
		_, _ = z.Write([]byte(strings.Join(lines[:100], "\n")))
		_ = z.Close()
		rotated := filepath.Join(t.TempDir(), "access-1.log.gz")
		if err := os.WriteFile(rotated, []byte(zipped.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		for what, opt := range map[string]Options{
			"one file":    {Files: []string{name}},
			"two files":   {Files: []string{rotated, file(t, lines[100:])}},
			"a period":    {Files: []string{name}, Period: population.Period{From: began.Add(30 * time.Second), To: began.Add(90 * time.Second)}},
			"an upstream": {Upstreams: map[string]int64{"10.0.0.1:80": 300}},
		} {
			opt.Log = log
			r := compare(t, opt)
			want := int64(300)
			if what == "a period" {
				want = 60
			}
			if !r.Agrees || r.InLog != want || len(opt.Files) > 0 && (r.Both != want || r.MinutesDiffer != 0 || r.MinutesSame == 0) {
				t.Errorf("%s: %+v", what, r)
			}
		}
	}
}

func TestEachDifferenceIsFound(t *testing.T) {
	log, lines := sides(t, 200)
	without := `{"ts":1767225650.5,"logger":"http.log.access","request":{},"status":308,"duration":0.001}`
	for what, c := range map[string]struct {
		lines []string
		holds func(r *Report) bool
	}{
		"one is missing from the access log": {lines[1:], func(r *Report) bool { return r.OnlyLog == 1 && len(r.ExamplesLog) == 1 && r.MinutesDiffer == 1 }},
		"one has another status":             {append([]string{strings.Replace(lines[0], `"status":200`, `"status":500`, 1)}, lines[1:]...), func(r *Report) bool { return r.StatusDiffers == 1 && r.Both == 200 }},
		"a status that is 200 in 32 bits":    {append([]string{strings.Replace(lines[0], `"status":200`, `"status":4294967496`, 1)}, lines[1:]...), func(r *Report) bool { return r.Unreadable == 1 && r.Both == 199 }},
		"one is there twice":                 {append(lines[:1:1], lines...), func(r *Report) bool { return r.TwiceAccess == 1 && r.Both == 200 }},
		"one was never recorded": {
			append(lines[:200:200], strings.Replace(lines[0], lines[0][strings.Index(lines[0], "Id")+6:][:36], audit.NewID(began.Add(time.Minute)).String(), 1)),
			func(r *Report) bool { return r.OnlyAccess == 1 && len(r.ExamplesOther) == 1 },
		},
		"one has no id":         {append(lines[:200:200], without), func(r *Report) bool { return r.WithoutID == 1 && r.MinutesDiffer == 1 && r.InAccess == 201 }},
		"one cannot be read":    {append(lines[:200:200], "nonsense"), func(r *Report) bool { return r.Unreadable == 1 && strings.Contains(r.Problem, "line 201") }},
		"one is too long":       {append(lines[:200:200], `{"x":"`+strings.Repeat("x", maxLine)+`"}`), func(r *Report) bool { return r.Unreadable == 1 && r.Both == 200 }},
		"a time cannot be read": {append(lines[:200:200], strings.Replace(without, "1767225650.5", `"Nov 1"`, 1)), func(r *Report) bool { return r.Unreadable == 1 }},
	} {
		r := compare(t, Options{Log: log, Files: []string{file(t, c.lines)}})
		if r.Agrees || !c.holds(r) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	other := append(lines[:200:200], `{"level":"error","ts":1767225650.5,"logger":"http.log.error","msg":"x"}`)
	if r := compare(t, Options{Log: log, Files: []string{file(t, other)}}); !r.Agrees || r.Others != 1 {
		t.Errorf("a line of something else: %+v", r)
	}
	if r := compare(t, Options{Log: log, Upstreams: map[string]int64{"10.0.0.1:80": 199, "10.0.0.9:80": 0}}); r.Agrees || len(r.UpstreamCounts) != 2 || r.UpstreamCounts[0].Log != 200 {
		t.Errorf("%+v", r)
	}
	if _, err := Compare(t.Context(), Options{Log: log}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
	if _, err := Compare(t.Context(), Options{Log: log, Files: []string{"/nowhere"}}); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestTimesAreReadInTheFormsOfCaddy(t *testing.T) {
	want := time.Date(2026, 1, 1, 0, 0, 50, 500_000_000, time.UTC)
	for _, ts := range []string{"1767225650.5", "1767225650500", "1767225650500.0", "1767225650500000000", `"2026-01-01T00:00:50.5Z"`, `"2026-01-01T01:00:50.500+0100"`, `"2026-01-01T01:00:50.500000000+01:00"`} {
		if got, err := parseTime([]byte(ts)); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v", ts, got, err)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(`{"ts":1767225650.5,"logger":"http.log.access","request":{},"status":308,"duration":"1ms","resp_headers":{"x-request-id":["01a1ff1a-afaf-78dd-9211-733376288a97"]}}`)
	f.Add(`{"ts":"x","request":{},"status":1}`)
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parseEntry([]byte(line))
		if err == nil && e.id != (id{}) {
			if again, ok := parseID(e.id.String()); !ok || again != e.id {
				t.Errorf("%s", e.id)
			}
		}
	})
}

// TestADamagedLogAgreesWithNothing: whatever it still has.
func TestADamagedLogAgreesWithNothing(t *testing.T) {
	log, lines := sides(t, 60)
	opt := Options{Log: log, Files: []string{file(t, lines)}, Upstreams: map[string]int64{"10.0.0.1:80": 60}}
	if r := compare(t, opt); !r.Agrees {
		t.Fatalf("%+v", r)
	}
	log.Head.Size += 100 // which the checkpoint signs, and which are not there
	if _, err := Compare(t.Context(), opt); !errors.Is(err, population.ErrDamaged) {
		t.Errorf("it says %v", err)
	}
	opt.Tolerant = true
	if r := compare(t, opt); r.Agrees || r.Both != 60 || r.Coverage.State != population.Unknown {
		t.Errorf("%+v", r)
	}
}
