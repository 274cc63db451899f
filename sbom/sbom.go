// Package sbom says what a Go program is made of, as a CycloneDX 1.6 bill of
// materials. It reads the build information that the Go linker puts into every
// binary, also into one without symbols.
package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// SpecVersion is the version of CycloneDX that is written.
const SpecVersion = "1.6"

// Options say what is not in the binary.
type Options struct {
	// Time of the document. Zero: none, so that the same binary gives the same
	// bytes.
	Time time.Time
	// Tool that writes it, and its version.
	Tool, ToolVersion string
}

// BOM is the document, in the members that are written.
type BOM struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     Metadata     `json:"metadata"`
	Components   []Component  `json:"components"`
	Dependencies []Dependency `json:"dependencies"`
}

// Metadata is about the document and its subject.
type Metadata struct {
	Timestamp string    `json:"timestamp,omitempty"`
	Tools     *Tools    `json:"tools,omitempty"`
	Component Component `json:"component"`
}

// Tools are what made the document.
type Tools struct {
	Components []Component `json:"components"`
}

// Component is the program, one of its modules, or the standard library.
type Component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref,omitempty"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Scope      string     `json:"scope,omitempty"`
	Hashes     []Hash     `json:"hashes,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []Property `json:"properties,omitempty"`
}

// Hash is of a file.
type Hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"` // hex
}

// Property is what CycloneDX has no member for.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Dependency is what one needs.
type Dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// OfFile reads a binary.
func OfFile(name string, o Options) (*BOM, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := readInfo(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no Go program with build information: %w", name, err)
	}
	h := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return New(info, hex.EncodeToString(h.Sum(nil)), o), nil
}

// New makes the document of build information and the SHA-256, in hex, of the
// binary that it is from. The same of both give the same document.
func New(info *debug.BuildInfo, sum string, o Options) *BOM {
	main := component("application", &info.Main, info.Path)
	if sum != "" {
		main.Hashes = []Hash{{"SHA-256", sum}}
	}
	main.Properties = append(main.Properties, Property{"go:path", info.Path}, Property{"go:version", info.GoVersion})
	for _, s := range info.Settings {
		if s.Value != "" {
			main.Properties = append(main.Properties, Property{"go:build:" + s.Key, s.Value})
		}
	}
	version := strings.TrimPrefix(info.GoVersion, "go")
	version, _, _ = strings.Cut(version, " ")
	std := Component{Type: "library", Ref: "pkg:golang/std@" + escape(version), Name: "std", Version: version, Scope: "required", PURL: "pkg:golang/std@" + escape(version)}
	b := &BOM{
		Format: "CycloneDX", SpecVersion: SpecVersion, Version: 1,
		Metadata:   Metadata{Component: main},
		Components: []Component{std},
	}
	if o.Tool != "" {
		b.Metadata.Tools = &Tools{[]Component{{Type: "application", Name: o.Tool, Version: o.ToolVersion}}}
	}
	if !o.Time.IsZero() {
		b.Metadata.Timestamp = o.Time.UTC().Format(time.RFC3339)
	}
	for _, d := range info.Deps {
		c := component("library", d, d.Path)
		c.Scope = "required"
		b.Components = append(b.Components, c)
	}
	slices.SortFunc(b.Components, func(a, c Component) int { return strings.Compare(a.Ref, c.Ref) })
	b.Components = slices.CompactFunc(b.Components, func(a, c Component) bool { return a.Ref == c.Ref })
	all := Dependency{Ref: main.Ref}
	for _, c := range b.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
		b.Dependencies = append(b.Dependencies, Dependency{Ref: c.Ref})
	}
	b.Dependencies = append([]Dependency{all}, b.Dependencies...)
	b.Serial = b.serial()
	return b
}

// component is a module; one that was replaced is what it was replaced with.
func component(kind string, m *debug.Module, fallback string) Component {
	was := m
	if m.Replace != nil {
		m = m.Replace
	}
	c := Component{Type: kind, Name: m.Path, Version: m.Version}
	if c.Name == "" {
		c.Name = fallback
	}
	if local(c.Name) {
		c.Name, c.Version = was.Path, was.Version // a directory says nothing to others
	}
	c.PURL = purl(c.Name, c.Version)
	c.Ref = c.PURL
	if m.Sum != "" {
		c.Properties = append(c.Properties, Property{"go:sum", m.Sum})
	}
	if m != was {
		c.Properties = append(c.Properties, Property{"go:replaces", strings.TrimSuffix(was.Path+"@"+was.Version, "@")})
	}
	return c
}

func local(path string) bool {
	return strings.HasPrefix(path, ".") || strings.HasPrefix(path, "/") || strings.Contains(path, `\`)
}

// purl is a package URL of the type golang.
func purl(path, version string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = escape(parts[i])
	}
	p := "pkg:golang/" + strings.Join(parts, "/")
	if version != "" {
		p += "@" + escape(version)
	}
	return p
}

func escape(s string) string {
	return strings.ReplaceAll(url.PathEscape(s), "+", "%2B")
}

// serial is a UUID (RFC 9562, version 8) made of the document itself.
func (b *BOM) serial() string {
	plain := *b
	plain.Serial, plain.Metadata.Timestamp = "", ""
	data, err := json.Marshal(plain)
	if err != nil {
		panic(err) // it has only texts and numbers
	}
	u := sha256.Sum256(data)
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// Write writes the document as JSON.
func (b *BOM) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(b)
}
