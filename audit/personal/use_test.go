package personal

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// TestNewSettingsHoldFromTheNextBoxOn changes recipients, members and subject
// keys of an open sealer. What was sealed before opens as before.
func TestNewSettingsHoldFromTheNextBoxOn(t *testing.T) {
	b := newBench(t)
	s := b.sealer(b.config())
	before := b.seal(s, "alice")
	second, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	c := b.config()
	c.Recipients, c.Subjects = []age.Recipient{second.Recipient()}, true
	if err := s.Use(c); err != nil {
		t.Fatal(err)
	}
	after := b.seal(s, "alice")
	b.readable(before)
	b.unreadable(after, ErrIdentity)
	opener := NewOpener(durable.OS{}, b.dir, second)
	if _, err := opener.Open(before.id, before.ref, before.data); !errors.Is(err, ErrIdentity) {
		t.Errorf("the new recipient opens what was sealed before: %v", err)
	}
	if f, err := opener.Open(after.id, after.ref, after.data); err != nil || f.User != "alice" {
		t.Errorf("%+v, %v", f, err)
	}
	if e, err := s.Forget("alice"); err != nil || e.Keys != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := opener.Open(after.id, after.ref, after.data); !errors.Is(err, ErrForgotten) {
		t.Error(err)
	}
	c.Members = []string{User}
	if err := s.Use(c); err != nil {
		t.Fatal(err)
	}
	if ev := b.event("alice"); s.Seal(&ev) != nil || ev.ClientIP == "" || ev.User != "" {
		t.Errorf("%+v", ev)
	}
	c.Members = []string{"request.body"}
	if err := s.Use(c); err == nil || !strings.Contains(err.Error(), "must be one of") {
		t.Error(err)
	}
	_ = s.Close()
	if err := s.Use(b.config()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestSubjectsAreForgottenAfterSubjectKeysWereSwitchedOff: what has keys of its
// own keeps them.
func TestSubjectsAreForgottenAfterSubjectKeysWereSwitchedOff(t *testing.T) {
	b := newBench(t)
	s := b.subjects()
	x := b.seal(s, "alice")
	if err := s.Use(b.config()); err != nil {
		t.Fatal(err)
	}
	if y := b.seal(s, "alice"); strings.Contains(y.ref, "/") {
		t.Errorf("%s is a key of a subject", y.ref)
	}
	if e, err := s.Forget("alice"); err != nil || e.Keys != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	b.unreadable(x, ErrForgotten)
}

// TestSettingsChangeWhileBoxesAreSealed seals in some goroutines while settings
// change and subjects are forgotten. Each box opens for one of the recipients, or
// was forgotten.
func TestSettingsChangeWhileBoxesAreSealed(t *testing.T) {
	b := newBench(t)
	s := b.sealer(b.config())
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	const each = 50
	boxes := make(chan box, 4*each)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range each {
				x, err := b.trySeal(s, "alice")
				if err != nil {
					b.Error(err)
				}
				boxes <- x
			}
		})
	}
	c := b.config()
	for i := range 20 {
		c.Subjects = i%2 == 0
		c.Recipients = []age.Recipient{b.identity.Recipient(), other.Recipient()}[i%2 : i%2+1]
		if err := s.Use(c); err != nil {
			t.Error(err)
		}
		if _, err := s.Forget("bob"); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	close(boxes)
	opener := NewOpener(durable.OS{}, b.dir, b.identity, other)
	for x := range boxes {
		if f, err := opener.Open(x.id, x.ref, x.data); err != nil || f.User != "alice" {
			t.Errorf("%s: %v", x.ref, err)
		}
	}
}

// TestUnitOfPseudonymsChanges: periods that were begun keep their keys.
func TestUnitOfPseudonymsChanges(t *testing.T) {
	b := newBench(t)
	p := b.pseudonyms(Month)
	month, err := p.Pseudonym(User, "alice", b.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Use(Week); err != nil {
		t.Fatal(err)
	}
	week, err := p.Pseudonym(User, "alice", b.clock.now())
	if err != nil || !strings.HasPrefix(week, "p:2026-W47:") {
		t.Error(week, err)
	}
	list, err := Periods(durable.OS{}, b.dir)
	var names []string
	for _, period := range list {
		names = append(names, period.Name)
	}
	if err != nil || !slices.Equal(names, []string{"2026-11", "2026-W47"}) {
		t.Error(names, err)
	}
	if again, err := p.Lookup("2026-11", User, "alice"); err != nil || again != month {
		t.Error(again, err)
	}
	if err := p.Use(""); err != nil {
		t.Fatal(err)
	}
	if again, err := p.Pseudonym(User, "alice", b.clock.now()); err != nil || again != month {
		t.Error(again, err)
	}
	if err := p.Use("year"); err == nil {
		t.Error("a year is no unit")
	}
	if none, err := Periods(durable.OS{}, t.TempDir()); err != nil || none != nil {
		t.Error(none, err)
	}
}

// TestRecordsBeforeAuthenticationHaveNoBoxWithSubjectKeys: forgetting could not
// reach it.
func TestRecordsBeforeAuthenticationHaveNoBoxWithSubjectKeys(t *testing.T) {
	b := newBench(t)
	ahead := func(c SealerConfig, p *Pseudonyms) audit.Event {
		t.Helper()
		s := b.sealer(c)
		defer func() { _ = s.Close() }()
		protector, err := NewProtector(s, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		ev := b.event("")
		if err := protector.Ahead(&ev); err != nil {
			t.Fatal(err)
		}
		if ev.ClientIP == "192.0.2.7" || ev.Peer != "" && p == nil || ev.Agent+ev.ClientPort != "" || ev.Path == "" {
			t.Errorf("%+v", ev)
		}
		return ev
	}
	c := b.config()
	if ev := ahead(c, nil); ev.Personal == nil {
		t.Error("without subject keys it has a box")
	}
	c.Subjects = true
	if ev := ahead(c, nil); ev.Personal != nil || ev.PersonalKey != "" || ev.ClientIP != "" {
		t.Errorf("with subject keys: %+v", ev)
	}
	if ev := ahead(c, b.pseudonyms(Month)); ev.Personal != nil || !strings.HasPrefix(ev.ClientIP, "p:2026-11:") {
		t.Errorf("with a pseudonym: %+v", ev)
	}
}
