// Package decision reads and checks what a person decides about findings: the
// triage of one, a risk that is accepted for a time, the withdrawal of that, and
// a drill. Each becomes one record review.* of the log:
//
//	triage       review.triage     a finding was evaluated (CC7.3)
//	acceptance   review.exception  verdict accepted: a check may fail until then
//	withdrawal   review.exception  verdict withdrawn, answers the acceptance
//	drill        review.drill      alerts or recovery were tried (CC4.2, A1.3)
//
// A decision comes as one JSON object. Its texts are somebody's: they are
// bounded, in one line, and never cut. Nothing here writes to the log.
package decision

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// The longest texts of a decision, in bytes: what a record keeps.
const (
	maxName   = 256
	maxReason = 1024
)

// MaxBytes is the longest decision that Read reads, in bytes.
const MaxBytes = 64 << 10

// MaxUntil is how far ahead a decision may stand: longer than that nobody would
// look at it again.
const MaxUntil = 366 * 24 * time.Hour

// Triage says what a finding is.
type Triage struct {
	By      string `json:"by,omitempty"` // who decides, as stated
	Verdict string `json:"verdict"`      // controls.Verdicts
	Owner   string `json:"owner"`        // who is to act
	Reason  string `json:"reason"`
	Ticket  string `json:"ticket,omitempty"`
	Until   string `json:"until,omitempty"`      // how long the verdict stands, RFC 3339; default: as long as the finding
	Seq     int64  `json:"record_seq,omitempty"` // index of the check.transition that it answers; default: the one that began the finding

	stands time.Time
}

// Acceptance accepts a risk for a time.
type Acceptance struct {
	By         string `json:"by,omitempty"` // who records it, as stated
	Check      string `json:"check"`
	Reason     string `json:"reason"`
	Owner      string `json:"owner"`       // who bears the risk
	ApprovedBy string `json:"approved_by"` // who accepted it, as stated
	Until      string `json:"until"`       // RFC 3339
	Ticket     string `json:"ticket,omitempty"`

	check string
	ends  time.Time
}

// Withdrawal ends an acceptance before its time.
type Withdrawal struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason"`
	Ticket string `json:"ticket,omitempty"`
}

// Drill says how a drill went.
type Drill struct {
	By      string `json:"by,omitempty"`
	Subject string `json:"subject"` // Subjects
	Verdict string `json:"verdict"` // passed or failed
	Reason  string `json:"reason"`
	Ticket  string `json:"ticket,omitempty"`
	Files   []File `json:"files,omitempty"` // what shows it

	// Restored is what a drill of restoring the log measured. One that passed
	// has it: the server compares it with its log.
	Restored *Restored `json:"restored,omitempty"`
}

// File is a file that shows how a drill went. It is not sent.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // hex
}

// Restored is what a drill of restoring the log found of the copy.
type Restored struct {
	Origin     string        `json:"origin"`            // of the log
	Size       int64         `json:"tree_size"`         // records that the copy's checkpoint signs
	Root       string        `json:"tree_root"`         // base64
	Checkpoint string        `json:"checkpoint_sha256"` // of the copy's signed note, hex
	LiveSize   int64         `json:"live_tree_size"`    // of the log's checkpoint, with which it was compared
	LiveRoot   string        `json:"live_tree_root"`
	Records    int64         `json:"records"`          // of the copy that are whole and valid
	Pruned     int64         `json:"pruned,omitempty"` // records before this one were removed from the copy by retention
	Behind     int64         `json:"behind"`           // signed records of the log that the copy lacks
	Age        time.Duration `json:"age_ns"`           // since the first of them was appended; 0: it lacks none
	MaxAge     time.Duration `json:"max_age_ns"`       // that was allowed
	Took       time.Duration `json:"duration_ns"`      // of the verification
	Problems   []string      `json:"problems,omitempty"`
	Omitted    int           `json:"problems_omitted,omitempty"`
}

// The subjects of drills.
const (
	SubjectRestore = "restore" // the log was restored from a copy
	SubjectAlert   = "alert"   // an alert was sent, and reached somebody
	SubjectLimit   = "limit"   // a burst was sent against a rate limit
)

// Subjects are those of drills.
func Subjects() []string { return []string{SubjectRestore, SubjectAlert, SubjectLimit} }

// The verdicts of drills.
const (
	Passed = "passed"
	Failed = "failed"
)

// The bounds of lists.
const (
	maxFiles    = 64
	maxProblems = 16
)

// Read reads one JSON object with the members of a decision, and nothing else.
func Read(r io.Reader, into any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	var mistyped *json.UnmarshalTypeError
	switch err := d.Decode(into); {
	case errors.As(err, &mistyped) && mistyped.Field != "":
		return fmt.Errorf("%q is a %s, and has to be a %s", mistyped.Field, mistyped.Value, kindOf(mistyped))
	case err != nil:
		return fmt.Errorf("the body must be one JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body must be one JSON object, and something follows it")
	}
	return nil
}

func kindOf(e *json.UnmarshalTypeError) string {
	switch kind := e.Type.Kind().String(); {
	case strings.HasPrefix(kind, "int"):
		return "number"
	case kind == "slice":
		return "list"
	case kind == "struct", kind == "ptr":
		return "object"
	default:
		return kind
	}
}
