package packer_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// doctored is a pack that was taken apart.
type doctored struct {
	t        testing.TB
	files    map[string][]byte
	manifest *pack.Manifest
	folder   string // of its first log
	other    *site  // of another log, with another key
	self     *site
}

func unpack(t testing.TB, b []byte) (map[string][]byte, *pack.Manifest) {
	t.Helper()
	a, err := pack.OpenArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range a.Entries {
		if files[e.Name], err = a.Bytes(e.Name, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	m, err := pack.ParseManifest(files[pack.ManifestFile])
	if err != nil {
		t.Fatal(err)
	}
	return files, m
}

func deflate(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zipped puts the files into the one form of containers.
func (d *doctored) zipped() []byte {
	d.t.Helper()
	var b bytes.Buffer
	w := pack.NewWriter(&b)
	names := slices.Sorted(maps.Keys(d.files))
	names = slices.DeleteFunc(names, func(n string) bool { return n == pack.ManifestFile || n == pack.EnvelopeFile })
	for _, name := range append(names, pack.ManifestFile, pack.EnvelopeFile) {
		content, ok := d.files[name]
		if !ok {
			continue
		}
		packed := deflate(d.t, content)
		e := pack.Entry{Name: name, Packed: int64(len(packed)), Size: int64(len(content)), CRC: crc32.ChecksumIEEE(content)}
		if err := w.Add(e, bytes.NewReader(packed)); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	return b.Bytes()
}

// sign makes the manifest again, as somebody with these keys can.
func (d *doctored) sign(keys ...note.Signer) []byte {
	d.t.Helper()
	m := d.manifest
	m.Files = nil
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		if name == pack.ManifestFile || name == pack.EnvelopeFile {
			continue
		}
		sum := sha256.Sum256(d.files[name])
		m.Files = append(m.Files, pack.FileEntry{Path: name, Size: int64(len(d.files[name])), SHA256: hex.EncodeToString(sum[:]), Media: pack.Media(name)})
	}
	m.PackID = m.ID()
	b, err := m.Marshal()
	if err != nil {
		d.t.Fatal(err)
	}
	e, err := pack.Seal(m, b, keys)
	if err != nil {
		d.t.Fatal(err)
	}
	d.files[pack.ManifestFile], d.files[pack.EnvelopeFile] = b, e
	return d.zipped()
}

// insider signs as who holds the log's key.
func (d *doctored) insider() []byte { return d.sign(d.self.key) }

// edit changes JSON as text-free as can be.
func (d *doctored) edit(name string, change func(v map[string]any)) {
	d.t.Helper()
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(d.files[name]))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		d.t.Fatalf("%s: %v", name, err)
	}
	change(v)
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		d.t.Fatal(err)
	}
	d.files[name] = append(b, '\n')
}

// at walks into JSON.
func at(v any, path ...any) map[string]any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			v = v.(map[string]any)[k]
		case int:
			v = v.([]any)[k]
		}
	}
	return v.(map[string]any)
}

func (d *doctored) figures(change func(f map[string]any)) []byte {
	d.edit(pack.ReportFile, func(v map[string]any) { change(at(v, "logs", 0)) })
	return d.insider()
}

// replace changes text in a file, which must have it.
func (d *doctored) replace(name, old, new string) {
	d.t.Helper()
	if !bytes.Contains(d.files[name], []byte(old)) {
		d.t.Fatalf("%s has no %q", name, old)
	}
	d.files[name] = bytes.Replace(d.files[name], []byte(old), []byte(new), 1)
}

// one returns the name of the only, or first, file of a folder of the log.
func (d *doctored) one(prefix string) string {
	d.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		if strings.HasPrefix(name, d.folder+prefix) {
			return name
		}
	}
	d.t.Fatalf("there is no file %s", prefix)
	return ""
}

// lines edits the lines of a file.
func (d *doctored) lines(name string, change func(lines []string) []string) {
	lines := strings.SplitAfter(strings.TrimSuffix(string(d.files[name]), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	d.files[name] = []byte(strings.Join(change(lines), ""))
}

func drop(n int) func([]string) []string {
	return func(l []string) []string { return slices.Delete(l, n, n+1) }
}

// find returns the index of the first line with a text.
func find(l []string, text string) int {
	return slices.IndexFunc(l, func(s string) bool { return strings.Contains(s, text) })
}

// raw rewrites the container with the library's writer.
func (d *doctored) library(change func(w *zip.Writer)) []byte {
	d.t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		f, err := w.Create(name)
		if err != nil {
			d.t.Fatal(err)
		}
		if _, err := io.Copy(f, bytes.NewReader(d.files[name])); err != nil {
			d.t.Fatal(err)
		}
	}
	change(w)
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	return b.Bytes()
}

// recrc gives a record the checksum that it needs after it was changed.
func recrc(record string) string {
	body := record[:len(record)-len(`,"crc":"00000000"}`)]
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)))
	return body + `,"crc":"` + hex.EncodeToString(sum) + `"}`
}

// change changes a record and its checksum.
func change(l []string, i int, old, new string) []string {
	record := strings.TrimSuffix(l[i], "\n")
	l[i] = recrc(strings.Replace(record, old, new, 1)) + "\n"
	return l
}

// attack is a way to doctor a pack.
type attack struct {
	name string
	sums bool // on a pack without all raw records
	do   func(d *doctored) []byte
	says string // part of what the first verifier says
	only bool   // of what only the first verifier makes again
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestBothVerifiersRejectEachDoctoredPack(t *testing.T) {
	s, other := newSite(t, "edge-1/soc2").days(), newSite(t, "edge-1/soc2").days()
	packs := map[bool][]byte{true: s.make(true), false: s.make(false)}
	foreign := other.make(true)
	if n := len(attacks(foreign)); n < 100 {
		t.Errorf("only %d attacks", n)
	}
	for _, a := range attacks(foreign) {
		t.Run(strings.ReplaceAll(a.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			files, m := unpack(t, packs[!a.sums])
			d := &doctored{t: t, files: files, manifest: m, folder: m.Logs[0].Folder, other: other, self: s}
			b := a.do(d)
			r := verify(t, b, s)
			if said := strings.Join(r.Problems, "\n"); r.Verified || !strings.Contains(said, a.says) {
				t.Errorf("verified %t, says %q; want %q", r.Verified, said, a.says)
			}
			if a.only {
				return
			}
			if code, said := python(t, b, s); code != 1 || !strings.Contains(said, "FAILED") || strings.Contains(said, "has not the form") {
				t.Errorf("verify.py: exit %d: %s", code, said)
			}
		})
	}
}
