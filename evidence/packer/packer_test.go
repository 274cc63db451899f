package packer_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

func report(t testing.TB, b []byte) *pack.Report {
	t.Helper()
	a, err := pack.OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Bytes(pack.ReportFile, pack.MaxJSON)
	if err != nil {
		t.Fatal(err)
	}
	r := &pack.Report{}
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEachFigureIsWhatTheScriptKnows(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	for _, full := range []bool{true, false} {
		b := s.make(full)
		r := mustVerify(t, b, s)
		if full && len(r.Unchecked) > 0 || !full && len(r.Unchecked) == 0 {
			t.Errorf("full %t: unchecked %q", full, r.Unchecked)
		}
		f, w := report(t, b).Logs[0], s.want
		if f.Requests.Total != w.requests || f.Requests.Bytes != w.bytes || f.Populations["denials"].Count != w.denials ||
			f.Populations["limited"].Count != w.limited || f.Populations["config_changes"].Count != w.changes {
			t.Errorf("full %t: counted %+v %+v, want %+v", full, f.Requests, f.Populations, w)
		}
		for status, n := range w.status {
			if f.Requests.By["status"][status] != n {
				t.Errorf("status %s: %d, want %d", status, f.Requests.By["status"][status], n)
			}
		}
		for id, d := range w.failing {
			if got := f.Checks[id].NS["fail"]; got != d.Nanoseconds() {
				t.Errorf("%s failed for %d ns, want %d", id, got, d.Nanoseconds())
			}
		}
		if len(w.failing) < 2 || len(f.Gaps) != 1 || f.Gaps[0].Why != "the log was closed" {
			t.Errorf("gaps %+v, failing %v", f.Gaps, w.failing)
		}
	}
}

func TestTheSamePeriodAndHeadGiveTheSameBytes(t *testing.T) {
	s := newSite(t, "edge-1/soc2").days()
	for _, full := range []bool{true, false} {
		if !bytes.Equal(s.make(full), s.make(full)) {
			t.Errorf("full %t: two packs differ", full)
		}
	}
}

func TestSeveralLogsInOnePack(t *testing.T) {
	a, b := newSite(t, "edge-1/soc2").days(), newSite(t, "edge-2/soc2").days()
	p := a.make(true, b)
	if r := mustVerify(t, p, a, b); len(r.Logs) != 2 {
		t.Errorf("logs %v", r.Logs)
	}
	if r := verify(t, p, a); r.Verified {
		t.Error("a pack of two logs is verified by the key of one")
	}
	if code, said := python(t, p, a, b); code != 0 {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
	files, m := unpack(t, p)
	d := &doctored{t: t, files: files, manifest: m, folder: m.Logs[0].Folder, self: a}
	h, err := checkpoint.Peek(files[d.folder+pack.CheckpointFile])
	if err != nil {
		t.Fatal(err)
	}
	if files[d.folder+pack.CheckpointFile], err = checkpoint.Sign(h, b.key); err != nil {
		t.Fatal(err)
	}
	p = d.sign(a.key, b.key)
	if r := verify(t, p, a, b); r.Verified || !strings.Contains(r.Problems[0], "not signed by the given key") {
		t.Errorf("a checkpoint by the key of another log: %v", r.Problems)
	}
	if code, said := python(t, p, a, b); code != 1 || !strings.Contains(said, "not signed by a key") {
		t.Errorf("a checkpoint by the key of another log: verify.py: exit %d: %s", code, said)
	}
}

func TestWhatClientsSendIsInertInThePage(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.host = `"><script>alert(1)</script><img src=x onerror=alert(2)>` + "\u202e\x1b[31m"
	s.days()
	b := s.make(true)
	mustVerify(t, b, s)
	files, _ := unpack(t, b)
	page := string(files[pack.PageFile])
	if !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the page does not show the host")
	}
	for _, bad := range []string{"<script", "<img", "\u202e", "\x1b", "http://", "javascript:"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
	for name, content := range files {
		if strings.HasSuffix(name, ".csv") && (bytes.Contains(content, []byte(",=cmd")) || bytes.Contains(content, []byte("\"=cmd"))) {
			t.Errorf("%s has a formula in it", name)
		}
	}
	if code, said := python(t, b, s); code != 0 {
		t.Errorf("verify.py: exit %d: %s", code, said)
	}
}
