package packer_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// anchor keeps the log's checkpoint as an anchored one is kept, and returns its
// size.
func (s *site) anchor() int64 {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, checkpoint.File))
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := checkpoint.Peek(b)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "anchors"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "anchors", fmt.Sprintf("%020d.checkpoint", h.Size)), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return h.Size
}

// TestEarlierCheckpointsAreProved: one before the records of the pack, one among
// them, one behind them.
func TestEarlierCheckpointsAreProved(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.request(200, false, false)
	s.close()
	before := s.anchor()
	s.days()
	s.anchor()
	for range 3 {
		s.pass(24 * time.Hour)
		s.open()
		for range 40 {
			s.pass(time.Minute)
			s.request(200, false, false)
		}
		s.close()
		s.anchor()
	}
	b := s.make(true)
	r := mustVerify(t, b, s)
	files, m := unpack(t, b)
	d := &doctored{t: t, files: files, manifest: m, folder: m.Logs[0].Folder, self: s}
	var l pack.Log
	if err := json.Unmarshal(files[d.folder+pack.LogFile], &l); err != nil {
		t.Fatal(err)
	}
	if l.First <= before || l.Next >= l.Size || len(l.Proofs) != 4 || len(r.Unchecked) != 0 {
		t.Fatalf("records %d to %d of %d, %d proofs, unchecked %v", l.First, l.Next, l.Size, len(l.Proofs), r.Unchecked)
	}
	if code, said := python(t, b, s); code != 0 {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
	d.edit(d.folder+pack.LogFile, func(v map[string]any) {
		hashes := v["proofs"].([]any)[1].(map[string]any)["hashes"].([]any)
		hashes[0] = base64.StdEncoding.EncodeToString(make([]byte, 32))
	})
	b = d.insider()
	if r := verify(t, b, s); r.Verified || !strings.Contains(r.Problems[0], "two histories") {
		t.Errorf("a false proof: %v", r.Problems)
	}
	if code, said := python(t, b, s); code != 1 || !strings.Contains(said, "two histories") {
		t.Errorf("a false proof: verify.py: exit %d: %s", code, said)
	}
}

// prune removes the segments before one, as retention does, and returns its first
// record.
func (s *site) prune(keep int, tell bool) int64 {
	s.t.Helper()
	list, err := filepath.Glob(filepath.Join(s.dir, "segments", "*"))
	if err != nil || len(list) <= keep {
		s.t.Fatalf("%v %v", list, err)
	}
	upto, _, _ := segment.ParseName(filepath.Base(list[keep]))
	if tell {
		s.open()
		s.append(&audit.LogErase{Time: s.now, What: "retention", UpTo: upto, Segments: int64(keep), By: "retain 1d", Reason: "older"})
		s.close()
	}
	for _, name := range list[:keep] {
		if err := os.Remove(name); err != nil {
			s.t.Fatal(err)
		}
	}
	return upto
}

func TestRecordsThatRetentionRemovedAreUnknownAndThatIsProved(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days().period(start.Add(12*time.Hour), start.AddDate(0, 0, 3))
	upto := s.prune(3, true)
	for _, full := range []bool{true, false} {
		b := s.make(full)
		r := mustVerify(t, b, s)
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "log.erase") {
			t.Errorf("notes %v", r.Notes)
		}
		f := report(t, b).Logs[0]
		if f.First != upto || f.Gaps[0].Why != fmt.Sprintf("records before %d are not there", upto) || f.Checks["AUD-001"].NS["unknown"] == 0 {
			t.Errorf("first %d, gaps %v, checks %v", f.First, f.Gaps, f.Checks["AUD-001"])
		}
		if code, said := python(t, b, s); code != 0 {
			t.Errorf("verify.py: exit %d: %s", code, said)
		}
	}
}

func TestRecordsThatWereRemovedWithoutARecordAreAGap(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days().period(start.Add(12*time.Hour), start.AddDate(0, 0, 3))
	s.prune(3, false)
	b := s.make(true)
	if r := verify(t, b, s); r.Verified || !strings.Contains(strings.Join(r.Problems, "\n"), "no log.erase record says") {
		t.Errorf("it says %v", r.Problems)
	}
	if code, said := python(t, b, s); code != 1 || !strings.Contains(said, "no log.erase record says") {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
}

// TestACrashAndAClockThatIsSetBackCountNothingTwice: both verifiers agree on the
// figures, and the times of each check add up to the period.
func TestACrashAndAClockThatIsSetBackCountNothingTwice(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.check("TLS-001", "fail")
	s.pass(50 * time.Hour)
	s.check("TLS-001", "pass")
	s.pass(-time.Hour)
	s.request(200, false, false)
	s.check("TLS-001", "fail")
	s.pass(3 * time.Hour)
	s.check("TLS-001", "warn")
	s.added = 19 // the next one is awaited
	s.request(403, false, false)
	crashed := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(crashed, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.log.Close(); err != nil {
		t.Fatal(err)
	}
	s.dir = crashed
	s.pass(2 * time.Hour)
	s.open()
	s.append(&audit.LogGap{Time: s.now, Cause: "failure", From: s.now.Add(-time.Minute), To: s.now, Lost: 3, Served: 4})
	s.check("TLS-001", "pass")
	s.pass(40 * time.Hour)
	s.request(200, false, false)
	s.close()
	for _, full := range []bool{true, false} {
		b := s.make(full)
		mustVerify(t, b, s)
		f := report(t, b).Logs[0]
		whys := ""
		for _, g := range f.Gaps {
			whys += g.Why + "\n"
		}
		if !strings.Contains(whys, "not closed in order") || !strings.Contains(whys, "3 lost, 4 served") || f.Lost.Lost != 3 {
			t.Errorf("gaps %q, lost %+v", whys, f.Lost)
		}
		total := int64(0)
		for _, ns := range f.Checks["TLS-001"].NS {
			total += ns
		}
		if total != (24 * time.Hour).Nanoseconds() {
			t.Errorf("the times add up to %d ns: %v", total, f.Checks["TLS-001"].NS)
		}
		if code, said := python(t, b, s); code != 0 {
			t.Errorf("verify.py: exit %d: %s", code, said)
		}
	}
}

// TestRequestsWithoutAStatusAreInRollups: connections that were broken off have
// no status, and no name in the rollups of segments.
func TestRequestsWithoutAStatusAreInRollups(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.pass(49 * time.Hour)
	for i := range 200 {
		s.pass(time.Minute)
		s.request(200*(i%2), false, false)
		if i%40 == 39 {
			s.sealed()
		}
	}
	s.close()
	b := s.make(true)
	mustVerify(t, b, s)
	f := report(t, b).Logs[0]
	if f.Requests.By["status"]["0"] != s.want.status["0"] || f.Rollups.Requests == 0 {
		t.Errorf("status %v, want %v; rollups %+v", f.Requests.By["status"], s.want.status, f.Rollups)
	}
	if code, said := python(t, b, s); code != 0 {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
}
