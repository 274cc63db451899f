package upstreams

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return zero.Add(d) }

// bench is a table whose changes are written at once.
type bench struct {
	t *testing.T
	table
	dynamicServers map[string]bool
	fails          bool // the log takes nothing
	log            []audit.UpstreamChange
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return &bench{t: t, table: table{window: time.Minute}}
}

func (b *bench) see(d time.Duration, fresh bool, seen ...observation) {
	b.take(b.observe(at(d), seen, func(s string) bool { return b.dynamicServers[s] }, fresh))
}

func (b *bench) take(list []*entryChange) {
	for _, c := range list {
		if !b.fails {
			b.log = append(b.log, c.record)
			c.written()
		}
	}
}

// expect compares the records since it was called last.
func (b *bench) expect(want ...string) {
	b.t.Helper()
	var got []string
	for _, r := range b.log {
		got = append(got, fmt.Sprintf("%s<%s %s %s at %s", r.Kind, r.Before, r.Cause, r.Lasted, r.Time.Sub(zero)))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("records\n%q\nwant\n%q", got, want)
	}
	b.log = nil
}

func (b *bench) request(d time.Duration, status int, end audit.End) {
	b.requestTo("srv0", "10.0.0.1:80", d, status, end)
}

func (b *bench) requestTo(server, address string, d time.Duration, status int, end audit.End) {
	ev := audit.Event{Start: at(d - time.Second), Duration: time.Second, Server: server, End: end}
	ev.Upstream.Address, ev.Upstream.Status = address, status
	b.counters.count(&ev)
}

var theID = id{endpoint: endpoint{"srv0", "10.0.0.1:80"}}

// checked is an upstream with an active health check.
func checked(healthy bool, settled time.Duration) observation {
	return observation{id: theID, active: true, healthy: healthy, cause: causeActive, settled: at(settled)}
}

func passive(healthy bool) observation {
	return observation{id: theID, healthy: healthy, cause: causePassive, fails: 1}
}

func TestActiveCheckTellsTheState(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(true, 5*time.Second))
	b.see(4*time.Second, false, checked(true, 5*time.Second))
	b.expect("upstream.unknown< start 0s at 0s") // Caddy takes it for healthy, but has not looked
	b.see(5*time.Second, false, checked(true, 5*time.Second))
	b.see(20*time.Second, false, checked(false, 5*time.Second))
	b.see(30*time.Second, false, checked(true, 5*time.Second))
	b.expect("upstream.up<unknown active 5s at 5s", "upstream.down<up active 15s at 20s", "upstream.up<down active 10s at 30s")
}

func TestReloadEndsNoOutage(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(true, 0))
	b.see(10*time.Second, false, checked(false, 0))
	b.log = nil
	b.see(20*time.Second, true, checked(true, 25*time.Second)) // new state in Caddy: healthy
	b.see(24*time.Second, false, checked(true, 25*time.Second))
	b.see(24500*time.Millisecond, false, checked(false, 25*time.Second)) // it has looked
	b.see(30*time.Second, false, checked(false, 25*time.Second))
	b.expect()
	b.see(40*time.Second, false, checked(true, 25*time.Second))
	b.expect("upstream.up<down active 30s at 40s")
}

func TestOutageThatEndedDuringAReloadIsEnded(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(false, 0))
	b.see(10*time.Second, true, checked(true, 15*time.Second))
	b.see(15*time.Second, false, checked(true, 15*time.Second))
	b.expect("upstream.down< active 0s at 0s", "upstream.up<down active 15s at 15s")
}

func TestAnswerAfterAReloadEndsAnOutageEarlier(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(false, 0))
	b.see(10*time.Second, true, checked(true, 60*time.Second))
	b.request(12*time.Second, 200, audit.EndComplete)
	b.see(13*time.Second, false, checked(true, 60*time.Second))
	b.expect("upstream.down< active 0s at 0s", "upstream.up<down traffic 12s at 12s")
}

