package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// DockerfileReport is a verdict on a Dockerfile that somebody reports, to be
// recorded.
type DockerfileReport struct {
	By     string `json:"by"`     // who reports it
	Reason string `json:"reason"` // why, such as the build that it belongs to

	File     string          `json:"file"`
	Target   string          `json:"target"`
	Profile  string          `json:"profile"`
	Rules    int             `json:"rules"`
	Outcome  string          `json:"outcome"` // pass or fail
	Blocking int64           `json:"blocking"`
	Warnings int64           `json:"warnings"`
	Waived   int64           `json:"waived"`
	Baseline int64           `json:"baseline"`
	Inputs   []string        `json:"inputs"`  // SHA-256 in hex, a space, and the name of a file
	Verdict  string          `json:"verdict"` // SHA-256 of the whole verdict, hex
	Findings json.RawMessage `json:"findings"`
}

// Recorder records what is reported. The soc2 app is one.
type Recorder interface {
	RecordDockerfile(r DockerfileReport) (any, error)
}

// maxReport is the longest report, in bytes.
const maxReport = 1 << 20

// reporting answers requests of the admin API that report something. It reports
// false for a path that is not one of its.
func reporting(w http.ResponseWriter, r *http.Request, path string) bool {
	if path != "/dockerfile/checks" {
		return false
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		problem(w, r, http.StatusMethodNotAllowed, "This records something: use POST.")
		return true
	}
	src, err := activeSource()
	recorder, ok := src.(Recorder)
	if err != nil || !ok {
		problem(w, r, http.StatusServiceUnavailable, "There is no audit log: the app soc2 is not configured or did not start.")
		return true
	}
	report, err := readReport(w, r)
	if err != nil {
		problem(w, r, http.StatusBadRequest, err.Error())
		return true
	}
	v, err := recorder.RecordDockerfile(report)
	switch {
	case errors.Is(err, ErrOrder):
		problem(w, r, http.StatusConflict, err.Error())
	case err != nil:
		problem(w, r, http.StatusInternalServerError, err.Error())
	default:
		sendJSON(w, r, http.StatusOK, typeJSON, v)
	}
	return true
}

// readReport reads the body of a request.
func readReport(w http.ResponseWriter, r *http.Request) (report DockerfileReport, err error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReport))
	d.DisallowUnknownFields()
	if err = d.Decode(&report); err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return report, fmt.Errorf("the body must be one JSON object: %w", err)
	}
	if report.By == "" || report.File == "" {
		return report, errors.New(`"by" and "file" are needed: the log records who reports it, and about what`)
	}
	return report, nil
}
