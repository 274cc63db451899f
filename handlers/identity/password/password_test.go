package password

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

// watchman locks out whom it is told to.
type watchman struct {
	locked, known   map[string]bool
	failed, entered []string
}

func (g *watchman) Locked(_ *http.Request, p string) time.Duration {
	if g.locked[p] {
		return time.Minute
	}
	return 0
}
func (g *watchman) Known(_ *http.Request, p string) bool { return g.known[p] }
func (g *watchman) Failed(_ *http.Request, p string)     { g.failed = append(g.failed, p) }
func (g *watchman) Succeeded(_ *http.Request, p string)  { g.entered = append(g.entered, p) }

// counting counts what would be hashed. It takes no time, which the gate would
// count on a machine that is busy.
type counting struct{ n *int }

func (c counting) Compare(_, plain []byte) (bool, error) {
	*c.n++
	return string(plain) == "right", nil
}

func newSource(t *testing.T) (*Source, *watchman, *int) {
	t.Helper()
	hash := "$2a$10$" + strings.Repeat("a", 53)
	path := filepath.Join(t.TempDir(), "accounts")
	if err := os.WriteFile(path, []byte("# staff\nalice:"+hash+":staff,admin\nbob:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := reload.Open(path, time.Now, nil, Parse)
	if err != nil {
		t.Fatal(err)
	}
	hashed := new(int)
	for _, a := range (*file.Get()).byName {
		a.compare = counting{hashed}
	}
	g := &watchman{locked: map[string]bool{}, known: map[string]bool{}}
	return &Source{Accounts: file, Guard: g, Gate: NewGate(1, time.Now), Now: time.Now}, g, hashed
}

func try(s *Source, name, password string) (string, principal.Reason) {
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	r.SetBasicAuth(name, password)
	user, refusal := s.Authenticate(nil, r)
	if refusal != nil {
		return "", refusal.Reason
	}
	return user.ID + " " + user.Metadata["roles"], ""
}

func TestARightPasswordIsHashedOnce(t *testing.T) {
	s, g, hashed := newSource(t)
	for range 5 {
		if who, why := try(s, "alice", "right"); who != "alice staff,admin" {
			t.Fatal(who, why)
		}
	}
	if *hashed != 1 || len(g.entered) != 5 {
		t.Error(*hashed, "hashed,", len(g.entered), "entered")
	}
	if _, why := try(s, "alice", "wrong"); why != Wrong {
		t.Error(why)
	}
	if _, why := try(s, "bob", "righ"); why != Wrong {
		t.Error(why)
	}
}

// slow hashes until it may go on.
type slow struct {
	counting
	begun, end chan struct{}
}

func (c slow) Compare(hash, plain []byte) (bool, error) {
	close(c.begun) // once: another hash panics
	<-c.end
	return c.counting.Compare(hash, plain)
}

// TestRequestsAtOnceHaveOneHash holds what a browser does that knows the password
// of a page with many parts.
func TestRequestsAtOnceHaveOneHash(t *testing.T) {
	s, _, hashed := newSource(t)
	c := slow{counting{hashed}, make(chan struct{}), make(chan struct{})}
	(*s.Accounts.Get()).byName["alice"].compare = c
	// The failures and successes that the watchman notes are not for several
	// goroutines.
	s.Guard = nobody{}
	const requests = 16
	results := make(chan principal.Reason, requests)
	enter := func() {
		_, why := try(s, "alice", "right")
		results <- why
	}
	go enter()
	<-c.begun
	for range requests - 1 {
		go enter()
	}
	for s.Gate.State().Waiting < requests-1 {
		runtime.Gosched()
	}
	close(c.end)
	for range requests {
		if why := <-results; why != "" {
			t.Error(why)
		}
	}
	if *hashed != 1 {
		t.Error(*hashed, "hashed")
	}
}

// nobody is a guard that locks out nobody.
type nobody struct{}

func (nobody) Locked(*http.Request, string) time.Duration { return 0 }
func (nobody) Known(*http.Request, string) bool           { return false }
func (nobody) Failed(*http.Request, string)               {}
func (nobody) Succeeded(*http.Request, string)            {}

func TestWhoIsLockedOutCostsNoHash(t *testing.T) {
	s, g, hashed := newSource(t)
	try(s, "alice", "right")
	g.locked["alice"] = true
	for range 1000 {
		if _, why := try(s, "alice", "right"); why != principal.LockedOut {
			t.Fatal(why)
		}
	}
	if *hashed != 1 {
		t.Error(*hashed, "passwords were hashed")
	}
}

func TestANameThatNobodyHasCostsAHashAndIsNotToldOf(t *testing.T) {
	s, g, hashed := newSource(t)
	for _, name := range []string{"my secret password", "my secret password", "carol"} {
		if _, why := try(s, name, "right"); why != Wrong {
			t.Error(why)
		}
	}
	if *hashed != 3 || len(g.failed) != 3 || g.failed[0] != g.failed[1] || g.failed[0] == g.failed[2] {
		t.Error(*hashed, g.failed)
	}
	for _, subject := range g.failed {
		if !strings.HasPrefix(subject, UnknownPrefix) || strings.Contains(subject, "secret") {
			t.Error(subject)
		}
	}
}

// TestBothKindsOfHashesAreCompared holds what caddy hash-password writes.
func TestBothKindsOfHashesAreCompared(t *testing.T) {
	salt := []byte("0123456789abcdef")
	quick := argon2.IDKey([]byte("right"), salt, 1, 64, 1, 32)
	slow, err := bcrypt.GenerateFromPassword([]byte("right"), 10)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawStdEncoding.EncodeToString
	accounts, err := Parse(fmt.Appendf(nil, "alice:$argon2id$v=19$m=64,t=1,p=1$%s$%s\nbob:%s\n", encode(salt), encode(quick), slow))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts.list {
		for password, want := range map[string]bool{"right": true, "wrong": false, "": false, "right ": false} {
			if same, err := a.compare.Compare([]byte(a.Hash), []byte(password)); same != want || err != nil {
				t.Errorf("%s, %q: %v %v", a.Name, password, same, err)
			}
		}
	}
}

// TestAccountsOfSeveralKindsAreNotToldByTime holds that names that nobody has
// cost what accounts cost, each of them always the same, also where hashes differ
// in cost.
func TestAccountsOfSeveralKindsAreNotToldByTime(t *testing.T) {
	s, _, _ := newSource(t)
	counts := map[string]*int{}
	for name, a := range (*s.Accounts.Get()).byName {
		counts[name] = new(int)
		a.compare = counting{counts[name]}
	}
	list := *s.Accounts.Get()
	for i := range 64 {
		name := fmt.Sprint("nobody-", i)
		first := list.stand(name)
		if first != list.stand(name) {
			t.Fatal("a name costs now this, now that")
		}
		*counts[first.Name]++
	}
	if *counts["alice"] < 8 || *counts["bob"] < 8 {
		t.Error("all names that nobody has cost the same:", *counts["alice"], *counts["bob"])
	}
}

func TestMalformedCredentialsCostNothing(t *testing.T) {
	s, g, hashed := newSource(t)
	for _, value := range []string{"Basic", "Basic !!!", "Basic " + "YWxpY2U=", "basic OnJpZ2h0"} {
		r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
		r.Header.Set("Authorization", value)
		if _, refusal := s.Authenticate(nil, r); refusal == nil || refusal.Reason != Malformed {
			t.Error(value, refusal)
		}
	}
	if _, why := try(s, "alice", strings.Repeat("x", 2000)); why != Malformed {
		t.Error(why)
	}
	if *hashed != 0 || len(g.failed) != 0 {
		t.Error(*hashed, g.failed)
	}
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	r.Header.Set("Authorization", "Bearer x")
	if user, refusal := s.Authenticate(nil, r); user != nil || refusal != nil {
		t.Error("a bearer token is taken for a password")
	}
}

// TestGuessingCostsAtMostATenthOfTheMachine lets a thousand guesses a second come
// for two minutes, each of a tenth of a second of a processor, from everywhere, so
// that no lockout helps.
func TestGuessingCostsAtMostATenthOfTheMachine(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	g := NewGate(1, func() time.Time { return now })
	const cost, length = 100 * time.Millisecond, 2 * time.Minute
	var spent time.Duration
	for range int(length / time.Millisecond) {
		now = now.Add(time.Millisecond)
		if g.Enter(t.Context(), false) {
			g.Leave(cost, true)
			spent += cost
		}
	}
	machine := length * time.Duration(runtime.GOMAXPROCS(0))
	if spent > machine/10 || spent < machine/50 {
		t.Errorf("%s of %s were spent on wrong passwords", spent, machine)
	}
	if g.Enter(t.Context(), false) {
		t.Error("there is something left")
	}
	if !g.Enter(t.Context(), true) {
		t.Error("who is known has to wait for the share of strangers")
	}
	g.Leave(cost, false)
}

func TestAMorningOnWhichEverybodyLogsInIsNoAttack(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	g := NewGate(1, func() time.Time { return now })
	for range 500 {
		if !g.Enter(t.Context(), false) {
			t.Fatal("somebody with the right password is refused")
		}
		g.Leave(time.Second, false)
	}
}

func TestAccountsThatCannotBe(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "# nobody\n",
		"no hash":        "alice\n",
		"plain text":     "alice:hunter2\n",
		"sha1":           "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n",
		"cheap bcrypt":   "alice:$2a$04$" + strings.Repeat("a", 53) + "\n",
		"dear argon2id":  "alice:$argon2id$v=19$m=99999999,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg\n",
		"no argon2id":    "alice:$argon2id$v=19$m=0,t=0,p=0$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg\n",
		"name with tabs": "al\tice:$2a$10$" + strings.Repeat("a", 53) + "\n",
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "W6ph5") {
			t.Errorf("the error has the secret in it: %v", err)
		}
	}
	if _, err := Parse([]byte("alice:$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg")); err != nil {
		t.Error(err)
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add([]byte("alice:$2a$10$abc:staff\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if accounts, err := Parse(data); err == nil && len(accounts.list) == 0 {
			t.Fatal("accounts of nobody")
		}
	})
}
