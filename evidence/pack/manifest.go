package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Manifest lists the files of a pack, all but itself and its envelope.
type Manifest struct {
	Schema    string      `json:"schema"`
	PackID    string      `json:"pack_id"`
	Generator string      `json:"generator"` // module and version that made the pack
	Period    Period      `json:"period"`
	Full      bool        `json:"full"` // all raw records of the period are there
	Logs      []LogEntry  `json:"logs"`
	Samples   []Sample    `json:"samples,omitempty"` // that were asked for, by population and seed
	Files     []FileEntry `json:"files"`             // in the order of their names
}

// LogEntry is a log in a manifest.
type LogEntry struct {
	Heads
	Folder string `json:"folder"` // of its files, with a slash at the end
}

// FileEntry is a file in a manifest.
type FileEntry struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
	Media  string `json:"media_type"`
}

// media are the types of files by the end of their names. Part of the format.
var media = map[string]string{
	".json": "application/json", ".ndjson": "application/x-ndjson", ".csv": "text/csv; charset=utf-8; header=present",
	".html": "text/html; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".bin": "application/octet-stream",
	".tsr": "application/timestamp-reply", "": "text/plain; charset=utf-8",
}

// Media returns the media type of a file.
func Media(name string) string {
	_, base, ok := lastCut(name, '/')
	if !ok {
		base = name
	}
	if i := strings.LastIndexByte(base, '.'); i >= 0 {
		if m, ok := media[base[i:]]; ok {
			return m
		}
	}
	return media[""]
}

func lastCut(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// ID names a pack by the period, the form and the heads of its logs: the same
// evidence has the same name.
func (m *Manifest) ID() string {
	from, to := m.Period.texts()
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%t\n", m.Schema, from, to, m.Full)
	for _, l := range m.Logs {
		fmt.Fprintf(h, "%s\n%d\n%s\n", l.Origin, l.Size, l.Root)
	}
	for _, s := range m.Samples {
		fmt.Fprintf(h, "sample\n%s\n%d\n%s\n", s.Population, s.Rows, s.Seed)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Marshal returns the bytes of the manifest.
func (m *Manifest) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// ParseManifest reads a manifest and checks what it says of itself.
func ParseManifest(b []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := decode(b, m); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("it is of the schema %q, not %q", m.Schema, Schema)
	}
	if err := m.Period.Validate(); err != nil {
		return nil, err
	}
	for _, t := range []time.Time{m.Period.From, m.Period.To} {
		if _, offset := t.Zone(); offset != 0 {
			return nil, errors.New("its period is not in UTC")
		}
	}
	if m.PackID != m.ID() {
		return nil, errors.New("its pack_id is not the one of its period and logs")
	}
	if len(m.Logs) == 0 {
		return nil, errors.New("it has no log")
	}
	for i, l := range m.Logs {
		if l.Folder != Folder(l.Origin) || i > 0 && strings.ToLower(m.Logs[i-1].Folder) >= strings.ToLower(l.Folder) {
			return nil, fmt.Errorf("the folder of the log %q is wrong, or the logs are not in the order of their folders", l.Origin)
		}
	}
	if err := CheckSamples(m.Samples); err != nil {
		return nil, err
	}
	if !slices.IsSortedFunc(m.Files, func(a, b FileEntry) int { return strings.Compare(a.Path, b.Path) }) {
		return nil, errors.New("its files are not in the order of their names")
	}
	return m, nil
}

// File returns the entry of a file, or nil.
func (m *Manifest) File(name string) *FileEntry {
	i, ok := slices.BinarySearchFunc(m.Files, name, func(f FileEntry, name string) int { return strings.Compare(f.Path, name) })
	if !ok {
		return nil
	}
	return &m.Files[i]
}

// compare finds files that only one of the manifest and the container has.
func (m *Manifest) compare(a *Archive) (problems []string) {
	listed := map[string]*FileEntry{}
	for i := range m.Files {
		f := &m.Files[i]
		if listed[f.Path] != nil {
			problems = append(problems, fmt.Sprintf("%s is there twice in %s", f.Path, ManifestFile))
		}
		listed[f.Path] = f
		switch e := a.Entry(f.Path); {
		case e == nil:
			problems = append(problems, fmt.Sprintf("%s is missing", f.Path))
		case e.Size != f.Size:
			problems = append(problems, fmt.Sprintf("%s has %d bytes, but %s says %d", f.Path, e.Size, ManifestFile, f.Size))
		}
		if f.Media != Media(f.Path) {
			problems = append(problems, fmt.Sprintf("%s: %s gives a wrong media type", f.Path, ManifestFile))
		}
	}
	for _, e := range a.Entries {
		if listed[e.Name] == nil && e.Name != ManifestFile && e.Name != EnvelopeFile {
			problems = append(problems, fmt.Sprintf("%s is not in %s", e.Name, ManifestFile))
		}
	}
	return problems
}
