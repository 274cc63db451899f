package quarter_test

import (
	"testing"
	"time"
)

func TestQuarter(t *testing.T) {
	daily := 11_300
	if slow || testing.Short() {
		daily = 1_250
	}
	s := newScript(t, daily)
	begun := time.Now()
	s.play()
	t.Logf("%d records of %d requests were written in %s", len(s.facts), s.sent, time.Since(begun).Round(time.Millisecond))
}
