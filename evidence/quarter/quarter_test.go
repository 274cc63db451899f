// Package quarter_test plays a quarter of a server: the real log on a simulated
// clock, with a million requests, changes of the configuration, attacks, outages,
// a crash, a clock that is set back, a rotation of the log's key, somebody who is
// forgotten, legal holds and retention that removes the first weeks. The script
// keeps its own account of all of it, and every figure that the evidence has must
// be the one that this account gives.
package quarter_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/availability"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

var (
	whole = flag.Bool("quarter.full", false, "pack all raw records of the quarter, which takes some minutes")
	kept  = flag.String("quarter.keep", "", "copy the log of the quarter, and its keys, to a new directory")
)

// TestEveryFigureOfAQuarterIsWhatTheScriptKnows takes less than a minute on two
// cores that have nothing else to do. The pack of the quarter has the hashes of
// most requests, as each figure is the same as with all raw records, which those
// of shorter periods have.
func TestEveryFigureOfAQuarterIsWhatTheScriptKnows(t *testing.T) {
	daily := 11_150
	switch {
	case slow:
		daily = 150
	case testing.Short():
		daily = 1_100
	}
	s := newScript(t, daily)
	s.timed("writing", s.play)
	if *kept != "" {
		s.must(os.CopyFS(*kept, os.DirFS(s.root)))
		s.must(os.Chmod(filepath.Join(*kept, "keys", "log.key"), 0o600))
	}
	if played := s.requestsIn(begins, ends); daily > 10_000 && played < 1_000_000 {
		t.Fatalf("only %d requests were played in the quarter", played)
	}
	if s.gone < 10 {
		t.Fatalf("retention removed %d segments", s.gone)
	}
	var aside sync.WaitGroup
	defer aside.Wait()
	keys := s.verifiers()
	aside.Go(func() { s.verifies(keys) })

	w := s.packed(begins, ends, *whole, nil, sample{Population: "requests", N: 6, Seed: "7"}, sample{Population: "config_changes", N: 25, Seed: "2026 Q1, J. Doe"})
	if len(w.gaps) < 6 || w.gaps[0].from != begins.Format(stamp) || len(w.lost) == 0 || len(w.clocks) != 1 || len(w.keys) != 2 || !slow && w.by["host"]["(other)"] == 0 {
		t.Errorf("the script has not played what it is for: %v %v %v %v", w.gaps, w.lost, w.clocks, w.keys)
	}
	w.played()
	s.timed("counting populations", func() { s.counts(begins, ends) })
	s.timed("principals", func() { s.principals(w) })
	s.timed("availability", func() { s.available(w) })
	both := []sample{{Population: "requests", N: 25, Seed: "a.B_c-1"}, {Population: "check_transitions", N: 4, Seed: "=1+1"}}
	for _, short := range []struct {
		from, to string
		full     bool
		aside    *sync.WaitGroup // where docs/verify.py runs
		samples  []sample
	}{
		{"01-17", "01-20", true, nil, nil},          // begins in what was removed
		{"02-17", "02-19", false, &aside, both[1:]}, // the crash
		{"02-25", "02-26", true, &aside, both},      // the clock
		{"02-24", "02-25 11:45", true, &aside, nil}, // the clock is set back over its end
		{"02-25 11:50", "02-26", true, &aside, nil}, // and over its beginning
		{"02-28", "03-02", true, nil, nil},          // sealed from the second day on
	} {
		s.packed(day2026(t, short.from), day2026(t, short.to), short.full, short.aside, short.samples...)
	}
}

func day2026(t *testing.T, day string) time.Time {
	t.Helper()
	form := "2006-01-02 15:04"
	at, err := time.Parse(form[:5+len(day)], "2026-"+day)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// timed logs how long something took, and how much of the heap was in use.
func (s *site) timed(what string, fn func()) {
	s.t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapInuse
	done, most := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		high := before
		for {
			select {
			case <-done:
				most <- high
				return
			case <-tick.C:
				runtime.ReadMemStats(&m)
				high = max(high, m.HeapInuse)
			}
		}
	}()
	begun := time.Now()
	fn()
	took := time.Since(begun)
	close(done)
	s.t.Logf("%s: %s, %d MiB of heap more than before", what, took.Round(time.Millisecond), (<-most-before)>>20)
}

func (s *site) requestsIn(from, to time.Time) (n int) {
	for _, f := range s.facts {
		if s.kinds[f.kind] == "request" && f.at >= from.UnixNano() && f.at < to.UnixNano() {
			n++
		}
	}
	return n
}

func (s *site) verifiers() (list []note.Verifier) {
	s.t.Helper()
	for _, k := range s.keys {
		v, err := note.NewVerifier(k)
		s.must(err)
		list = append(list, v)
	}
	return list
}

// verifies verifies the log itself.
func (s *site) verifies(keys []note.Verifier) {
	begun := time.Now()
	r, err := verify.Dir(os.DirFS(s.dir), keys, verify.Options{})
	if err != nil || !r.OK() {
		s.t.Errorf("the log is not verified: %v %+v", err, r)
	}
	s.t.Logf("verifying the log: %s beside the rest", time.Since(begun).Round(time.Millisecond))
}

