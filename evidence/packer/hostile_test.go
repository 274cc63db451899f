package packer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// TestAClientCannotMakePacksUnreadable: names that differ in capitals only come
// from clients: methods, at least.
func TestAClientCannotMakePacksUnreadable(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.pass(50 * 3600e9)
	for _, m := range []string{"GET", "get", "Get"} {
		for _, h := range []string{"example.com", "EXAMPLE.com"} {
			s.append(&audit.Event{Start: s.now, Method: m, Host: h, Path: "/", Proto: "HTTP/1.1", Status: 200, Duration: 1e6, End: "complete"})
		}
	}
	s.pass(40 * 3600e9)
	s.close()
	for _, full := range []bool{true, false} {
		b := s.make(full)
		mustVerify(t, b, s)
		if code, said := python(t, b, s); code != 0 {
			t.Errorf("full %t: verify.py: exit %d: %s", full, code, said)
		}
	}
}

// reject fails if one of the verifiers takes a pack, or does not say why.
func reject(t *testing.T, b []byte, says string, sites ...*site) {
	t.Helper()
	r := verify(t, b, sites...)
	if said := strings.Join(r.Problems, "\n"); r.Verified || !strings.Contains(said, says) {
		t.Errorf("verified %t, says %q; want %q", r.Verified, said, says)
	}
	if code, said := python(t, b, sites...); code != 1 || !strings.Contains(said, "FAILED") || strings.Contains(said, "has not the form") {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
}

// doctor takes a pack apart.
func doctor(t *testing.T, s *site, b []byte) *doctored {
	t.Helper()
	files, m := unpack(t, b)
	return &doctored{t: t, files: files, manifest: m, folder: m.Logs[0].Folder, self: s}
}

// TestJSONThatReadersDifferAboutIsRejected: encoding/json takes a long s for an s,
// and a Kelvin sign for a k; Python does not.
func TestJSONThatReadersDifferAboutIsRejected(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	b := s.make(true)
	for _, c := range []struct{ name, file, old, new, says string }{
		{"a long s in the report", pack.ReportFile, `"records":`, `"recordſ":`, "spelling"},
		{"capitals in the report", pack.ReportFile, `"records":`, `"Records":`, "spelling"},
		{"twice, in capitals", pack.ReportFile, `"rollups":`, `"RECORDS": 7, "rollups":`, "spelling"},
		{"a name that is not known", pack.ReportFile, `"notice":`, `"opinion": "unqualified", "notice":`, "unknown field"},
		{"a name that is not known in the log", pack.LogFile, `"first":`, `"remark": "x", "first":`, "unknown field"},
		{"a Kelvin sign in the log", pack.LogFile, `"proofs":`, `"proofſ":`, "spelling"},
		{"a fraction", pack.ReportFile, `"full": true`, `"full": 1`, "cannot unmarshal"},
		{"null for nothing", pack.ReportFile, `"notice":`, `"notice": null, "notice":`, "there twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := doctor(t, s, b)
			name := c.file
			if name == pack.LogFile {
				name = d.folder + name
			}
			d.replace(name, c.old, c.new)
			reject(t, d.insider(), c.says, s)
		})
	}
}

// TestNobodyMakesAVerifierTakeMuchMemory: what no key has signed is read before
// the signature is.
func TestNobodyMakesAVerifierTakeMuchMemory(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.request(200, false, false)
	s.pass(100 * time.Hour)
	s.close()
	b := s.make(true)
	for name, bomb := range map[string][]byte{
		"nested": bytes.Repeat([]byte("["), 8<<20),
		"names": append(append([]byte("{"), func() (list []byte) {
			for i := range 1 << 18 {
				list = fmt.Appendf(list, "%q:0,", fmt.Sprint(i))
			}
			return list
		}()...), `"x":0}`...),
	} {
		for _, file := range []string{pack.ManifestFile, pack.EnvelopeFile} {
			t.Run(name+" in "+file, func(t *testing.T) {
				d := doctor(t, s, b)
				d.files[file] = bomb
				reject(t, d.zipped(), "more than", s)
			})
		}
	}
}

// agree fails if one of the verifiers does not take a pack, and returns what the
// report says of its first log.
func agree(t *testing.T, s *site, full bool) pack.Figures {
	t.Helper()
	b := s.make(full)
	mustVerify(t, b, s)
	if code, said := python(t, b, s); code != 0 {
		t.Errorf("full %t: verify.py: exit %d: %s", full, code, said)
	}
	return report(t, b).Logs[0]
}

