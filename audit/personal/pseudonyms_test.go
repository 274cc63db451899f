package personal

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

func (b *bench) pseudonym(p *Pseudonyms, member, value string, t time.Time) string {
	b.Helper()
	s, err := p.Pseudonym(member, value, t)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func TestPseudonymIsStableWithinAPeriodOnly(t *testing.T) {
	for _, unit := range []Unit{Day, Week, Month, Quarter} {
		b := newBench(t)
		p := b.pseudonyms(unit)
		period, err := unit.At(b.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		one := b.pseudonym(p, User, "alice", period.From)
		if !regexp.MustCompile(`^p:` + period.Name + `:[a-z2-7]{26}$`).MatchString(one) {
			t.Errorf("%s: form %q", unit, one)
		}
		if b.pseudonym(p, User, "alice", period.To.Add(-1)) != one {
			t.Errorf("%s: it changes within the period", unit)
		}
		before, after := b.pseudonym(p, User, "alice", period.From.Add(-1)), b.pseudonym(p, User, "alice", period.To)
		if before[len(before)-26:] == one[len(one)-26:] || after[len(after)-26:] == one[len(one)-26:] {
			t.Errorf("%s: it is the same in another period", unit)
		}
		if b.pseudonym(p, User, "bob", period.From) == one || b.pseudonym(p, ClientIP, "alice", period.From) == one {
			t.Errorf("%s: another value or member has it", unit)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if again := b.pseudonyms(unit); b.pseudonym(again, User, "alice", period.From) != one {
			t.Errorf("%s: it changes with a restart", unit)
		}
		for _, name := range b.files("pseudonyms/*") {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", name, info.Mode(), err)
			}
		}
	}
}

func TestSpellingsOfAnAddressShareAPseudonym(t *testing.T) {
	b := newBench(t)
	p := b.pseudonyms("")
	now := b.clock.now()
	for one, others := range map[string][]string{
		"192.0.2.7":   {"::ffff:192.0.2.7", "192.0.2.7:80", "[::ffff:192.0.2.7]:1"},
		"2001:db8::1": {"2001:0db8:0:0::1", "[2001:db8::1]:443", "2001:db8::1%eth0"},
	} {
		for _, other := range others {
			if b.pseudonym(p, Peer, one, now) != b.pseudonym(p, Peer, other, now) {
				t.Errorf("%s and %s differ", one, other)
			}
		}
	}
	if b.pseudonym(p, Peer, "/run/a.sock", now) == b.pseudonym(p, Peer, "/run/b.sock", now) {
		t.Error("what is no address has one pseudonym")
	}
	if s := b.pseudonym(p, User, "", now); s != "" {
		t.Errorf("nobody has %q", s)
	}
}

func TestLookupFindsWhatWasRecorded(t *testing.T) {
	b := newBench(t)
	p := b.pseudonyms(Month)
	want := b.pseudonym(p, ClientIP, "192.0.2.7", b.clock.now())
	for _, look := range []func(string, string, string) (string, error){p.Lookup, func(period, member, value string) (string, error) {
		return Lookup(durable.OS{}, b.dir, period, member, value)
	}} {
		if got, err := look("2026-11", ClientIP, "192.0.2.7"); got != want || err != nil {
			t.Errorf("%s, %v", got, err)
		}
		if _, err := look("2026-10", ClientIP, "192.0.2.7"); !errors.Is(err, ErrNoKey) {
			t.Errorf("a period without records: %v", err)
		}
		if _, err := look("2026-11", "request.path", "/"); err == nil {
			t.Error("a member without pseudonyms has one")
		}
		for _, bad := range []string{"", "2026", "2026-13", "2026-Q5", "2026-Q0", "2026-W54", "../x", "2026-11-31", "2026-W1"} {
			if _, err := look(bad, ClientIP, "x"); err == nil || errors.Is(err, ErrNoKey) {
				t.Errorf("period %q: %v", bad, err)
			}
		}
	}
	if len(b.files("pseudonyms/*")) != 1 {
		t.Error("looking up made a key")
	}
}

func TestDestroyedPeriodStaysDestroyed(t *testing.T) {
	b := newBench(t)
	p := b.pseudonyms(Day)
	then := b.clock.now()
	b.pseudonym(p, User, "alice", then)
	if _, err := p.Destroy("2026-11-21"); err == nil || !strings.Contains(err.Error(), "not over") {
		t.Errorf("the key in use: %v", err)
	}
	b.clock.add(48 * time.Hour)
	if _, err := p.Destroy("2026-11-20"); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key that never was: %v", err)
	}
	for range 2 { // it can be repeated
		if e, err := p.Destroy("2026-11-21"); err != nil || e.Keys != 1 || e.What != ErasedPeriod || e.Period != "2026-11-21" {
			t.Errorf("%+v, %v", e, err)
		}
	}
	for range 2 {
		if _, err := p.Pseudonym(User, "alice", then); !errors.Is(err, ErrDestroyed) {
			t.Errorf("a late record gets a pseudonym: %v", err)
		}
		if _, err := p.Lookup("2026-11-21", User, "alice"); !errors.Is(err, ErrDestroyed) {
			t.Errorf("%v", err)
		}
		if len(b.files("pseudonyms/*.key")) != 0 {
			t.Error("the key is there")
		}
		_ = p.Close()
		p = b.pseudonyms(Day)
	}
}

func TestHoldStopsDestruction(t *testing.T) {
	b := newBench(t)
	held := errors.New("held")
	b.hold = func(from, to time.Time) error {
		if from.Format(time.DateOnly) == "2026-11-21" && to.Sub(from) == 24*time.Hour {
			return held
		}
		return nil
	}
	p, s := b.pseudonyms(Day), b.subjects()
	b.pseudonym(p, User, "alice", b.clock.now())
	x := b.seal(s, "alice")
	b.clock.add(24 * time.Hour)
	b.seal(s, "bob")
	if _, err := p.Destroy("2026-11-21"); !errors.Is(err, held) {
		t.Error(err)
	}
	if _, err := s.Destroy("2026-11-21"); !errors.Is(err, held) {
		t.Error(err)
	}
	if e, err := s.Forget("alice"); !errors.Is(err, held) || e.Keys != 0 {
		t.Error(e, err)
	}
	if e, err := s.Forget("bob"); err != nil || e.Keys != 1 {
		t.Errorf("who has nothing in the time of the hold: %+v, %v", e, err)
	}
	b.readable(x)
	if _, err := p.Lookup("2026-11-21", User, "alice"); err != nil {
		t.Error(err)
	}
}

// TestDestroySurvivesEveryFault fails each operation of a destruction. Whatever
// happened, after a restart the key is either usable or never again, and a
// second try destroys it.
func TestDestroySurvivesEveryFault(t *testing.T) {
	done := false
	for n := int64(1); !done; n++ {
		for _, persist := range []bool{false, true} {
			b := newBench(t)
			fsys := &faultFS{persist: persist}
			b.fs = fsys
			p := b.pseudonyms(Day)
			want := b.pseudonym(p, User, "alice", b.clock.now())
			b.clock.add(48 * time.Hour)
			fsys.arm(n)
			_, err := p.Destroy("2026-11-21")
			done = err == nil
			if !done && !errors.Is(err, errFault) {
				t.Fatal(err)
			}
			fsys.armed.Store(false)
			_ = p.Close()
			p = b.pseudonyms(Day)
			switch got, err := p.Lookup("2026-11-21", User, "alice"); {
			case err == nil && got == want && !done:
			case errors.Is(err, ErrDestroyed):
				if len(b.files("pseudonyms/*.key")) != 0 {
					t.Errorf("fault %d: the key is left", n)
				}
			default:
				t.Errorf("fault %d: %q, %v", n, got, err)
			}
			b.tidy()
			if _, err := p.Destroy("2026-11-21"); err != nil {
				t.Errorf("fault %d: %v", n, err)
			}
			if _, err := p.Pseudonym(User, "alice", b.clock.now().Add(-48*time.Hour)); !errors.Is(err, ErrDestroyed) {
				t.Errorf("fault %d: %v", n, err)
			}
		}
	}
}

// TestNoPseudonymWithoutADurableKey fails each operation of a key's making.
func TestNoPseudonymWithoutADurableKey(t *testing.T) {
	for n, done := int64(1), false; !done; n++ {
		for _, persist := range []bool{false, true} {
			b := newBench(t)
			fsys := &faultFS{persist: persist}
			b.fs = fsys
			p := b.pseudonyms(Day)
			fsys.arm(n)
			got, err := p.Pseudonym(User, "alice", b.clock.now())
			if done = err == nil; !done && (got != "" || !errors.Is(err, errFault)) {
				t.Errorf("fault %d: %q, %v", n, got, err)
			}
			fsys.armed.Store(false)
			after := b.pseudonym(p, User, "alice", b.clock.now())
			_ = p.Close()
			p = b.pseudonyms(Day)
			if again := b.pseudonym(p, User, "alice", b.clock.now()); again != after || done && again != got {
				t.Errorf("fault %d: %q, later %q and %q", n, got, after, again)
			}
			b.tidy()
		}
	}
}

func TestDamagedOrOpenKeyIsAnError(t *testing.T) {
	b := newBench(t)
	p := b.pseudonyms(Day)
	b.pseudonym(p, User, "alice", b.clock.now())
	name := filepath.Join(b.dir, "pseudonyms", "2026-11-21.key")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{
		"does not begin": strings.Replace(string(good), "21", "22", 1),
		"damaged":        string(good[:len(good)-2]),
		"it is damaged":  string(good) + "x",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Lookup("2026-11-21", User, "x"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%v", err)
		}
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Lookup("2026-11-21", User, "x"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%v", err)
	}
}

func TestSecondProcessIsSentToTheServer(t *testing.T) {
	b := newBench(t)
	b.pseudonyms(Day)
	b.sealer(b.config())
	_, err := OpenPseudonyms(PseudonymConfig{Dir: b.dir})
	_, err2 := OpenSealer(b.config())
	for _, err := range []error{err, err2} {
		if !errors.Is(err, durable.ErrLocked) || !strings.Contains(err.Error(), "admin API") {
			t.Errorf("%v", err)
		}
	}
}

func TestPseudonymsOfManyGoroutinesAgree(t *testing.T) {
	b := newBench(t)
	p := b.pseudonyms(Day)
	start := b.clock.now()
	var mu sync.Mutex
	seen := map[string]string{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				at := start.Add(time.Duration(i%7) * 24 * time.Hour)
				got, err := p.Pseudonym(ClientIP, "192.0.2.1", at)
				mu.Lock()
				if want, ok := seen[at.String()]; err != nil || ok && want != got {
					t.Errorf("%s, %s, %v", got, want, err)
				}
				seen[at.String()] = got
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// raceDetector tells that the race detector is on: under it a sync.Pool drops
// at random what is put into it.
var raceDetector bool

func TestPseudonymAllocatesItsResultOnly(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools allocate")
	}
	b := newBench(t)
	p := b.pseudonyms(Month)
	now := b.clock.now()
	if n := testing.AllocsPerRun(200, func() { _, _ = p.Pseudonym(ClientIP, "192.0.2.7", now) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestClosedMakesNoPseudonyms(t *testing.T) {
	b := newBench(t)
	p := b.pseudonyms(Month)
	b.pseudonym(p, User, "a", b.clock.now())
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.Pseudonym(User, "a", b.clock.now()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(formatKey("2026-11", make([]byte, keySize)))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parseKey(text, "2026-11")
		if err == nil && string(formatKey("2026-11", key)) != string(text) {
			t.Errorf("%q is taken for a key, but is not as it is written", text)
		}
	})
}

func FuzzParsePeriod(f *testing.F) {
	for _, s := range []string{"2026-11-21", "2026-W53", "2026-11", "2026-Q4", "2021-W53"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, err := ParsePeriod(name)
		if err == nil && (p.Name != name || !p.From.Before(p.To)) {
			t.Errorf("%q: %+v", name, p)
		}
	})
}

func BenchmarkPseudonym(b *testing.B) {
	x := newBench(b)
	p := x.pseudonyms(Month)
	now := x.clock.now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Pseudonym(ClientIP, "192.0.2.7", now); err != nil {
			b.Fatal(err)
		}
	}
}