// truth is what there is to be known of a period: from the piece that begins 25
// hours before it, or the first that is left, to one that begins an hour after it.
func (s *site) truth(from, to time.Time) *truth {
	s.t.Helper()
	checkpoint, err := os.ReadFile(filepath.Join(s.dir, "checkpoint"))
	s.must(err)
	size, _ := head(s.t, checkpoint)
	first, next := s.pieces[s.gone].first, size
	for _, p := range s.pieces[s.gone:] {
		if p.at.Before(from.Add(-25 * time.Hour)) {
			first = p.first
		}
		if !p.at.Before(to.Add(time.Hour)) {
			next = p.first + 1
			break
		}
	}
	return s.of(first, next, from, to, checkpoint)
}

func (s *site) input() []packer.Log {
	s.t.Helper()
	return []packer.Log{{Dir: records.Dir{FS: os.DirFS(s.dir)}, Signer: s.keySet().Key, Keys: s.verifiers()}}
}

func (s *site) options(from, to time.Time, full bool, samples ...sample) packer.Options {
	asked := []pack.Sample{}
	for _, x := range samples {
		asked = append(asked, pack.Sample{Population: x.Population, Rows: x.N, Seed: x.Seed})
	}
	return packer.Options{Samples: asked, Period: pack.Period{From: from, To: to}, Full: full, Temp: s.root, Now: func() time.Time { return s.now }}
}

// packed makes a pack of a period, verifies it, and compares all that it says
// with the truth. If aside is given, the second verifier runs there, too.
func (s *site) packed(from, to time.Time, full bool, aside *sync.WaitGroup, samples ...sample) *truth {
	s.t.Helper()
	name := from.Format("2006-01-02 1504") + " to " + to.Format("2006-01-02 1504")
	w := s.truth(from, to)
	w.draw(samples)
	file, err := os.Create(filepath.Join(s.root, name+".zip"))
	s.must(err)
	defer func() { _ = file.Close() }()
	s.timed(name+": pack", func() {
		_, err := packer.Write(context.Background(), file, s.input(), s.options(from, to, full, samples...))
		s.must(err)
	})
	size, err := file.Seek(0, 2)
	s.must(err)
	s.t.Logf("%s: %d requests, %d records, a pack of %d MiB", name, w.total, w.records, size>>20)
	s.timed(name+": verify", func() {
		r, err := pack.Verify(file, size, s.verifiers(), pack.Options{})
		s.must(err)
		if !r.Verified {
			s.t.Errorf("%s: the pack is not verified:\n%s", name, strings.Join(r.Problems, "\n"))
		}
		if pruned := s.pieces[s.gone].first; (len(r.Notes) > 0) != (pruned > 0 && w.first == pruned) {
			s.t.Errorf("%s: notes %v", name, r.Notes)
		}
	})
	s.timed(name+": compare", func() { compare(s.t, file, size, w, full) })
	if aside != nil {
		aside.Go(func() { s.python(name, file.Name()) })
	}
	return w
}

// python runs the second verifier.
func (s *site) python(period, file string) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			s.t.Error("python3 is needed")
		}
		s.t.Log("python3 is not installed: docs/verify.py was not asked")
		return
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	begun := time.Now()
	out, err := exec.CommandContext(ctx, python, append([]string{"../../docs/verify.py", file}, s.keys...)...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) || err != nil {
		s.t.Errorf("verify.py: %v\n%s", err, out)
	}
	s.t.Logf("%s: verify.py: %s beside the rest", period, time.Since(begun).Round(time.Millisecond))
}

// early compares the report of a month that is over with the truth, while the
// log is written and before retention has removed anything of it.
func (s *site) early(from, to time.Time) {
	s.t.Helper()
	s.settle()
	s.flush()
	w := s.truth(from, to)
	if len(w.gaps) > 0 && from.Month() == time.January && w.gaps[0].from == from.Format(stamp) {
		s.t.Errorf("the beginning is missing already: %v", w.gaps)
	}
	r, _, err := packer.Report(context.Background(), s.input(), s.options(from, to, false))
	s.must(err)
	if list := differences("figures", plain(r.Logs[0]), plain(w.figures()), nil); len(list) > 0 {
		s.t.Errorf("the report of %s: %s", from.Month(), strings.Join(list[:min(len(list), 40)], "\n"))
	}
}

