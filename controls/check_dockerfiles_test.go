package controls

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// TestTheNewestVerdictOfEachDockerfileCounts gives verdicts out of order, and
// more than are kept.
func TestTheNewestVerdictOfEachDockerfileCounts(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tally := NewTally(now)
	check := func(file, target, outcome string, age time.Duration, old bool) {
		tally.Happened(&audit.DockerfileCheck{Time: now.Add(-age), File: file, Target: target, Profile: "recommended", Outcome: outcome}, old)
	}
	check("Dockerfile", "app", "pass", time.Hour, false)
	check("Dockerfile", "app", "fail", 2*time.Hour, true) // read back later
	check("Dockerfile", "proxy", "fail", time.Hour, false)
	tally.ReadBack(now.Add(-24 * time.Hour))
	var s Server
	tally.Facts(&s)
	if len(s.Dockerfiles) != 2 || s.Dockerfiles[0].Outcome != "pass" || s.Dockerfiles[1].name() != "Dockerfile:proxy" {
		t.Errorf("%+v", s.Dockerfiles)
	}
	if f := Run(&Snapshot{Time: now, Server: &s}, new(Settings)).Check("CHG-008"); f.Result != Fail || f.Examined != 2 || len(f.Evidence) != 1 {
		t.Errorf("%+v", f)
	}
	for i := range maxDockerfiles {
		check(fmt.Sprintf("%d/Dockerfile", i), "", "pass", 0, false)
	}
	tally.Facts(&s)
	if len(s.Dockerfiles) != maxDockerfiles || s.Dockerfiles[len(s.Dockerfiles)-1].File == "Dockerfile" {
		t.Errorf("%d are kept, the last is %+v", len(s.Dockerfiles), s.Dockerfiles[len(s.Dockerfiles)-1])
	}
}
