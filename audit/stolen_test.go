package audit_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// stolen makes what the thief of the retired key can: from the first records of
// the log on a history of their own, which that key signs.
func stolen(t *testing.T, r *rotated, keep int64) (dir string, signed []byte) {
	t.Helper()
	dir = copyDir(t, r.phases[2])
	name := filepath.Join(dir, "segments", segment.Name(0, false))
	all, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var frames []byte
	var grown tree.Tree
	add := func(b []byte) {
		t.Helper()
		before := len(frames)
		if frames, err = segment.AppendFrame(frames, grown.Size(), 0, b); err != nil {
			t.Fatal(err)
		}
		grown.Append(tlog.RecordHash(segment.Record(frames[before:])), nil)
	}
	_, _, err = segment.Scan(all, 0, func(seq int64, record []byte) error {
		if seq < keep {
			at := bytes.Index(record, []byte(`"time":`))
			add(record[at : len(record)-len(`,"crc":"00000000"}`)])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	forged := audit.LogOpen{Time: time.Now(), Origin: r.old.Origin(), Key: r.old.Public(), Clean: true}
	add(forged.AppendBody(nil, "edge-1"))
	add(body(1))
	signed, err = checkpoint.Sign(checkpoint.Head{Origin: r.old.Origin(), Size: grown.Size(), Root: grown.Root()}, r.old)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{name: frames, filepath.Join(dir, checkpoint.File): signed} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, signed
}

// TestStolenRetiredKeyProvesNothing gives the auditor the old key with the size
// at which it was retired: what it signed then is verified, what its thief signs
// is not, neither at the end of the log nor instead of it.
func TestStolenRetiredKeyProvesNothing(t *testing.T) {
	r := newRotated(t)
	retired := int64(14) // the log.open record that names the new key alone
	anchored, err := os.ReadFile(filepath.Join(r.phases[1], checkpoint.File))
	if err != nil {
		t.Fatal(err)
	}
	alone, err := os.ReadFile(filepath.Join(r.phases[0], checkpoint.File))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := verify.Keys([]string{r.next.Public(), fmt.Sprintf("%s@%d", r.old.Public(), retired)})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, dir string, keys []note.Verifier, ok bool) *verify.Report {
		t.Helper()
		rep, err := verify.Dir(os.DirFS(dir), keys, verify.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if rep.OK() != ok {
			t.Errorf("%s: %v", what, rep.Problems)
		}
		return rep
	}
	dir := copyDir(t, r.phases[2])
	for size, b := range map[int][]byte{7: alone, 14: anchored} {
		name := filepath.Join(dir, "anchors", fmt.Sprintf("%020d.checkpoint", size))
		if err := durable.MakeDir(durable.OS{}, filepath.Dir(name)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check("an anchor by the old key, which is not given", dir, verifiers(t, r.next), false)
	if rep := check("anchors by the old key", dir, keys, true); strings.Contains(strings.Join(rep.Notes, "\n"), "without an end") {
		t.Errorf("%q", rep.Notes)
	}
	if rep := check("the old key without an end", dir, verifiers(t, r.next, r.old), true); !strings.Contains(strings.Join(rep.Notes, "\n"), fmt.Sprintf("@%d", retired)) {
		t.Errorf("%q", rep.Notes)
	}
	for _, keep := range []int64{3, 7, 21} {
		forged, _ := stolen(t, r, keep)
		check(fmt.Sprintf("%d records, then those of the thief", keep), forged, keys, false)
		check("for comparison, the key without an end", forged, verifiers(t, r.next, r.old), true)
	}
	early, err := verify.Keys([]string{r.old.Public() + "@7"})
	if err != nil {
		t.Fatal(err)
	}
	check("a copy of the log from before the rotation", r.phases[0], early, true)
	check("a later one", r.phases[1], early, false)
}

// TestKeysMayHaveAnEnd reads keys from text and files.
func TestKeysMayHaveAnEnd(t *testing.T) {
	r := newRotated(t)
	name := filepath.Join(t.TempDir(), "key@home.pub")
	if err := os.WriteFile(name, []byte(r.old.Public()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text  string
		limit int64
		ok    bool
	}{{r.old.Public(), 0, true}, {r.old.Public() + "@7", 7, true}, {name, 0, true}, {name + "@0", 0, true}, {r.old.Public() + "@07", 0, false}, {r.old.Public() + "@-1", 0, false}, {r.old.Public() + "@", 0, false}} {
		keys, err := verify.Keys([]string{c.text})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if !c.ok {
			continue
		}
		n, limited := checkpoint.LimitOf(keys[0])
		if n != c.limit || limited != (c.text != name && c.text != r.old.Public()) {
			t.Errorf("%s: %d, %v", c.text, n, limited)
		}
	}
	if _, err := verify.Keys([]string{r.old.Public() + "@7", r.old.Public() + "@8"}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("%v", err)
	}
}
