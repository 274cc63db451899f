package file_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/evidence/population/file"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// newLog is a log with some requests, all signed.
func newLog(t *testing.T) *population.Log {
	t.Helper()
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "log")
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: "edge-1"})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		ev := audit.Event{Start: time.Now(), Method: "GET", Path: "/", Status: 200, End: audit.EndComplete}
		if _, err := log.Append(t.Context(), ev.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := population.Open(records.Dir{FS: os.DirFS(dir)}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestFilesAreWholeOrAbsent(t *testing.T) {
	log, dir := newLog(t), t.TempDir()
	name := filepath.Join(dir, "requests.csv")
	requests, err := population.Find("requests")
	if err != nil {
		t.Fatal(err)
	}
	x := population.Export{Options: population.Options{Population: requests}, Format: "csv", MadeAt: time.Unix(1, 0)}
	p, err := file.Write(t.Context(), durable.OS{}, log, name, x)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var side population.Provenance
	beside, err := os.ReadFile(name + population.ProvenanceSuffix)
	if err != nil || json.Unmarshal(beside, &side) != nil || side.SHA256 != p.SHA256 {
		t.Fatalf("%v %s", err, beside)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != side.SHA256 {
		t.Error("the file has another hash")
	}
	if _, err := file.Write(t.Context(), durable.OS{}, log, name, x); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file was replaced: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := filepath.Join(dir, "other.csv")
	if _, err := file.Write(ctx, durable.OS{}, log, other, x); err == nil {
		t.Error("a canceled export succeeded")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("%v %v", list, err)
	}
}
