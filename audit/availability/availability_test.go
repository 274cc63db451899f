package availability

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is so many seconds after the beginning.
func at(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }

// script is a log that tests write.
type script struct {
	t   *testing.T
	log *audit.Log
	dir string
}

func newScript(t *testing.T) *script {
	t.Helper()
	key, err := audit.NewKey("test/log")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, Now: func() time.Time { return zero }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &script{t: t, log: log, dir: dir}
}

func (s *script) write(list ...audit.Body) {
	s.t.Helper()
	for _, b := range list {
		if _, err := s.log.Append(s.t.Context(), b.AppendBody(nil, "edge-1")); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *script) report(from, to time.Time) Report {
	s.t.Helper()
	r, err := Read(s.t.Context(), records.Dir{FS: os.DirFS(s.dir)}, from, to)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *script) only(from, to time.Time) Upstream {
	s.t.Helper()
	r := s.report(from, to)
	if len(r.Upstreams) != 1 {
		s.t.Fatalf("%d upstreams: %+v", len(r.Upstreams), r)
	}
	return r.Upstreams[0]
}

func change(seconds float64, kind audit.Kind) *audit.UpstreamChange {
	return &audit.UpstreamChange{Time: at(seconds), Kind: kind, Server: "srv0", Address: "10.0.0.1:80"}
}

const (
	kindUp      = audit.KindUpstreamUp
	kindDown    = audit.KindUpstreamDown
	kindUnknown = audit.KindUpstreamUnknown
	kindGone    = audit.KindUpstreamGone
)

func same(a *float64, b float64) bool { return a != nil && math.Abs(*a-b) < 1e-9 }

func TestTimeIsWeighted(t *testing.T) {
	s := newScript(t)
	s.write(change(0, kindUnknown), change(10, kindUp), change(60, kindDown), change(70, kindUp), change(90, kindDown), change(95, kindUp), change(100, kindUp))
	u := s.only(zero, at(100))
	if u.Up != 75 || u.Down != 15 || u.Unknown != 10 || !same(u.Availability, 75.0/90) || math.Abs(u.Coverage-0.9) > 1e-9 {
		t.Errorf("%+v", u)
	}
	if u.Outages != 2 || u.Longest != 10 || !same(u.MTTR, 7.5) || !same(u.MTBF, 37.5) {
		t.Errorf("%+v", u)
	}
	if len(u.List) != 2 || !u.List[0].From.Equal(at(60)) || !u.List[0].To.Equal(at(70)) || u.List[1].Seconds != 5 {
		t.Errorf("outages %+v", u.List)
	}
}

func TestPeriodCutsStatesOff(t *testing.T) {
	s := newScript(t)
	s.write(change(0, kindUp), change(60, kindDown), change(120, kindUp), change(200, kindUp))
	u := s.only(at(50), at(100))
	if u.Up != 10 || u.Down != 40 || u.Outages != 1 || u.MTTR != nil || u.State != "down" || !u.Since.Equal(at(60)) {
		t.Errorf("%+v", u)
	}
	if len(u.List) != 1 || !u.List[0].To.IsZero() || u.List[0].Seconds != 40 {
		t.Errorf("an outage that is not over: %+v", u.List)
	}
	if u := s.only(at(100), at(150)); u.Outages != 0 || u.Down != 20 || u.Up != 30 || !same(u.MTTR, 20) || u.MTBF != nil {
		t.Errorf("an outage that began before: %+v", u)
	}
}

func TestNothingIsKnownAfterTheLastRecord(t *testing.T) {
	s := newScript(t)
	s.write(change(0, kindUp), change(50, kindUp))
	if u := s.only(zero, at(100)); u.Up != 50 || u.Unknown != 50 || u.Coverage != 0.5 || !same(u.Availability, 1) {
		t.Errorf("%+v", u)
	}
}

func TestRestartEndsNoOutageAndIsNotCovered(t *testing.T) {
	s := newScript(t)
	s.write(change(0, kindUp), change(10, kindDown), change(20, kindUnknown),
		&audit.LogClose{Time: at(20)}, &audit.LogOpen{Time: at(30), Clean: true},
		change(31, kindUnknown), change(32, kindDown), change(40, kindUp), change(50, kindUp))
	u := s.only(zero, at(50))
	if u.Outages != 1 || u.Down != 18 || u.Unknown != 12 || u.Longest != 30 || !same(u.MTTR, 30) {
		t.Errorf("%+v", u)
	}
}

func TestCrashEndsWhatIsKnownAtTheLastRecord(t *testing.T) {
	s := newScript(t)
	s.write(change(0, kindUp), change(10, kindUp), &audit.LogOpen{Time: at(100)}, change(101, kindUp), change(110, kindUp))
	if u := s.only(zero, at(110)); u.Up != 19 || u.Unknown != 91 {
		t.Errorf("%+v", u)
	}
}

func TestCrashEndsWhatIsKnownWhenTheProcessWasLastSeen(t *testing.T) {
	s := newScript(t)
	s.write(change(0, kindUp), change(10, kindUp), &audit.LogOpen{Time: at(100)},
		&audit.Process{Time: at(100), Kind: audit.KindProcessCrash, Last: at(90)}, change(101, kindUp), change(110, kindUp))
	if u := s.only(zero, at(110)); u.Up != 99 || u.Unknown != 11 {
		t.Errorf("%+v", u)
	}
}

func TestUpstreamsOfOtherServersAndChecksAreOthers(t *testing.T) {
	s := newScript(t)
	a, b, c := change(0, kindUp), change(0, kindDown), change(0, kindUp)
	b.Server, c.Handler, c.Check = "srv1", 2, "GET /deep"
	s.write(a, b, c, change(10, kindGone))
	r := s.report(zero, time.Time{})
	if len(r.Upstreams) != 3 || r.Upstreams[0].State != "gone" || r.Upstreams[1].Check != "GET /deep" || r.Upstreams[2].Down != 10 {
		t.Errorf("%+v", r)
	}
}

func TestRequestsAreWeighted(t *testing.T) {
	s := newScript(t)
	for i := range 5 {
		c := change(float64(i*10), kindUp)
		c.Served, c.Failed = 100, 1
		s.write(c)
	}
	if u := s.only(at(10), at(40)); u.Served != 300 || u.Failed != 3 || !same(u.RequestAvailability, 0.99) {
		t.Errorf("%+v", u)
	}
}

// TestAnyScriptAddsUp compares with a count of each second.
func TestAnyScriptAddsUp(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		a := New(at(float64(r.IntN(100))), at(float64(100+r.IntN(100))))
		want := map[audit.Kind]float64{}
		state := kindGone
		for second := range 250 {
			if r.IntN(7) == 0 || second == 249 {
				state = []audit.Kind{kindUp, kindDown, kindUnknown}[r.IntN(3)]
				if err := a.Add(framed(t, change(float64(second), state))); err != nil {
					t.Fatal(err)
				}
			}
			if a.within(at(float64(second))) {
				want[state]++
			}
		}
		rep := a.Report()
		u := rep.Upstreams[0]
		if u.Up != want[kindUp] || u.Down != want[kindDown] || u.Up+u.Down+u.Unknown != rep.To.Sub(rep.From).Seconds() {
			t.Errorf("seed %d: %+v, want %v", seed, u, want)
		}
	}
}

// framed is a record as a log has it, but for its number and checksum.
func framed(t testing.TB, b audit.Body) []byte {
	t.Helper()
	return append(append([]byte(`{"v":1,"seq":0,"pos":0,`), b.AppendBody(nil, "edge-1")...), '}')
}

func FuzzAdd(f *testing.F) {
	f.Add(framed(f, change(1, kindUp)), framed(f, &audit.LogOpen{Time: at(2)}))
	f.Add(framed(f, &audit.Process{Time: at(3), Kind: audit.KindProcessCrash, Last: at(1e6)}), framed(f, change(0, kindGone)))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a := New(at(0), at(100))
		_ = a.Add(framed(t, change(-5, kindDown)))
		for _, record := range [][]byte{one, two, one} {
			_ = a.Add(record) // what is no record is an error
		}
		for _, u := range a.Report().Upstreams {
			if u.Up < 0 || u.Down < 0 || u.Unknown < 0 || u.Up+u.Down > 100.0001 || u.Coverage > 1.000001 {
				t.Errorf("%+v", u)
			}
		}
	})
}
