package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// TestCountsAreBoundedUnderManyPrefixes has 100,000 networks, of both families.
func TestCountsAreBoundedUnderManyPrefixes(t *testing.T) {
	c := &Counts{}
	const n = 100_000
	for i := range n {
		addr := netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 7})
		if i%2 == 0 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 16), byte(i >> 8), byte(i), 0, 1})
		}
		c.Add(fmt.Sprint(":", i%3000), TLS, HandshakeCutOff, addr, 0, 1, "EOF")
	}
	if len(c.tallies) > MaxKeys+int(reasons)*int(layers) {
		t.Errorf("there are %d keys", len(c.tallies))
	}
	list := c.Take(true)
	total, with := int64(0), 0
	for _, r := range list {
		total += r.Count
		if r.Prefix != "" {
			with++
		}
	}
	if total != n || with != MaxPrefixes || len(list) > MaxKeys+1 {
		t.Errorf("%d were counted in %d records, %d with a prefix", total, len(list), with)
	}
	if got := c.Totals(); len(got) != 1 || got[0] != (Total{TLS, HandshakeCutOff, n}) {
		t.Errorf("the totals are %v", got)
	}
	c.Add(":1", TLS, HandshakeCutOff, netip.MustParseAddr("192.0.2.9"), 0, 1, "")
	if got := c.Take(true); len(got) != 1 || got[0].Prefix != "192.0.2.0/24" {
		t.Errorf("the next period has %+v", got)
	}
}

// TestPrefixesHideHosts has both families, and addresses that stand for others.
func TestPrefixesHideHosts(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.77":           "192.0.2.0/24",
		"::ffff:192.0.2.77":    "192.0.2.0/24",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1::/48",
		"fe80::1%eth0":         "fe80::/48",
		"2001:db8:1:ffff::":    "2001:db8:1::/48",
	} {
		if got := network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s is counted under %s, want %s", addr, got, want)
		}
	}
	if network(netip.Addr{}).IsValid() {
		t.Error("no address has a network")
	}
}

// TestTalliesHaveTheirFirstAndLastTime has a clock that goes back.
func TestTalliesHaveTheirFirstAndLastTime(t *testing.T) {
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	c := &Counts{Now: func() time.Time { return at }}
	start := at
	for _, step := range []time.Duration{5 * time.Second, -7 * time.Second, time.Second} {
		c.Add(":443", TLS, Other, netip.Addr{}, 0, 2, "a\x00\n\u202eb"+strings.Repeat("x", 1000))
		at = at.Add(step)
	}
	list := c.Take(false)
	if len(list) != 1 {
		t.Fatalf("%d records", len(list))
	}
	r := list[0]
	if r.Count != 6 || !r.From.Equal(start.Add(-2*time.Second)) || !r.To.Equal(start.Add(5*time.Second)) || !r.Time.Equal(at) {
		t.Errorf("the record is %+v", r)
	}
	if len(r.Example) > maxExample+3 || strings.ContainsFunc(r.Example, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Errorf("the example is %q", r.Example)
	}
}

// TestReturnedRecordsAreAddedAgain with what was counted in between.
func TestReturnedRecordsAreAddedAgain(t *testing.T) {
	c := &Counts{}
	for l := range layers {
		for r := range reasons {
			if r == Malformed && l == TLS || r == MalformedTLS && l != TLS {
				continue // they share a name
			}
			c.Add(":443", l, r, netip.MustParseAddr("192.0.2.1"), int(r), 3, "x")
		}
	}
	before := sorted(c.Take(false))
	c.Return(slices.Clone(before))
	c.Return(slices.Clone(before))
	after := sorted(c.Take(false))
	if len(after) != len(before) {
		t.Fatalf("%d records became %d", len(before), len(after))
	}
	for i := range after {
		if before[i].Count *= 2; before[i].Count != after[i].Count || before[i].Reason != after[i].Reason || before[i].Prefix != after[i].Prefix {
			t.Errorf("%+v became %+v", before[i], after[i])
		}
	}
}

func sorted(list []audit.ProtocolError) []audit.ProtocolError {
	slices.SortFunc(list, func(a, b audit.ProtocolError) int {
		return strings.Compare(a.Layer+a.Reason, b.Layer+b.Reason)
	})
	return list
}

// TestTellersWriteWhatIsCounted has a log that is not ready at first, that fails
// in the middle, and that is closed.
func TestTellersWriteWhatIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Counts{}
		var mu sync.Mutex // guards the three
		var ready error
		var written []audit.ProtocolError
		room := 100
		set := func(err error, left int) {
			mu.Lock()
			defer mu.Unlock()
			ready, room = err, left
		}
		book := Book{
			Ready: func() error {
				mu.Lock()
				defer mu.Unlock()
				return ready
			},
			Write: func(r audit.Body) error {
				mu.Lock()
				defer mu.Unlock()
				if room == 0 {
					return errors.New("full")
				}
				room--
				written = append(written, *r.(*audit.ProtocolError))
				return nil
			},
		}
		teller := Tell(c, book)
		count := func(n int64) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			var got int64
			for _, r := range written {
				got += r.Count
			}
			if n == 0 && len(written) > 0 {
				t.Error("there are records of nothing")
			}
			if got != n {
				t.Errorf("%d are written, want %d", got, n)
			}
		}
		add := func() {
			for i := range 5 {
				c.Add(":443", HTTP1, Reason(i), netip.Addr{}, 0, 10, "")
			}
		}
		time.Sleep(2 * TellEvery)
		count(0)
		add()
		set(errors.New("not yet"), 100)
		time.Sleep(TellEvery)
		count(0)
		set(nil, 100)
		time.Sleep(TellEvery)
		count(50)
		add()
		set(nil, 2)
		time.Sleep(TellEvery)
		count(70)
		set(nil, 100)
		time.Sleep(TellEvery)
		count(100)
		add()
		teller.Stop()
		count(150)
		teller.Stop()
		add()
		Tell(c, book).Stop()
		count(200)
	})
}

// TestReasonsHaveNames that are unique within a layer.
func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]int{}
	for r := range reasons {
		if r.String() == "" {
			t.Errorf("reason %d has no name", r)
		}
		seen[r.String()]++
	}
	if len(seen) != int(reasons)-1 || seen["malformed"] != 2 {
		t.Errorf("names: %v", seen)
	}
}
