package evidence

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/controls"
)

// CheckReport implements Controller: of a server of which nothing is known.
func (b *bench) CheckReport() *controls.Report {
	return controls.Run(&controls.Snapshot{Time: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}, new(controls.Settings))
}

// RunChecks implements Controller.
func (b *bench) RunChecks(context.Context) (*controls.Report, error) { return b.CheckReport(), nil }

func TestChecksAndCriteriaAreServed(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{})
	var report controls.Report
	decode(t, get(t, h, "/.soc2/v1/checks"), &report)
	if len(report.Checks) != len(controls.Checks().Checks) || report.Counts[controls.Unknown] == 0 || report.Notice == "" {
		t.Errorf("%+v", report.Counts)
	}
	var one struct{ ID, Explain, Remediation string }
	decode(t, get(t, h, "/.soc2/v1/checks/tls-001"), &one)
	if one.ID != "TLS-001" || one.Explain == "" || one.Remediation == "" {
		t.Errorf("%+v", one)
	}
	var list struct{ Criteria []controls.CriterionState }
	decode(t, get(t, h, "/.soc2/v1/criteria"), &list)
	if len(list.Criteria) != 61 || list.Criteria[0].State != controls.EvidenceNot {
		t.Errorf("%d criteria", len(list.Criteria))
	}
	for _, path := range []string{"checks/", "checks/TLS-999", "checks/run", "criteria/CC99.9", "criteria/", "checks/TLS-001/x", "check"} {
		if w := get(t, h, "/.soc2/v1/"+path); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	b.handler(Handler{}).api.Serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/.soc2/v1/checks/run", nil), "/checks/run")
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("on a site the checks can be run: status %d", w.Code)
	}
}

func TestRunningChecksNeedsPostAndAServer(t *testing.T) {
	for method, want := range map[string]int{http.MethodGet: http.StatusMethodNotAllowed, http.MethodPost: http.StatusServiceUnavailable} {
		w := httptest.NewRecorder()
		if !checking(w, httptest.NewRequestWithContext(t.Context(), method, "/", nil), "/checks/run") || w.Code != want {
			t.Errorf("%s: status %d", method, w.Code)
		}
	}
	if checking(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil), "/checks") {
		t.Error("another path is taken")
	}
}
