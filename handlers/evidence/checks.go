package evidence

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/controls"
)

// Controller makes the checks of controls. The soc2 app is one.
type Controller interface {
	// CheckReport is the report of the last run, or nil before the first.
	CheckReport() *controls.Report
	// RunChecks makes the checks now.
	RunChecks(ctx context.Context) (*controls.Report, error)
}

// checksWait is how long a run that was asked for may take.
const checksWait = 30 * time.Second

const noReport = "The checks were not made yet: try again in a moment."

// controls answers requests for what the checks found. It reports false for
// other paths.
func (a *API) controls(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	c, ok := src.(Controller)
	if !ok {
		return false
	}
	kind, id, one := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if kind != "checks" && kind != "criteria" {
		return a.findings(w, r, src, path)
	}
	report := c.CheckReport()
	switch {
	case report == nil:
		problem(w, r, http.StatusServiceUnavailable, noReport)
	case kind == "checks" && !one:
		sendJSON(w, r, http.StatusOK, typeJSON, report)
	case kind == "checks":
		d := controls.Checks().Check(id)
		if d == nil {
			notFound(w, r)
			return true
		}
		sendJSON(w, r, http.StatusOK, typeJSON, struct {
			*controls.Finding
			Explain string    `json:"explain"`
			Reads   []string  `json:"reads"`
			At      time.Time `json:"evaluated_at"`
			Config  string    `json:"config_sha256,omitempty"`
		}{report.Check(d.ID), d.Explain, d.Reads, report.Time, report.Config})
	case !one:
		sendJSON(w, r, http.StatusOK, typeJSON, struct {
			Notice   string                    `json:"notice"`
			Basis    string                    `json:"basis"`
			Time     time.Time                 `json:"evaluated_at"`
			Criteria []controls.CriterionState `json:"criteria"`
		}{controls.Notice, controls.Criteria().Basis, report.Time, controls.Criteria().States(report)})
	default:
		for _, s := range controls.Criteria().States(report) {
			if strings.EqualFold(s.ID, id) {
				sendJSON(w, r, http.StatusOK, typeJSON, s)
				return true
			}
		}
		notFound(w, r)
	}
	return true
}

// checking makes the checks for a request of the admin API. It reports false for
// other paths.
func checking(w http.ResponseWriter, r *http.Request, path string) bool {
	if path != "/checks/run" {
		return false
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		problem(w, r, http.StatusMethodNotAllowed, "This makes the checks: use POST.")
		return true
	}
	src, err := activeSource()
	c, ok := src.(Controller)
	if err != nil || !ok {
		problem(w, r, http.StatusServiceUnavailable, "There are no checks: the app soc2 is not configured or did not start.")
		return true
	}
	ctx, cancel := context.WithTimeout(r.Context(), checksWait)
	defer cancel()
	report, err := c.RunChecks(ctx)
	switch {
	case err != nil:
		problem(w, r, http.StatusServiceUnavailable, "The checks could not be made: "+err.Error()+".")
	case report == nil:
		problem(w, r, http.StatusServiceUnavailable, noReport)
	default:
		sendJSON(w, r, http.StatusOK, typeJSON, report)
	}
	return true
}
