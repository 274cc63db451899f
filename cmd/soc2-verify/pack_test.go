package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

func TestExitCodesOfPacks(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "log"), newKey(t)
	log, err := audit.Open(audit.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := key.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	now := time.Now()
	_, err = packer.Write(t.Context(), &b, []packer.Log{{Dir: records.Dir{FS: os.DirFS(dir)}, Signer: key, Keys: []note.Verifier{v}}},
		packer.Options{Period: pack.Period{From: now.Add(-time.Hour), To: now.Add(time.Hour)}, Full: true, Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good, bad := write("good.zip", b.Bytes()), write("bad.zip", b.Bytes()[1:])
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{good, "--key", key.Public()}, 0, "VERIFIED"},
		{[]string{good, "--key", key.Public(), "--json"}, 0, `"verified": true`},
		{[]string{good, "--key", newKey(t).Public()}, 1, "no signature by a key that was given"},
		{[]string{bad, "--key", key.Public()}, 1, "FAILED"},
		{[]string{good}, 2, "--key is needed"},
		{[]string{good, "--key", key.Public(), "--full"}, 2, "alone"},
		{[]string{filepath.Join(t.TempDir(), "none.zip"), "--key", key.Public()}, 3, "cannot verify"},
	} {
		var out, errs bytes.Buffer
		if code := run(c.args, &out, &errs); code != c.code || !strings.Contains(out.String()+errs.String(), c.says) {
			t.Errorf("%q: exit %d: %s%s", c.args, code, out.String(), errs.String())
		}
	}
}