func TestTrafficTellsTheStateWhereNothingElseDoes(t *testing.T) {
	b := newBench(t)
	b.see(0, true, passive(true))
	b.request(10*time.Second, 200, audit.EndComplete)
	b.see(10500*time.Millisecond, false, passive(true))
	b.request(20*time.Second, 0, audit.EndComplete) // 502 of the proxy's own
	b.see(20500*time.Millisecond, false, passive(true))
	b.request(30*time.Second, 500, audit.EndComplete) // an answer, although one that failed
	b.see(30500*time.Millisecond, false, passive(true))
	b.expect("upstream.unknown< start 0s at 0s", "upstream.up<unknown traffic 10s at 10s",
		"upstream.down<up traffic 10s at 20s", "upstream.up<down traffic 10s at 30s")
	b.see(89*time.Second, false, passive(true))
	b.expect()
	b.see(91*time.Second, false, passive(true)) // nobody asked for a minute
	b.expect("upstream.unknown<up traffic 1m0s at 1m30s")
}

func TestClientThatLeftShowsNothing(t *testing.T) {
	b := newBench(t)
	b.see(0, true, passive(true))
	b.request(time.Second, 0, audit.EndAborted)
	b.see(2*time.Second, false, passive(true))
	b.expect("upstream.unknown< start 0s at 0s")
	if c := b.counters.of(theID.endpoint, false); c.served.Load() != 1 || c.failed.Load() != 0 {
		t.Errorf("%d served, %d failed", c.served.Load(), c.failed.Load())
	}
}

// TestAnswerOfAnUpstreamBeforeIsNotThatOfTheLast: with forward_auth a request goes
// to two upstreams.
func TestAnswerOfAnUpstreamBeforeIsNotThatOfTheLast(t *testing.T) {
	var c counters
	ev := audit.Event{Start: zero, Server: "srv0", Status: 502, Error: "abc"}
	ev.Upstream.Address, ev.Upstream.Status = "10.0.0.1:80", 200
	c.count(&ev)
	n := c.of(theID.endpoint, false)
	if _, answered := n.heard(); answered || n.failed.Load() != 1 {
		t.Errorf("answered %v, %d failed", answered, n.failed.Load())
	}
	ev.Error = "" // the application's own 502
	ev.Upstream.Status = 502
	c.count(&ev)
	if _, answered := n.heard(); !answered || n.failed.Load() != 2 {
		t.Errorf("answered %v, %d failed", answered, n.failed.Load())
	}
}

// TestForgottenFailureIsNoRecovery: after fail_duration Caddy takes the upstream
// for healthy again, which nothing shows.
func TestForgottenFailureIsNoRecovery(t *testing.T) {
	b := newBench(t)
	b.request(time.Second, 200, audit.EndComplete)
	b.see(2*time.Second, true, passive(true))
	b.see(10*time.Second, false, passive(false))
	b.see(20*time.Second, false, passive(true))
	b.see(69*time.Second, false, passive(true))
	b.expect("upstream.up< traffic 0s at 2s", "upstream.down<up passive 8s at 10s")
	b.see(71*time.Second, false, passive(true))
	b.expect("upstream.unknown<down traffic 1m0s at 1m10s")
}

func TestUpstreamThatIsNoLongerConfiguredIsGone(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(true, 0))
	b.request(time.Second, 200, audit.EndComplete)
	b.see(5*time.Second, true)
	b.see(6*time.Second, true, checked(true, 0))
	b.expect("upstream.up< active 0s at 0s", "upstream.gone<up config 5s at 5s", "upstream.up< active 0s at 6s")
	if n := b.counters.of(theID.endpoint, false); n.served.Load() != 0 {
		t.Error("the requests of an upstream that is gone are counted again")
	}
}

func TestLaterConfigurationsUpstreamBeginsByIt(t *testing.T) {
	b := newBench(t)
	b.see(0, true)
	b.see(time.Second, true, passive(true))
	b.expect("upstream.unknown< config 0s at 1s")
}

