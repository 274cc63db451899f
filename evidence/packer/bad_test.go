package packer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

func (s *site) period(from, to time.Time) *site {
	s.want.period = pack.Period{From: from, To: to}
	return s
}

func TestPeriodsThatCannotBePackedAreRefused(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.close()
	for name, p := range map[string]pack.Period{
		"no end": {From: start}, "no beginning": {To: start}, "empty": {From: start, To: start},
		"backwards": {From: start, To: start.Add(-time.Hour)}, "future": {From: start.AddDate(2, 0, 0), To: start.AddDate(3, 0, 0)},
	} {
		opt := s.options(true)
		opt.Period = p
		_, err := packer.Write(context.Background(), &bytes.Buffer{}, []packer.Log{s.input()}, opt)
		if !errors.Is(err, packer.ErrPeriod) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsMissingOfAPeriodIsAGap(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	for name, c := range map[string]struct {
		from, to time.Time
		why      string
	}{
		"before the log":    {start.AddDate(0, 0, -9), start.AddDate(0, 0, -8), "the log begins then"},
		"begins before it":  {start.AddDate(0, 0, -1), start.Add(6 * time.Hour), "the log begins then"},
		"ends after it":     {start.AddDate(0, 0, 3), start.AddDate(0, 1, 0), "the log was closed"},
		"all after the log": {start.AddDate(0, 2, 0), start.AddDate(0, 3, 0), "the log was closed"},
	} {
		s.period(c.from, c.to)
		b := s.make(true)
		mustVerify(t, b, s)
		f := report(t, b).Logs[0]
		if len(f.Gaps) == 0 || f.Gaps[len(f.Gaps)-1].Why != c.why {
			t.Errorf("%s: gaps %+v", name, f.Gaps)
		}
		for id, check := range f.Checks {
			total := int64(0)
			for _, ns := range check.NS {
				total += ns
			}
			if total != c.to.Sub(c.from).Nanoseconds() {
				t.Errorf("%s: the times of %s add up to %d ns, not to the period", name, id, total)
			}
		}
		if code, said := python(t, b, s); code != 0 {
			t.Errorf("%s: verify.py: exit %d: %s", name, code, said)
		}
	}
}

func TestADamagedSegmentLeavesItsRecordsUnknownAndIsReported(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days().period(start.AddDate(0, 0, 1), start.AddDate(0, 0, 2))
	list, err := filepath.Glob(filepath.Join(s.dir, "segments", "*.zst"))
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for i, file := range list[:max(len(list)-1, 0)] { // the hashes of the first 256 records are in a tile of their own
		if next, _, _ := segment.ParseName(filepath.Base(list[i+1])); next <= 256 {
			name = file
		}
	}
	if name == "" {
		t.Fatalf("no segment ends before record 256: %v", list)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[len(b)/3:], "damage damage damage")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, full := range []bool{true, false} {
		p := s.make(full)
		f := report(t, p).Logs[0]
		gap := false
		for _, g := range f.Gaps {
			gap = gap || strings.Contains(g.Why, "cannot be read")
		}
		if !gap || f.Checks["AUD-001"].NS["unknown"] == 0 {
			t.Errorf("full %t: gaps %+v, checks %+v", full, f.Gaps, f.Checks["AUD-001"])
		}
		r := verify(t, p, s)
		if r.Verified || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "cannot be read") {
			t.Errorf("full %t: %v", full, r.Problems)
		}
		if code, said := python(t, p, s); code != 1 || strings.Count(said, "FAILED") != 1 {
			t.Errorf("full %t: verify.py: exit %d: %s", full, code, said)
		}
	}
}

func TestAChangedRecordIsNotPacked(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days().period(start.AddDate(0, 0, 3), start.AddDate(0, 0, 4)) // with the open segment
	list, err := filepath.Glob(filepath.Join(s.dir, "segments", "*.log"))
	if err != nil || len(list) == 0 {
		t.Fatalf("%v %v", list, err)
	}
	b, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), `{"v":1`)
	i := find(lines, `"kind":"request"`)
	lines[i] = strings.TrimPrefix(recrcAt(lines[i]), `{"v":1`)
	if err := os.WriteFile(list[0], []byte(strings.Join(lines, `{"v":1`)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = packer.Write(context.Background(), &bytes.Buffer{}, []packer.Log{s.input()}, s.options(true))
	if !errors.Is(err, packer.ErrDamaged) {
		t.Errorf("it says %v", err)
	}
}

// recrcAt changes the host of a record and gives it its checksum. What follows
// the record stays.
func recrcAt(part string) string {
	end := strings.LastIndex(part, `"}`) + 2
	return recrc(`{"v":1`+strings.Replace(part[:end], "example.com", "exomple.com", 1)) + part[end:]
}