// TestAClockThatWasWrongForATimeHidesNoRequests: the log was once written by a
// clock years ahead, before the period and in the middle of it.
func TestAClockThatWasWrongForATimeHidesNoRequests(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	for hour := range 4 * 24 {
		if hour%12 == 6 {
			right := s.now
			s.open()
			if hour == 18 || hour == 54 {
				s.pass(8 * 365 * 24 * time.Hour)
			}
			s.request(200, false, false)
			s.close()
			s.now = right
		}
		s.open()
		for range 3 {
			s.pass(time.Minute)
			s.request(200, hour%3 == 0, false)
		}
		s.pass(57 * time.Minute)
		s.close()
	}
	for _, full := range []bool{true, false} {
		f := agree(t, s, full)
		if f.Requests.Total != s.want.requests || f.Requests.Bytes != s.want.bytes || f.Populations["denials"].Count != s.want.denials {
			t.Errorf("full %t: %d requests, %d bytes, %d denials; want %+v", full, f.Requests.Total, f.Requests.Bytes, f.Populations["denials"].Count, s.want)
		}
	}
}

// TestAGapIsInThePeriodThatItWasIn: its record is written when it is over.
func TestAGapIsInThePeriodThatItWasIn(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	end := s.want.period.To
	s.pass(end.Add(10 * time.Minute).Sub(s.now))
	s.append(&audit.LogGap{Time: end.Add(10 * time.Minute), From: end.Add(-30 * time.Minute), To: end.Add(5 * time.Minute), Cause: "disk_full", Lost: 3})
	s.close()
	f := agree(t, s, true)
	want := pack.Gap{From: end.Add(-30 * time.Minute).Format(pack.TimeForm), To: end.Format(pack.TimeForm)}
	found := false
	for _, g := range f.Gaps {
		found = found || g.From == want.From && g.To == want.To
	}
	if !found || f.Lost.Lost != 0 {
		t.Errorf("gaps %+v, lost %+v", f.Gaps, f.Lost)
	}
}

// TestWhatAVerifierDoesNotKnowIsNotVerified: a version that there never was is no
// way around a comparison, and hides nothing else.
func TestWhatAVerifierDoesNotKnowIsNotVerified(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	b := s.make(true)
	for name, do := range map[string]func(d *doctored){
		"generator": func(d *doctored) {
			d.manifest.Generator = "caddy-soc2 pages 99"
			d.files[pack.PageFile] = []byte("<p>All is well.")
		},
		"boundary": func(d *doctored) { d.edit(pack.BoundaryFile, func(v map[string]any) { v["version"] = 99 }) },
		"older":    func(d *doctored) { d.edit(pack.BoundaryFile, func(v map[string]any) { v["version"] = 0 }) },
		"criteria": func(d *doctored) { d.edit(pack.CriteriaFile, func(v map[string]any) { v["version"] = 99 }) },
	} {
		t.Run(name, func(t *testing.T) {
			d := doctor(t, s, b)
			do(d)
			doc := d.insider()
			v, err := s.key.Verifier()
			if err != nil {
				t.Fatal(err)
			}
			if r, err := pack.Verify(bytes.NewReader(doc), int64(len(doc)), []note.Verifier{v}, pack.Options{}); !errors.Is(err, pack.ErrVersion) || r.Verified {
				t.Errorf("verified %t, %v", r.Verified, err)
			}
			if code, said := python(t, doc, s); code != 3 {
				t.Errorf("verify.py: exit %d: %s", code, said)
			}
			d.edit(pack.ReportFile, func(v map[string]any) { at(v, "logs", 0, "requests")["total"] = 1 })
			d.replace(d.folder+"populations/denials.csv", "example.com", "exomple.com")
			if name == "generator" {
				reject(t, d.insider(), "denials.csv", s)
			}
		})
	}
}

// TestWhoHoldsTheKeyCannotChangeTheYardstick: neither what a criterion needs, nor
// which checks there are.
func TestWhoHoldsTheKeyCannotChangeTheYardstick(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	b := s.make(true)
	d := doctor(t, s, b)
	d.edit(pack.CriteriaFile, func(v map[string]any) { at(v, "criteria", 0)["title"] = "Nothing is asked for here." })
	d.repage()
	reject(t, d.insider(), "not the mapping of criteria", s)

	d = doctor(t, s, b)
	d.lines(pack.ChecksFile, func(l []string) []string {
		return slices.DeleteFunc(l, func(line string) bool { return strings.Contains(line, `"id":"TLS-002"`) })
	})
	d.repage()
	doc := d.insider()
	if r := mustVerify(t, doc, s); !strings.Contains(strings.Join(r.Unchecked, "\n"), "may be missing") {
		t.Errorf("unchecked %q", r.Unchecked)
	}
	if code, said := python(t, doc, s); code != 0 || !strings.Contains(said, "may be missing") {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
}

// repage makes the criteria of the report, and the pages, again.
func (d *doctored) repage() {
	d.t.Helper()
	var r pack.Report
	if err := json.Unmarshal(d.files[pack.ReportFile], &r); err != nil {
		d.t.Fatal(err)
	}
	var definitions [][]byte
	for line := range bytes.Lines(d.files[pack.ChecksFile]) {
		definitions = append(definitions, bytes.TrimSuffix(line, []byte("\n")))
	}
	var err error
	if r.Criteria, err = pack.Judge(d.files[pack.CriteriaFile], definitions, r.Logs); err != nil {
		d.t.Fatal(err)
	}
	pages, err := pack.Pages(&r, d.manifest, d.files[pack.CriteriaFile], definitions)
	if err != nil {
		d.t.Fatal(err)
	}
	maps.Copy(d.files, pages)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		d.t.Fatal(err)
	}
	d.files[pack.ReportFile] = append(text, '\n')
}