// counts compares the counts of populations, from rollups and from records, and
// what is said of what is missing, of the whole period.
func (s *site) counts(from, to time.Time) {
	s.t.Helper()
	log, err := population.Open(records.Dir{FS: os.DirFS(s.dir)}, s.keys[len(s.keys)-1])
	s.must(err)
	checkpoint, err := os.ReadFile(filepath.Join(s.dir, "checkpoint"))
	s.must(err)
	size, _ := head(s.t, checkpoint)
	w := s.of(s.pieces[s.gone].first, size, from, to, checkpoint)
	opt := population.Options{Period: population.Period{From: from, To: to}, Now: func() time.Time { return s.now }}
	quick := []string{"requests", "limited", "config_changes", "check_transitions", "disposals"}
	for _, c := range []struct {
		names []string
		each  bool
		by    string
	}{{quick, false, population.ByRollups}, {[]string{"requests", "denials", "limited", "check_transitions"}, true, population.ByRecords}} {
		var list []*population.Population
		for _, name := range c.names {
			p, err := population.Find(name)
			s.must(err)
			list = append(list, p)
		}
		counted, coverage, err := population.Count(context.Background(), log, list, opt, c.each)
		s.must(err)
		for i, got := range counted {
			want := len(w.rows[c.names[i]])
			if got.Count != int64(want) || got.By != c.by {
				s.t.Errorf("%s: counted %d by %s, and in truth %d", c.names[i], got.Count, got.By, want)
			}
		}
		s.covered(w, coverage)
	}
}

// covered compares what is said to be missing.
func (s *site) covered(w *truth, c population.Coverage) {
	s.t.Helper()
	var got, want []string
	for _, n := range c.Notes {
		at := ""
		if n.Seq != nil {
			at = strconv.FormatInt(*n.Seq, 10)
		}
		got = append(got, n.Code+" "+at)
	}
	want = append(want, "removed ")
	for seq := w.first; seq < w.next; seq++ {
		switch f := s.facts[seq]; s.kinds[f.kind] {
		case "log.clock":
			want = append(want, fmt.Sprintf("clock_set_back %d", seq))
		case "log.gap":
			if o := s.others[f.n].cells; o["lost"] != "0" || o["served"] != "0" {
				want = append(want, fmt.Sprintf("gap %d", seq))
			}
		}
	}
	if c.State != population.Partial || !slices.Equal(got, want) || c.Next != w.size || c.First != w.first {
		s.t.Errorf("coverage %s of %d to %d: %q, and in truth partial: %q", c.State, c.First, c.Next, got, want)
	}
}

// principals compares the rows of everybody who was named.
func (s *site) principals(w *truth) {
	s.t.Helper()
	log, err := population.Open(records.Dir{FS: os.DirFS(s.dir)}, "")
	s.must(err)
	p, err := population.Find("principals")
	s.must(err)
	var out bytes.Buffer
	opt := population.Options{Population: p, Period: population.Period{From: w.from, To: w.to}, Now: func() time.Time { return s.now }}
	_, err = population.Write(context.Background(), log, &out, population.Export{Options: opt, Format: "csv", Encoder: new(population.CSV)})
	s.must(err)
	got, err := csv.NewReader(&out).ReadAll()
	s.must(err)
	n := func(v int) string { return strconv.Itoa(v) }
	want := [][]string{got[0]}
	for _, key := range slices.Sorted(maps.Keys(w.people)) {
		p := w.people[key]
		source, name, _ := strings.Cut(key, "\n")
		want = append(want, []string{
			source, guard(name), p.method, n(int(p.first)), p.begun.Format(stamp), n(int(p.last)), p.ended.Format(stamp),
			n(p.requests), n(p.denied), n(p.limited), n(p.actions),
		})
	}
	if list := differences("principals", plain(got), plain(want), nil); len(list) > 0 || len(want) < 100 {
		s.t.Errorf("of %d principals %d figures differ:\n%s", len(want), len(list), strings.Join(list[:min(len(list), 20)], "\n"))
	}
}

// available compares the report on upstreams, which is another program than that
// of packs, with the script's.
func (s *site) available(w *truth) {
	s.t.Helper()
	r, err := availability.Read(context.Background(), records.Dir{FS: os.DirFS(s.dir)}, w.from, w.to)
	s.must(err)
	if len(r.Upstreams) != len(upstreams) {
		s.t.Fatalf("%d upstreams", len(r.Upstreams))
	}
	for _, u := range r.Upstreams {
		l := w.upstreams[fmt.Sprintf("%s %s %d", u.Server, u.Address, max(1, u.Handler))]
		begun := 0
		was := "up"
		for seq := w.first; seq < w.next; seq++ {
			f := s.facts[seq]
			if s.kinds[f.kind][:3] != "ups" {
				continue
			}
			c := s.others[f.n].body.(*audit.UpstreamChange)
			if state := strings.TrimPrefix(string(c.Kind), "upstream."); c.Address == u.Address {
				if state == "down" && was == "up" && w.in(c.Time) {
					begun++
				}
				was = state
			}
		}
		down := time.Duration(l.ns["down"]).Seconds()
		up := time.Duration(l.ns["up"]).Seconds()
		if near := func(a, b float64) bool { return a-b < 1e-3 && b-a < 1e-3 }; !near(u.Down, down) || !near(u.Up, up) || !near(u.Unknown, time.Duration(l.ns["unknown"]).Seconds()) || u.Outages != begun || u.State != l.last {
			s.t.Errorf("%s: up %f, down %f, unknown %f, %d outages, %s; in truth %f, %f, %v, %d, %s", u.Address, u.Up, u.Down, u.Unknown, u.Outages, u.State, up, down, time.Duration(l.ns["unknown"]).Seconds(), begun, l.last)
		}
	}
}
