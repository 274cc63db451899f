package personal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

func TestAuditorReadsWhatWasSealed(t *testing.T) {
	b := newBench(t)
	all := []string{ClientIP, ClientPort, Peer, SNI, ClientCert, Path, Query, Agent, Headers, User}
	for _, subjects := range []bool{false, true} {
		c := b.config()
		c.Members, c.Subjects = all, subjects
		s := b.sealer(c)
		ev := b.event("al\xffice\\")
		ev.TLS.ServerName, ev.TLS.ClientCert = "example.com", "ab"
		ev.Path, ev.Agent = "/a\x00\x80é<>", ""
		ev.RequestHeaders = []audit.Header{{Name: "A", Value: "1\xfe"}, {Name: "B", Value: ""}}
		if err := s.Seal(&ev); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(ev.Personal, []byte("192.0")) || ev.Path+ev.Query+ev.TLS.ServerName != "" || ev.RequestHeaders != nil {
			t.Errorf("in the clear: %+v", ev)
		}
		if strings.Contains(ev.PersonalKey, "/") != subjects {
			t.Errorf("key %s", ev.PersonalKey)
		}
		f, err := b.open(box{ev.ID, ev.PersonalKey, ev.Personal, ""})
		if err != nil {
			t.Fatal(err)
		}
		if f.ClientIP != "192.0.2.7" || f.ClientPort != "5000" || f.Peer != "10.0.0.1:80" || f.ServerName != "example.com" || f.ClientCert != "ab" ||
			f.Path != "/a\x00\x80é<>" || f.Query != "a=*" || f.Agent != "" || f.User != "al\xffice\\" ||
			!slices.Equal(f.Headers, []audit.Header{{Name: "A", Value: "1\xfe"}, {Name: "B", Value: ""}}) || f.Cut != nil {
			t.Errorf("%+v", f)
		}
		want := `{"client":{"ip":"192.0.2.7","port":"5000","peer":"10.0.0.1:80"},"tls":{"sni":"example.com","client_cert":"ab"},` +
			`"request":{"path":"/a\u0000\\x80é\u003c\u003e","query":"a=*","headers":[["A","1\\xfe"],["B",""]]},"auth":{"user":"al\\xffice\\x5c"}}`
		if string(f.JSON) != want {
			t.Errorf("%s", f.JSON)
		}
		_ = s.Close()
	}
}

func TestQueryThatThePolicyRedactedIsSealedAsItIs(t *testing.T) {
	b := newBench(t)
	c := b.config()
	c.Members = []string{Query}
	s := b.sealer(c)
	ev := b.event("")
	ev.Query, ev.Redacted = "page=2&q=*", []string{policy.QueryMember}
	if err := s.Seal(&ev); err != nil {
		t.Fatal(err)
	}
	if f, err := b.open(box{id: ev.ID, ref: ev.PersonalKey, data: ev.Personal}); err != nil || f.Query != "page=2&q=*" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestNothingToSealIsNoBox(t *testing.T) {
	b := newBench(t)
	s := b.sealer(b.config())
	ev := audit.Event{Path: "/"}
	if err := s.Seal(&ev); err != nil || ev.Personal != nil || ev.PersonalKey != "" || ev.Path != "/" {
		t.Errorf("%+v, %v", ev, err)
	}
	if len(b.files("personal/*")) != 0 {
		t.Error("a key was made for nothing")
	}
}

func TestBoxStaysWithinItsBound(t *testing.T) {
	long := strings.Repeat("\xff", 1<<20)
	ev := audit.Event{ClientIP: long, ClientPort: long, Peer: long, Path: long, Query: long + "=", Agent: long, User: long}
	ev.TLS.ServerName, ev.TLS.ClientCert = long, long
	set, err := parseMembers([]string{ClientIP, ClientPort, Peer, SNI, ClientCert, Path, Query, Agent, Headers, User})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		ev.RequestHeaders = append(ev.RequestHeaders, audit.Header{Name: "X", Value: strings.Repeat("é", 100*n)})
	}
	for _, short := range []bool{false, true} {
		if short {
			ev = audit.Event{User: "u", RequestHeaders: ev.RequestHeaders}
		}
		got := appendBox([]byte("before"), &ev, set)[6:]
		f, err := parseBox(got)
		if len(got) > maxBox || err != nil || !slices.Contains(f.Cut, Headers) || !short && !slices.Contains(f.Cut, Path) {
			t.Errorf("%d bytes, %v, cut %v", len(got), err, f.Cut)
		}
		if short && (len(f.Headers) < 10 || f.User != "u") {
			t.Errorf("%d header fields are left", len(f.Headers))
		}
	}
}

