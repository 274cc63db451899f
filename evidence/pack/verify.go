package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/boundary"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// Result is the outcome of a verification.
type Result struct {
	Verified  bool     `json:"verified"`
	PackID    string   `json:"pack_id"`
	Period    *Period  `json:"period,omitempty"`
	Full      bool     `json:"full"`
	SignedBy  []string `json:"signed_by"` // ids of keys
	Logs      []Heads  `json:"logs"`
	Files     int      `json:"files"`
	Records   int64    `json:"records"`  // that were read
	Hashed    int64    `json:"hashed"`   // that are there by their hashes only
	Problems  []string `json:"problems"` // what a pack that nobody tampered with does not have
	Unchecked []string `json:"unchecked"`
	Notes     []string `json:"notes"`
}

// Options of Verify.
type Options struct {
	// Progress, if not nil, is told now and then how far the verification is, in
	// bytes of files.
	Progress func(done, total int64)
}

// maxProblems is how many problems are listed.
const maxProblems = 100

// Verify checks a pack. An error means that the verification could not be made;
// what is wrong with the pack is in the result.
func Verify(r io.ReaderAt, size int64, keys []note.Verifier, opt Options) (*Result, error) {
	v := &verifier{keys: keys, opt: opt}
	v.Problems, v.Unchecked, v.Notes, v.SignedBy, v.Logs = []string{}, []string{}, []string{}, []string{}, []Heads{}
	err := v.run(r, size)
	if stop := (*stopped)(nil); errors.As(err, &stop) || errors.Is(err, ErrVersion) && len(v.Problems) > 0 {
		err = nil // what was found stands, whatever comes later
	}
	v.Verified = err == nil && len(v.Problems) == 0
	return &v.Result, err
}

// stopped ends a verification that has found what makes the rest pointless.
type stopped struct{}

func (*stopped) Error() string { return "stopped" }

type verifier struct {
	Result
	keys     []note.Verifier
	opt      Options
	archive  *Archive
	manifest *Manifest
	report   Report
	used     map[string]bool // files that belong to a pack
	figures  []Figures
	done     int64
	total    int64
}

func (v *verifier) problem(format string, args ...any) {
	if len(v.Problems) < maxProblems {
		v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
	}
}

// stop reports what ends the verification.
func (v *verifier) stop(format string, args ...any) error {
	v.problem(format, args...)
	return &stopped{}
}

func (v *verifier) run(r io.ReaderAt, size int64) (err error) {
	if v.archive, err = OpenArchive(r, size); err != nil {
		return v.reading("the container", err)
	}
	if err := v.signature(); err != nil {
		return err
	}
	if problems := v.manifest.compare(v.archive); len(problems) > 0 {
		v.Problems = append(v.Problems, problems...)
		return &stopped{}
	}
	if err := v.sums(); err != nil {
		return err
	}
	b, err := v.archive.Bytes(ReportFile, MaxJSON)
	if err == nil {
		err = decode(b, &v.report)
	}
	if err != nil {
		return v.stop("%s: %v", ReportFile, err)
	}
	v.used = map[string]bool{}
	if err := v.populations(); err != nil {
		return err
	}
	for i := range v.manifest.Logs {
		if err := v.log(&v.manifest.Logs[i]); err != nil {
			return err
		}
	}
	if err := v.whole(); err != nil {
		return err
	}
	for _, f := range v.manifest.Files {
		if !v.used[f.Path] {
			v.problem("%s: a pack has no such file", f.Path)
		}
	}
	return nil
}

// ErrVersion means that a pack was made by a version that this program does not
// know.
var ErrVersion = errors.New("the pack was made by another version than this program: use the verifier of that version")

// populations compares the definitions of populations.
func (v *verifier) populations() error {
	b, err := v.file(PopulationsFile)
	if err != nil {
		return err
	}
	if want, _ := population.Definitions(); bytes.Equal(b, want) {
		return nil
	}
	var got struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &got); err == nil && got.Version != population.Version() {
		return fmt.Errorf("%s is of version %d: %w", PopulationsFile, got.Version, ErrVersion)
	}
	return v.stop("%s: it is not the definitions of version %d", PopulationsFile, population.Version())
}

// reading tells what the pack holds from what the system says.
func (v *verifier) reading(what string, err error) error {
	if errors.Is(err, ErrContainer) {
		return v.stop("%s: %v", what, err)
	}
	return err
}

// signature verifies the manifest.
func (v *verifier) signature() error {
	manifest, err := v.archive.Bytes(ManifestFile, MaxJSON)
	if err != nil {
		return v.stop("%s: %v", ManifestFile, err)
	}
	envelope, err := v.archive.Bytes(EnvelopeFile, 2*MaxJSON)
	if err != nil {
		return v.stop("%s: %v", EnvelopeFile, err)
	}
	if v.manifest, err = ParseManifest(manifest); err != nil {
		return v.stop("%s: %v", ManifestFile, err)
	}
	m := v.manifest
	if v.SignedBy, err = Unseal(envelope, m, manifest, v.keys); err != nil {
		v.SignedBy = []string{}
		return v.stop("%s: %v", EnvelopeFile, err)
	}
	v.PackID, v.Period, v.Full, v.Files = m.PackID, &m.Period, m.Full, len(m.Files)
	for _, l := range m.Logs {
		v.Logs = append(v.Logs, l.Heads)
	}
	return nil
}

