package lockout

import (
	"fmt"
	"testing"
	"time"
)

var policy = Policy{Failures: 3, NetworkFailures: 6, Window: time.Minute, Duration: 10 * time.Minute, Longest: 30 * time.Minute}

// desk is a table with a clock and the events that it told.
type desk struct {
	*Table
	t      *testing.T
	now    time.Time
	events []string
}

func newDesk(t *testing.T, entries int) *desk {
	d := &desk{t: t, now: time.Unix(1_800_000_000, 0)}
	d.Table = New(entries, func() time.Time { return d.now }, func(ev Event) {
		d.events = append(d.events, fmt.Sprintf("%s %s %s %d", ev.Action, ev.What, ev.Subject, ev.Attempts))
	})
	return d
}

func (d *desk) fail(n int, principal, network string) {
	for range n {
		d.Failed(policy, "r", principal, network)
	}
}

func (d *desk) locked(principal, network string, want time.Duration) {
	d.t.Helper()
	until := d.Locked("r", principal, network)
	if want == 0 && !until.IsZero() || want != 0 && until.Sub(d.now) != want {
		d.t.Fatalf("%s at %s is locked out until %v, now %v, want %v", principal, network, until, d.now, want)
	}
}

func (d *desk) told(want ...string) {
	d.t.Helper()
	if fmt.Sprint(d.events) != fmt.Sprint(want) {
		d.t.Fatalf("told %q, want %q", d.events, want)
	}
	d.events = nil
}

func TestAPrincipalIsLockedOutTwiceAsLongEachTime(t *testing.T) {
	d := newDesk(t, 64)
	d.fail(2, "alice", "n1")
	d.locked("alice", "n1", 0)
	d.fail(1, "alice", "n2")
	d.told("lock principal alice 3")
	d.locked("alice", "n9", 10*time.Minute)
	d.locked("bob", "n9", 0)
	d.now = d.now.Add(10 * time.Minute)
	d.locked("alice", "n9", 0)
	d.told("expire principal alice 3")
	d.fail(3, "alice", "n3")
	d.locked("alice", "n9", 20*time.Minute)
	d.told("extend principal alice 3")
	d.now = d.now.Add(20 * time.Minute)
	d.fail(3, "alice", "n4")
	d.locked("alice", "n9", 30*time.Minute)
	d.now = d.now.Add(30*time.Hour + 1)
	d.events = nil
	d.fail(3, "alice", "n5")
	d.told("expire principal alice 3", "lock principal alice 3")
	d.locked("alice", "n9", 10*time.Minute)
}

func TestFailuresThatAreFarApartDoNotCount(t *testing.T) {
	d := newDesk(t, 64)
	for range 20 {
		d.fail(1, "alice", "n1")
		d.now = d.now.Add(61 * time.Second)
	}
	d.locked("alice", "n1", 0)
	d.told()
}

func TestSuccessForgetsThePrincipalsFailuresAndNotTheNetworks(t *testing.T) {
	d := newDesk(t, 64)
	for range 2 {
		d.fail(2, "alice", "n1")
		d.Succeeded("r", "alice", "n1")
	}
	d.locked("alice", "n1", 0)
	d.fail(2, "bob", "n1")
	d.told("lock network n1 6")
	d.locked("carol", "n1", 10*time.Minute)
}

func TestStrangersCannotLockSomebodyOutOfTheirOwnDesk(t *testing.T) {
	d := newDesk(t, 64)
	d.Succeeded("r", "alice", "home")
	d.fail(3, "alice", "n1")
	d.locked("alice", "n1", 10*time.Minute)
	d.locked("alice", "home", 0)
	d.fail(3, "alice", "home")
	d.locked("alice", "home", 10*time.Minute)
	if n := d.Unlock(Principal, "alice"); n != 2 {
		t.Errorf("%d locks ended", n)
	}
	d.locked("alice", "home", 0)
	d.locked("alice", "n1", 0)
	d.now = d.now.Add(31 * 24 * time.Hour)
	if d.Trusted("r", "alice", "home") {
		t.Error("a login of a month ago counts")
	}
}

// TestWhoWorksAtItsDeskDoesNotForgetOthersGuesses holds that logins at the own
// desk do not give those who guess elsewhere any more tries.
func TestWhoWorksAtItsDeskDoesNotForgetOthersGuesses(t *testing.T) {
	d := newDesk(t, 64)
	d.Succeeded("r", "alice", "home")
	for i := range 3 {
		d.fail(1, "alice", fmt.Sprint("n", i))
		d.Succeeded("r", "alice", "home")
	}
	d.told("lock principal alice 3")
	d.locked("alice", "n9", 10*time.Minute)
	d.locked("alice", "home", 0)
	d.fail(2, "alice", "home")
	d.Succeeded("r", "alice", "home")
	d.fail(2, "alice", "home")
	d.locked("alice", "home", 0)
}

// TestOneGuesserDoesNotLockOutAllWhoShareAnAddress holds that whoever lately
// logged in from a network has one try there while it is locked out.
func TestOneGuesserDoesNotLockOutAllWhoShareAnAddress(t *testing.T) {
	d := newDesk(t, 64)
	d.Succeeded("r", "alice", "office")
	d.fail(6, "", "office")
	d.told("lock network office 6")
	d.locked("bob", "office", 10*time.Minute)
	d.locked("", "office", 10*time.Minute)
	d.locked("alice", "office", 0)
	d.fail(1, "alice", "office")
	d.locked("alice", "office", 10*time.Minute)
	d.Succeeded("r", "alice", "office")
	d.locked("alice", "office", 0)
	d.Unlock(Network, "office")
	d.locked("bob", "office", 0)
}

func TestAFloodOfNamesNeitherGrowsTheTableNorEndsALock(t *testing.T) {
	d := newDesk(t, 256)
	d.fail(3, "alice", "evil")
	for i := range 20_000 {
		d.Failed(policy, "r", fmt.Sprint("made-up-", i), fmt.Sprint("net-", i%9_000))
	}
	d.locked("alice", "n9", 10*time.Minute)
	if s := d.State(); s.Entries > 256 || len(d.slots) > 256 || len(d.index) > 256 {
		t.Errorf("%+v, %d slots", s, len(d.slots))
	}
}

// TestLoginsFromManyNetworksDoNotForgetGuesses has an attacker with an account and
// more networks than the table has entries.
func TestLoginsFromManyNetworksDoNotForgetGuesses(t *testing.T) {
	d := newDesk(t, 256)
	for round := range 40 {
		d.Failed(policy, "r", "alice", fmt.Sprint("guess-", round))
		if !d.Locked("r", "alice", "elsewhere").IsZero() {
			return
		}
		for i := range 400 {
			d.Succeeded("r", "mallory", fmt.Sprint("net-", round, "-", i))
		}
	}
	t.Errorf("40 guesses, and alice is not locked: %+v", d.State())
}
