package evidence

import (
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/availability"
)

func TestUpstreamsAreReportedFromTheLog(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{})
	now := time.Now()
	for i, kind := range []audit.Kind{audit.KindUpstreamUp, audit.KindUpstreamDown, audit.KindUpstreamUp, audit.KindUpstreamUp} {
		r := audit.UpstreamChange{Time: now.Add(time.Duration(i-3) * time.Minute), Kind: kind, Server: "srv0", Address: "10.0.0.1:80", Served: 10, Failed: 1}
		if _, err := b.log.Append(t.Context(), r.AppendBody(nil, "edge-1")); err != nil {
			t.Fatal(err)
		}
	}
	var r availability.Report
	w := get(t, h, "/.soc2/v1/upstreams?from="+now.Add(-3*time.Minute).UTC().Format(time.RFC3339Nano)+"&to="+now.UTC().Format(time.RFC3339Nano))
	secured(t, w)
	decode(t, w, &r)
	if len(r.Upstreams) != 1 {
		t.Fatalf("status %d, upstreams %+v", w.Code, r.Upstreams)
	}
	u := r.Upstreams[0]
	if u.Up != 120 || u.Down != 60 || u.Outages != 1 || *u.MTTR != 60 || u.Served != 30 || u.Failed != 3 || u.State != "up" {
		t.Errorf("%+v", u)
	}
}

func TestUpstreamsRefuseQueriesThatTheyDoNotKnow(t *testing.T) {
	h := newBench(t).handler(Handler{})
	for _, query := range []string{"from=yesterday", "form=2026-01-01T00:00:00Z", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from=", "%zz", "to=0001-01-01T00:00:00Z"} {
		isProblem(t, get(t, h, "/.soc2/v1/upstreams?"+query), 400)
	}
}