// sums checks the hash of every file.
func (v *verifier) sums() error {
	for _, f := range v.manifest.Files {
		v.total += f.Size
	}
	bad := false
	for _, f := range v.manifest.Files {
		h := sha256.New()
		n, err := io.Copy(h, v.archive.Open(v.archive.Entry(f.Path)))
		if err != nil {
			return v.reading(f.Path, err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA256 {
			v.problem("%s: its SHA-256 is %s, but %s says %s", f.Path, got, ManifestFile, f.SHA256)
			bad = true
		}
		v.progress(n)
	}
	if bad {
		return &stopped{}
	}
	return nil
}

func (v *verifier) progress(n int64) {
	v.done += n
	if v.opt.Progress != nil {
		v.opt.Progress(v.done, v.total)
	}
}

// whole checks the files that are of the pack, not of one log.
func (v *verifier) whole() error {
	made := &Report{
		Schema: Schema, Notice: Notice, PackID: v.manifest.PackID, Period: v.manifest.Period, Full: v.manifest.Full,
		Logs: v.figures,
	}
	criteria, err := v.criteria()
	if err != nil {
		return err
	}
	definitions, err := v.definitions()
	if err != nil {
		return err
	}
	if made.Criteria, err = Judge(criteria, definitions, v.figures); err != nil {
		return v.stop("%v", err)
	}
	v.used[ReportFile] = true
	if diffs := compareReports(&v.report, made); len(diffs) > 0 {
		for _, d := range diffs {
			v.problem("%s: %s", ReportFile, d)
		}
		return nil
	}
	if err := v.sheets(); err != nil {
		return err
	}
	return v.pages(criteria, definitions)
}

// sheets compares the tables that repeat the report.
func (v *verifier) sheets() error {
	made, err := Sheets(&v.report)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(keysOf(made)) {
		b, err := v.file(name)
		if err != nil {
			return err
		}
		if !bytes.Equal(b, made[name]) {
			v.problem("%s: it is not the one that the report gives", name)
		}
	}
	return nil
}

// file returns a file that every pack has.
func (v *verifier) file(name string) ([]byte, error) {
	v.used[name] = true
	b, err := v.archive.Bytes(name, MaxJSON)
	if err != nil {
		return nil, v.stop("%s: %v", name, err)
	}
	return b, nil
}

// definitions reads the definitions of checks and compares them with the hashes
// in the records of their results.
func (v *verifier) definitions() (list [][]byte, err error) {
	b, err := v.file(ChecksFile)
	if err != nil {
		return nil, err
	}
	there := map[string]string{}
	for line := range bytes.Lines(b) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		var d definition
		if err := json.Unmarshal(line, &d); err != nil || there[d.ID] != "" {
			return nil, v.stop("%s: a line is no definition, or one of a check that has another", ChecksFile)
		}
		sum := sha256.Sum256(line)
		there[d.ID] = hex.EncodeToString(sum[:])
		list = append(list, line)
	}
	if sum := sha256.Sum256(b); !slices.Contains(catalogues, hex.EncodeToString(sum[:])) {
		v.Unchecked = append(v.Unchecked, fmt.Sprintf("%s has not the checks of a version that this program knows: one without results may be missing, or be another", ChecksFile))
	}
	for _, f := range v.figures {
		for id, c := range f.Checks {
			switch there[id] {
			case c.Definition:
			case "":
				v.Unchecked = append(v.Unchecked, fmt.Sprintf("the check %s was made by a definition that is not in the pack (SHA-256 %s)", id, c.Definition))
			default:
				v.problem("%s: the definition of %s is not the one that its results were made by (SHA-256 %s)", ChecksFile, id, c.Definition)
			}
		}
	}
	slices.Sort(v.Unchecked)
	return list, nil
}

// pages compares what is made from the report with what this version makes.
func (v *verifier) pages(criteria []byte, definitions [][]byte) error {
	if b, err := v.file(BoundaryFile); err != nil {
		return err
	} else if err := v.boundary(b); err != nil {
		return err
	}
	made, err := Pages(&v.report, v.manifest, criteria, definitions)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(keysOf(made)) {
		b, err := v.file(name)
		if err != nil {
			return err
		}
		switch {
		case bytes.Equal(b, made[name]):
		case v.manifest.Generator != Generator:
			return fmt.Errorf("%s was made by %q: %w", name, v.manifest.Generator, ErrVersion)
		default:
			v.problem("%s: it is not the one that the report gives", name)
		}
	}
	return nil
}

func keysOf(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Boundary returns what a pack of this version says of what its logs can hold.
func Boundary() ([]byte, error) {
	b, err := json.MarshalIndent(boundary.Now(), "", "  ")
	return append(b, '\n'), err
}

func (v *verifier) boundary(b []byte) error {
	var got struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return v.stop("%s: %v", BoundaryFile, err)
	}
	want, err := Boundary()
	switch {
	case err != nil:
		return err
	case bytes.Equal(b, want):
	case got.Version != boundary.Now().Version:
		return fmt.Errorf("%s is of version %d: %w", BoundaryFile, got.Version, ErrVersion)
	default:
		v.problem("%s: it is not the boundary of version %d", BoundaryFile, got.Version)
	}
	return nil
}