func TestPeriodsAreInUTCAndInYearsThatCanBeCounted(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	d := doctor(t, s, s.make(true))
	east := time.FixedZone("", 2*3600)
	d.manifest.Period.From, d.manifest.Period.To = d.manifest.Period.From.In(east), d.manifest.Period.To.In(east)
	b := d.insider()
	if r := verify(t, b, s); r.Verified || !strings.Contains(r.Problems[0], "not in UTC") {
		t.Errorf("%+v", r)
	}
	if code, said := python(t, b, s); code != 1 || !strings.Contains(said, "not a time in UTC") {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
	s.period(start, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC))
	_, err := packer.Write(t.Context(), &bytes.Buffer{}, []packer.Log{s.input()}, s.options(true))
	if !errors.Is(err, packer.ErrPeriod) {
		t.Errorf("to 9000: %v", err)
	}
	s.period(start, time.Date(2200, 12, 31, 0, 0, 0, 0, time.UTC))
	agree(t, s, true)
}

// TestTimeStampsAreOfHeadsOfTheLogAndNothingElse: a pack of one head stays the
// same when the log goes on, and a stamp is no way to add a file.
func TestTimeStampsAreOfHeadsOfTheLogAndNothingElse(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	size := s.anchor()
	before := s.make(true)
	stamp := func(n int64) {
		if err := os.WriteFile(filepath.Join(s.dir, "anchors", fmt.Sprintf("%020d.tsr", n)), []byte("stamp"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stamp(size + 1000)
	if b := s.make(true); !bytes.Equal(b, before) {
		t.Error("a stamp of a later head changed the pack")
	}
	stamp(size)
	b := s.make(true)
	if r := mustVerify(t, b, s); len(r.Unchecked) != 1 || !strings.Contains(r.Unchecked[0], "1 time stamps") {
		t.Errorf("unchecked %q", r.Unchecked)
	}
	if code, said := python(t, b, s); code != 0 || !strings.Contains(said, "openssl") {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
	for _, name := range []string{"evil.tsr", fmt.Sprintf("%020d.tsr", size+1), "x/00000000000000000001.tsr", "1.tsr"} {
		d := doctor(t, s, b)
		d.files[d.folder+pack.StampsFolder+name] = []byte("an opinion")
		reject(t, d.insider(), "no such file", s)
	}
}

// TestAClockThatWasAheadHidesNoFailure: what it counted is taken back.
func TestAClockThatWasAheadHidesNoFailure(t *testing.T) {
	const ahead = 8 * 365 * 24 * time.Hour
	for name, jump := range map[string]func(s *site){
		"between two processes": func(s *site) {
			right := s.now
			s.close()
			s.pass(ahead)
			s.open()
			s.check("TLS-001", "pass")
			s.close()
			s.now = right.Add(time.Minute)
			s.open()
		},
		"in a crash": func(s *site) {
			s.pass(ahead)
			s.check("TLS-001", "warn")
			s.close()
			s.now = s.now.Add(-ahead + time.Minute)
			s.open()
		},
		"in a process": func(s *site) {
			s.pass(ahead)
			s.check("TLS-001", "fail")
			s.added = 19 // the next is waited for
			s.request(200, false, false)
			s.pass(-ahead + time.Minute)
			s.added = 19
			s.request(200, false, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "edge-1/soc2")
			s.open()
			s.check("TLS-001", "pass")
			s.pass(50 * time.Hour)
			s.request(200, false, false)
			jump(s)
			s.check("TLS-001", "fail")
			s.pass(90 * time.Minute)
			s.check("TLS-001", "pass")
			s.pass(24 * time.Hour)
			s.close()
			for _, full := range []bool{true, false} {
				f := agree(t, s, full)
				c, total := f.Checks["TLS-001"], int64(0)
				for _, ns := range c.NS {
					total += ns
				}
				if c.FailingMinutes != "90.000" || c.State != "pass" || c.NS["pass"] == 0 || total != (24*time.Hour).Nanoseconds() {
					t.Errorf("full %t: %+v", full, c)
				}
			}
		})
	}
}