func TestMovedOrChangedBoxDoesNotOpen(t *testing.T) {
	b := newBench(t)
	s := b.subjects()
	x, y, z := b.seal(s, "alice"), b.seal(s, "bob"), b.seal(s, "")
	b.readable(x)
	b.readable(y)
	b.readable(z)
	moved := x
	moved.id = y.id
	b.unreadable(moved, ErrBox)
	for _, ref := range []string{y.ref, z.ref} {
		moved = x
		moved.ref = ref
		b.unreadable(moved, ErrBox)
	}
	for i := range x.data {
		changed := x
		changed.data = bytes.Clone(x.data)
		changed.data[i] ^= 1
		b.unreadable(changed, ErrBox)
	}
	for n := range x.data {
		cut := x
		cut.data = x.data[:n]
		b.unreadable(cut, ErrBox)
	}
}

func TestWhyABoxDoesNotOpenIsTold(t *testing.T) {
	b := newBench(t)
	s := b.subjects()
	x := b.seal(s, "alice")
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewOpener(durable.OS{}, b.dir, other).Open(x.id, x.ref, x.data); !errors.Is(err, ErrIdentity) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := NewOpener(durable.OS{}, t.TempDir(), b.identity).Open(x.id, x.ref, x.data); !errors.Is(err, ErrNoKey) {
		t.Errorf("without the directory: %v", err)
	}
	id, _, _ := strings.Cut(x.ref, "/")
	for _, ref := range []string{id + "/000007", id + "/999999"} {
		x := x
		x.ref = ref
		b.unreadable(x, ErrNoKey)
	}
	for _, ref := range []string{"", "x", "../" + id, id + "/", id + "/1", id + "/-00001", id + "/0000000", id + "x"} {
		if _, err := b.open(box{ref: ref, data: x.data}); err == nil || !strings.Contains(err.Error(), "does not name a key") {
			t.Errorf("%q: %v", ref, err)
		}
	}
	name := filepath.Join(b.dir, "personal", id+".age")
	wrapped, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	wrapped[len(wrapped)-1] ^= 1
	if err := os.WriteFile(name, wrapped, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.open(x); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
}

// TestIdentityFileOfAge reads the form that age-keygen writes, and recipients
// as it prints them.
func TestIdentityFileOfAge(t *testing.T) {
	b := newBench(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for recipient, secret := range map[string]string{
		b.identity.Recipient().String(): b.identity.String(),
		hybrid.Recipient().String():     hybrid.String(),
	} {
		file := "# created: 2026-11-21T07:00:00Z\n# public key: " + recipient + "\n" + secret + "\n"
		identities, err := age.ParseIdentities(strings.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		c := b.config()
		if c.Recipients, err = ParseRecipients([]string{recipient}); err != nil {
			t.Fatal(err)
		}
		s := b.sealer(c)
		x := b.seal(s, "alice")
		if f, err := NewOpener(durable.OS{}, b.dir, identities...).Open(x.id, x.ref, x.data); err != nil || f.User != "alice" {
			t.Errorf("%+v, %v", f, err)
		}
		_ = s.Close()
	}
	both := []string{b.identity.Recipient().String(), hybrid.Recipient().String()}
	for want, list := range map[string][]string{
		"no recipient":          nil,
		"is a secret key":       {b.identity.String()},
		"SSH keys":              {"ssh-ed25519 AAAA"},
		"is no age recipient":   {"age1xyz"},
		"recipients: incompati": both,
	} {
		if _, err := ParseRecipients(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestKeyThatTheAgeToolEncrypted opens a file that age v1.3.2 wrote (age -r),
// with an identity file of its age-keygen.
func TestKeyThatTheAgeToolEncrypted(t *testing.T) {
	const id = "2026-11-21-abcdefghijklm"
	f, err := os.Open("testdata/age/identity.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	identities, err := age.ParseIdentities(f)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := os.ReadFile("testdata/age/" + id + ".age")
	if err != nil {
		t.Fatal(err)
	}
	key, err := unwrapKey(id, wrapped, identities)
	if err != nil || len(key) != keySize || key[0] != 0 || key[31] != 31 {
		t.Errorf("%x, %v", key, err)
	}
	if _, err := unwrapKey("2026-11-22-abcdefghijklm", wrapped, identities); err == nil {
		t.Error("the file of another key was taken")
	}
}

func TestKeysChangeWithDayAndRun(t *testing.T) {
	b := newBench(t)
	s := b.sealer(b.config())
	x, again := b.seal(s, "a"), b.seal(s, "a")
	if x.ref != again.ref || !strings.HasPrefix(x.ref, "2026-11-21-") {
		t.Errorf("%s, %s", x.ref, again.ref)
	}
	b.clock.add(time.Hour)
	next := b.seal(s, "a")
	if !strings.HasPrefix(next.ref, "2026-11-22-") {
		t.Errorf("after midnight: %s", next.ref)
	}
	_ = s.Close()
	if _, err := b.trySeal(s, "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
	s = b.sealer(b.config())
	run := b.seal(s, "a")
	if run.ref == next.ref {
		t.Error("another run has the same key")
	}
	if days, err := s.Days(); err != nil || !slices.Equal(days, []string{"2026-11-21", "2026-11-22"}) {
		t.Error(days, err)
	}
	if len(b.files("personal/*.age")) != 3 {
		t.Error(b.files("personal/*"))
	}
	for _, x := range []box{x, again, next, run} {
		b.readable(x)
	}
}

func TestKeyThatSealedEnoughIsReplaced(t *testing.T) {
	b := newBench(t)
	s := b.sealer(b.config())
	x := b.seal(s, "a")
	s.current.Load().boxes.Store(maxBoxes)
	y := b.seal(s, "a")
	if x.ref == y.ref {
		t.Error("the key is used on")
	}
	b.readable(x)
	b.readable(y)
}

// TestNoBoxWithoutADurableKey fails each operation that a first box needs. A
// box that was returned opens after a restart; nothing is ever left in the
// clear.
func TestNoBoxWithoutADurableKey(t *testing.T) {
	for _, persist := range []bool{false, true} {
		for n, done := int64(1), false; !done; n++ {
			b := newBench(t)
			fsys := &faultFS{persist: persist}
			b.fs = fsys
			s := b.subjects()
			fsys.arm(n)
			x, err := b.trySeal(s, "alice")
			if done = err == nil; !done && (x.data != nil || !errors.Is(err, errFault)) {
				t.Errorf("fault %d: %v", n, err)
			}
			fsys.armed.Store(false)
			y := b.seal(s, "alice")
			_ = s.Close()
			s = b.subjects()
			if done {
				b.readable(x)
			}
			b.readable(y)
			b.readable(b.seal(s, "alice"))
			b.tidy()
			if e, err := s.Forget("alice"); err != nil || e.Keys < 2 {
				t.Errorf("fault %d: %+v, %v", n, e, err)
			}
			b.unreadable(y, ErrForgotten)
		}
	}
}

func TestSubjectsBeyondTheBoundAreCounted(t *testing.T) {
	b := newBench(t)
	c := b.config()
	c.Subjects, c.MaxSubjects = true, 2
	s := b.sealer(c)
	for i := range 5 {
		x := b.seal(s, fmt.Sprint("user", i))
		if strings.Contains(x.ref, "/") != (i < 2) {
			t.Errorf("user %d: %s", i, x.ref)
		}
		b.readable(x)
	}
	if x := b.seal(s, "user1"); !strings.Contains(x.ref, "/") || s.Overflow() != 3 {
		t.Errorf("%s, %d", x.ref, s.Overflow())
	}
	if e, err := s.Forget("user4"); err != nil || e.Keys != 0 || e.Files != 0 {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestConfigOfSealer(t *testing.T) {
	b := newBench(t)
	for want, change := range map[string]func(*SealerConfig){
		"no recipient":     func(c *SealerConfig) { c.Recipients = nil },
		`member "body"`:    func(c *SealerConfig) { c.Members = []string{"body"} },
		"-1 subjects":      func(c *SealerConfig) { c.Subjects, c.MaxSubjects = true, -1 },
		"2000000 subjects": func(c *SealerConfig) { c.Subjects, c.MaxSubjects = true, 2_000_000 },
	} {
		c := b.config()
		change(&c)
		if _, err := OpenSealer(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestManyGoroutinesSealAndForget runs everything at once, over midnights.
func TestManyGoroutinesSealAndForget(t *testing.T) {
	b := newBench(t)
	s := b.subjects()
	var mu sync.Mutex
	var kept []box
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				x := b.seal(s, fmt.Sprintf("user%d", (w*7+i)%10))
				mu.Lock()
				kept = append(kept, x)
				mu.Unlock()
				if w == 0 && i%40 == 39 {
					b.clock.add(24 * time.Hour)
				}
			}
		})
	}
	wg.Go(func() {
		for range 6 {
			if _, err := s.Forget("user3"); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if _, err := s.Forget("user3"); err != nil {
		t.Error(err)
	}
	o := NewOpener(durable.OS{}, b.dir, b.identity)
	for _, x := range kept {
		f, err := o.Open(x.id, x.ref, x.data)
		if forgotten := x.user == "user3"; forgotten && !errors.Is(err, ErrForgotten) || !forgotten && (err != nil || f.User != x.user) {
			t.Errorf("%s: %v", x.user, err)
		}
	}
	b.tidy()
}

func TestProtectorPutsPseudonymsInThePlaceOfWhatIsSealed(t *testing.T) {
	b := newBench(t)
	s, p := b.subjects(), b.pseudonyms(Month)
	both, err := NewProtector(s, p, []string{User, ClientIP, User})
	if err != nil {
		t.Fatal(err)
	}
	ev := b.event("alice")
	ev.RequestHeaders = []audit.Header{{Name: "X-Forwarded-For", Value: "192.0.2.7"}, {Name: "Accept", Value: "*/*"}, {Name: "User-Agent", Value: "curl"}}
	ev.ResponseHeaders = []audit.Header{{Name: "X-User", Value: "alice"}}
	if err := both.Apply(&ev); err != nil {
		t.Fatal(err)
	}
	want, err := p.Lookup("2026-11", User, "alice")
	if err != nil || ev.User != want || !strings.HasPrefix(ev.ClientIP, "p:2026-11:") || ev.Peer+ev.ClientPort+ev.Agent != "" {
		t.Errorf("%+v, %v", ev, err)
	}
	if !slices.Equal(ev.Pseudonyms, []string{ClientIP, User}) || ev.Lookup != "2026-11" {
		t.Errorf("%v, period %q", ev.Pseudonyms, ev.Lookup)
	}
	if ev.RequestHeaders[0].Value != "*" || ev.RequestHeaders[1].Value != "*/*" || ev.RequestHeaders[2].Value != "*" || ev.ResponseHeaders[0].Value != "*" {
		t.Errorf("header fields show them: %v %v", ev.RequestHeaders, ev.ResponseHeaders)
	}
	b.readable(box{ev.ID, ev.PersonalKey, ev.Personal, "alice"})

	ev = b.event("alice")
	ev.Level = "minimal"
	if err := both.Apply(&ev); err != nil || ev.Personal != nil || ev.ClientIP == "192.0.2.7" || ev.ClientIP == "" || ev.Agent != "" {
		t.Errorf("at the level minimal: %+v, %v", ev, err)
	}
	if !both.ClientPseudonym() {
		t.Error("the client has a pseudonym")
	}
	if _, err := NewProtector(s, p, []string{"request.path"}); err == nil {
		t.Error("a path has a pseudonym")
	}
}

func TestProtectorLeavesNothingAfterAnError(t *testing.T) {
	b := newBench(t)
	s, p := b.sealer(b.config()), b.pseudonyms(Day)
	then := b.event("alice")
	b.pseudonym(p, User, "alice", then.Start)
	b.clock.add(48 * time.Hour)
	if _, err := p.Destroy("2026-11-21"); err != nil {
		t.Fatal(err)
	}
	all, err := NewProtector(s, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := all.Apply(&then); err != nil || then.User+then.ClientIP+then.Peer != "" || !slices.Equal(then.Redacted, []string{ClientIP, Peer, User}) || then.Pseudonyms != nil {
		t.Errorf("in a destroyed period: %+v, %v", then, err)
	}
	_, _ = s.Close(), p.Close()
	ev := b.event("alice")
	if err := all.Apply(&ev); !errors.Is(err, ErrClosed) || ev.User+ev.ClientIP+ev.Peer+ev.Agent+ev.ClientPort != "" {
		t.Errorf("after an error: %+v, %v", ev, err)
	}
	none, err := NewProtector(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ev := b.event("alice"); none.Apply(&ev) != nil || ev.User != "alice" || none.ClientPseudonym() {
		t.Errorf("%+v", ev)
	}
}

// FuzzBox seals any text: what is opened is what was sealed, and valid JSON.
func FuzzBox(f *testing.F) {
	f.Add("192.0.2.1", `a\x41"`, "\xff\u2028")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ev := audit.Event{ClientIP: a, Agent: b, RequestHeaders: []audit.Header{{Name: c, Value: a}}}
		set, err := parseMembers([]string{ClientIP, Agent, Headers})
		if err != nil {
			t.Fatal(err)
		}
		text := appendBox(nil, &ev, set)
		got, err := parseBox(text)
		if err != nil || !json.Valid(text) || len(text) > maxBox {
			t.Fatalf("%q: %v", text, err)
		}
		if got.Cut == nil && (got.ClientIP != a || got.Agent != b || got.Headers[0] != (audit.Header{Name: c, Value: a})) {
			t.Errorf("%+v", got)
		}
	})
}

func benchmarkSeal(b *testing.B, subjects bool) {
	x := newBench(b)
	c := x.config()
	c.Subjects = subjects
	s := x.sealer(c)
	ev := x.event("alice")
	_ = s.Seal(&ev)
	b.ReportAllocs()
	for b.Loop() {
		ev.ClientIP, ev.ClientPort, ev.Peer, ev.User, ev.Agent = "192.0.2.7", "5000", "10.0.0.1:80", "alice", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
		if err := s.Seal(&ev); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B)         { benchmarkSeal(b, false) }
func BenchmarkSealSubjects(b *testing.B) { benchmarkSeal(b, true) }

// BenchmarkNewSubject is what the first request of a user on a day costs.
func BenchmarkNewSubject(b *testing.B) {
	x := newBench(b)
	c := x.config()
	c.Subjects, c.MaxSubjects = true, maxSlots
	s := x.sealer(c)
	for i := 0; b.Loop(); i++ {
		ev := x.event(fmt.Sprint("user", i))
		if err := s.Seal(&ev); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewSubjects is the same with many users who come at once.
func BenchmarkNewSubjects(b *testing.B) {
	x := newBench(b)
	c := x.config()
	c.Subjects, c.MaxSubjects = true, maxSlots
	s := x.sealer(c)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ev := x.event(fmt.Sprint("user", n.Add(1)))
			if err := s.Seal(&ev); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkNewDay is what the first record of a day costs.
func BenchmarkNewDay(b *testing.B) {
	x := newBench(b)
	s := x.subjects()
	for b.Loop() {
		x.clock.add(24 * time.Hour)
		ev := x.event("")
		if err := s.Seal(&ev); err != nil {
			b.Fatal(err)
		}
	}
}
