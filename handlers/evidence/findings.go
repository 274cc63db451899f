package evidence

import (
	"net/http"

	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
)

// Decider knows what persons decided about findings. The soc2 app is one.
type Decider interface {
	// Findings are the checks that fail or are unknown, or nil before the first
	// run.
	Findings() *checks.FindingList
	// Exceptions are the risks that records of the log accept.
	Exceptions() *checks.ExceptionList
}

// findings answers requests for findings and accepted risks. It reports false for
// other paths. What changes them is on the admin API alone.
func (a *API) findings(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	d, ok := src.(Decider)
	if !ok {
		return false
	}
	switch path {
	case "/findings":
		if list := d.Findings(); list != nil {
			sendJSON(w, r, http.StatusOK, typeJSON, list)
		} else {
			problem(w, r, http.StatusServiceUnavailable, noReport)
		}
	case "/exceptions":
		sendJSON(w, r, http.StatusOK, typeJSON, d.Exceptions())
	default:
		return false
	}
	return true
}
