package evidence

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
)

// payload is what somebody writes who hopes that it is not shown as text.
const payload = `<script>alert(1)</script>`

// Findings implements Decider.
func (b *bench) Findings() *checks.FindingList {
	report := b.CheckReport()
	return &checks.FindingList{Notice: controls.Notice, Time: report.Time, Findings: controls.Cases(report, []controls.Review{
		{Time: report.Time, Kind: "triage", Subject: "TLS-001", Verdict: "benign", Owner: payload, Reason: payload, Until: report.Time.Add(time.Hour), Record: 7},
	})}
}

// Exceptions implements Decider.
func (b *bench) Exceptions() *checks.ExceptionList {
	now := b.CheckReport().Time
	tally := controls.NewTally(now)
	for seq, until := range map[int64]time.Time{3: now.Add(time.Hour), 5: now.Add(-time.Hour)} {
		tally.Decided(seq, &audit.Review{
			Time: now, Kind: audit.KindReviewException, Subject: "UPS-004", Verdict: controls.VerdictAccepted, Owner: "o", Approver: "a", Reason: payload, Until: until,
		}, true)
	}
	tally.Decided(6, &audit.Review{Time: now, Kind: audit.KindReviewException, Verdict: controls.VerdictWithdrawn, Seq: 3, Reason: payload}, true)
	return &checks.ExceptionList{Notice: controls.Notice, Time: now, Exceptions: tally.Accepted(now)}
}

// TestFindingsAndExceptionsAreServedToViewers and cannot be changed on a site.
func TestFindingsAndExceptionsAreServedToViewers(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{Viewers: []string{"role:viewer"}})
	for _, path := range []string{"findings", "exceptions"} {
		w, err := do(h, request{path: "/.soc2/v1/" + path, user: "v", roles: "viewer"})
		if err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d, %v", path, w.Code, err)
		}
		secured(t, w)
		if body := w.Body.String(); strings.Contains(body, "<script") || !strings.Contains(body, `\u003cscript`) {
			t.Errorf("%s: %.300s", path, body)
		}
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut} {
			w := httptest.NewRecorder()
			h.api.Serve(w, httptest.NewRequestWithContext(t.Context(), method, "/.soc2/v1/"+path, strings.NewReader("{}")), "/"+path)
			if w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s on a site: %d", method, path, w.Code)
			}
		}
	}
	for _, path := range []string{"findings/", "findings/TLS-001", "findings/TLS-001/triage", "exceptions/3", "drills"} {
		if w, err := do(h, request{path: "/.soc2/v1/" + path, user: "v", roles: "viewer"}); err != nil || w.Code != http.StatusForbidden {
			t.Errorf("%s: %d, %v", path, w.Code, err)
		}
	}
}
