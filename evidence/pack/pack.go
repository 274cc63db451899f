// Package pack defines the evidence pack, a signed ZIP with what one or several
// logs hold of a period, and verifies one. docs/pack-format.md is its
// specification; package packer makes packs.
//
// A verifier needs the pack and the verifier keys of its logs, and nothing else.
// It checks the container byte by byte, the signatures, the hash of every file,
// the tree of every log and its consistency with each checkpoint, and computes
// every count, population and result of a check in the report again from the
// records. This package imports neither Caddy nor the writer of the log.
package pack

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Schema is the version of the format. Part of the format; do not change.
const Schema = "caddy-soc2/evidence-pack/1"

// Generator names what makes the pages of a pack out of its report, and its
// version, which grows when it makes other ones.
const Generator = "caddy-soc2 pages 1"

// The names of files that each pack has. Part of the format.
const (
	ManifestFile = "manifest.json"
	EnvelopeFile = "manifest.dsse.json"
	ReportFile   = "report.json"
	PageFile     = "report.html"
	BoundaryFile = "scope/boundary.json"
	CriteriaFile = "criteria/mapping.json"
	ChecksFile   = "checks/definitions.ndjson"
	ReadmeFile   = "README.txt"

	PopulationsFile = "scope/populations.json" // definitions of populations
	LogsFolder      = "logs/"
)

// MaxJSON is the most bytes that the manifest, its envelope, the report and the
// description of a log may have.
const MaxJSON = 64 << 20

// Lead is how long before the period the records of a pack begin, if the log
// has them: all results of checks are recorded again once in a day, so that the
// state of each is known when the period begins. Tail is how long after the
// period they go on: a request has the time at which it began and is recorded
// when it has ended. Part of the format.
const (
	Lead = 25 * time.Hour
	Tail = time.Hour
)

// TimeForm is how records hold a time. Such texts sort as the times do.
const TimeForm = "2006-01-02T15:04:05.000000000Z"

// Period is the time from From to, not including, To. Times are in UTC.
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// lastYear is one whose times have a number of nanoseconds in 64 bits. Part of the
// format.
const lastYear = 2200

// Validate reports a period that is none.
func (p Period) Validate() error {
	switch {
	case p.From.IsZero() || p.To.IsZero():
		return errors.New("a period has a beginning and an end")
	case !p.From.Before(p.To):
		return fmt.Errorf("the period ends at %s, which is not after its beginning %s", p.To.Format(time.RFC3339), p.From.Format(time.RFC3339))
	case p.From.UTC().Year() < 1970 || p.To.UTC().Year() > lastYear:
		return fmt.Errorf("a period lies between the years 1970 and %d", lastYear)
	}
	return nil
}

// texts returns the bounds as records hold times.
func (p Period) texts() (from, to string) {
	return p.From.UTC().Format(TimeForm), p.To.UTC().Format(TimeForm)
}

// nameForm is what names of files in a pack are made of: parts that begin with a
// letter or digit, so that none is hidden and none leads out of a directory.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)

// CheckName reports a name that no file in a pack has.
func CheckName(name string) error {
	if len(name) > 200 || !nameForm.MatchString(name) {
		return fmt.Errorf("the name %q is none that a file in a pack can have", name)
	}
	return nil
}

// Folder returns the folder of a log in a pack: its origin, in which each
// character that a name cannot have is an underscore.
func Folder(origin string) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			return c
		}
		return '_'
	}, origin)
	if name == "" || strings.ContainsAny(name[:1], "._-") {
		name = "x" + name
	}
	return LogsFolder + name[:min(len(name), 100)] + "/"
}