func TestRequestsAreCountedOnceAndAddUp(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(true, 0))
	second := checked(true, 0)
	second.id.handler = 2
	var served, failed int64
	for i := range 60 {
		d := time.Duration(i) * time.Minute
		b.request(d, []int{200, 200, 503, 0}[i%4], audit.EndComplete)
		b.see(d, false, checked(i%7 != 0, 0), second)
	}
	b.take(b.end(at(time.Hour), causeStop))
	for _, r := range b.log {
		served, failed = served+r.Served, failed+r.Failed
		if r.Handler == 2 && r.Served != 0 {
			t.Error("a request is counted for two checks of an upstream")
		}
	}
	if served != 60 || failed != 30 {
		t.Errorf("%d served, %d failed; want 60 and 30", served, failed)
	}
}

func TestStateThatGoesOnIsRepeated(t *testing.T) {
	b := newBench(t)
	for d := time.Duration(0); d <= 2*time.Hour; d += time.Minute {
		b.see(d, d == 0, checked(true, 0))
	}
	b.expect("upstream.up< active 0s at 0s", "upstream.up<up interval 1h0m0s at 1h0m0s", "upstream.up<up interval 2h0m0s at 2h0m0s")
	b.request(2*time.Hour, 200, audit.EndComplete)
	b.see(2*time.Hour+11*time.Minute, false, checked(true, 0))
	b.expect("upstream.up<up interval 2h11m0s at 2h11m0s")
}

func TestWhatTheLogDidNotTakeIsWrittenLater(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(true, 0))
	b.log, b.fails = nil, true
	b.see(10*time.Second, false, checked(false, 0))
	b.request(11*time.Second, 200, audit.EndComplete)
	b.see(20*time.Second, false, checked(false, 0))
	b.fails = false
	b.see(30*time.Second, false, checked(false, 0))
	if len(b.log) != 1 || b.log[0].Served != 1 {
		t.Errorf("%+v", b.log)
	}
	b.expect("upstream.down<up active 20s at 30s")
}

func TestAnotherLogGetsEveryState(t *testing.T) {
	b := newBench(t)
	b.see(0, true, checked(false, 0))
	b.log = nil
	b.retell()
	b.see(10*time.Second, false, checked(false, 0))
	b.see(20*time.Second, false, checked(false, 0))
	b.expect("upstream.down<down start 10s at 10s")
}

func TestDynamicUpstreamIsSeenByItsRequestsAndBounded(t *testing.T) {
	b := newBench(t)
	b.dynamicServers = map[string]bool{"srv0": true}
	for i := range maxEndpoints + 100 {
		b.requestTo("srv0", fmt.Sprintf("10.1.%d.%d:80", i/256, i%256), time.Second, 200, audit.EndComplete)
	}
	b.requestTo("srv1", "10.9.9.9:80", time.Second, 200, audit.EndComplete) // of an old configuration
	b.see(2*time.Second, true)
	if len(b.log) != maxDynamic || len(b.entries) != maxDynamic || b.counters.missed.Load() != 101 {
		t.Errorf("%d records, %d entries, %d not counted", len(b.log), len(b.entries), b.counters.missed.Load())
	}
	b.see(dynamicIdle+time.Minute, false)
	if len(b.entries) != 0 || len(b.counters.all()) != 0 {
		t.Errorf("%d entries and %d counters are kept", len(b.entries), len(b.counters.all()))
	}
	b.see(dynamicIdle+2*time.Minute, true, checked(true, 0))
	b.request(dynamicIdle+3*time.Minute, 200, audit.EndComplete)
	if b.counters.of(theID.endpoint, false).served.Load() != 1 {
		t.Error("what the configuration names is not counted")
	}
}

func BenchmarkCount(b *testing.B) {
	var c counters
	c.of(theID.endpoint, true)
	ev := audit.Event{Start: zero, Server: "srv0"}
	ev.Upstream.Address, ev.Upstream.Status = "10.0.0.1:80", 200
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			c.count(&ev)
		}
	})
}
