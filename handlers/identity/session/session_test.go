package session

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func key(fill byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, keyBytes)) + "\n"
}

func box(t testing.TB, keys, purpose string) *Box {
	t.Helper()
	k, err := ParseKeys([]byte(keys))
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.Box(purpose)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestACookieOpensWithItsKeyAndPurposeAlone(t *testing.T) {
	sealed := box(t, key(1), "session a").Seal([]byte("hello"), "name")
	for name, c := range map[string]struct {
		b     *Box
		bound string
		want  bool
	}{
		"the same":          {box(t, key(1), "session a"), "name", true},
		"after a rotation":  {box(t, "# new\n"+key(2)+key(1), "session a"), "name", true},
		"the key is gone":   {box(t, key(2), "session a"), "name", false},
		"another purpose":   {box(t, key(1), "login a"), "name", false},
		"another's cookie":  {box(t, key(1), "session b"), "name", false},
		"by another's name": {box(t, key(1), "session a"), "other", false},
	} {
		if plain, err := c.b.Open(sealed, c.bound); (err == nil) != c.want || c.want && string(plain) != "hello" {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
	if again := box(t, key(1), "session a").Seal([]byte("hello"), "name"); again == sealed {
		t.Error("two cookies are the same")
	}
	if strings.Contains(sealed, base64.RawURLEncoding.EncodeToString([]byte("hello"))) {
		t.Error("the contents can be read")
	}
}

func TestNoByteOfACookieCanBeChanged(t *testing.T) {
	b := box(t, key(1), "session")
	sealed := b.Seal([]byte(`{"i":"1","u":"alice"}`), "")
	raw, _ := base64.RawURLEncoding.DecodeString(sealed)
	for i := range raw {
		raw[i] ^= 1
		if _, err := b.Open(base64.RawURLEncoding.EncodeToString(raw), ""); err == nil {
			t.Fatal("byte", i, "can be changed")
		}
		raw[i] ^= 1
	}
	if _, err := b.Open(sealed[:8]+"\n"+sealed[8:], ""); err == nil {
		t.Error("there are two ways to write a cookie")
	}
}

func TestKeysThatCannotBe(t *testing.T) {
	for name, text := range map[string]string{"nothing": "\n", "short": "c2VjcmV0\n", "no base64": "not a key at all!\n", "many": strings.Repeat(key(1), 17)} {
		if _, err := ParseKeys([]byte(text)); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALongSessionIsInSeveralCookies(t *testing.T) {
	for _, n := range []int{1, pieceBytes - 1, pieceBytes, pieceBytes + 1, 2 * pieceBytes, MaxSealed} {
		text := strings.Repeat("x", n)
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		if !SetCookie(w, r, "__Host-s", text, time.Hour) {
			t.Fatal(n, "bytes are not sent")
		}
		for _, c := range w.Result().Cookies() {
			if len(c.String()) > 4096 || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
				t.Errorf("%+v", c)
			}
			r.AddCookie(c)
		}
		if got := Cookie(r, "__Host-s"); got != text {
			t.Errorf("%d bytes come back as %d", n, len(got))
		}
		w = httptest.NewRecorder()
		SetCookie(w, r, "__Host-s", "", 0)
		if gone := w.Result().Cookies(); len(gone) != len(r.Cookies()) {
			t.Errorf("%d of %d cookies are taken back", len(gone), len(r.Cookies()))
		}
		r.AddCookie(&http.Cookie{Name: "app", Value: "1"})
		Strip(r, "__Host-")
		if got := r.Header.Get("Cookie"); got != "app=1" {
			t.Error(got)
		}
	}
	if SetCookie(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), "s", strings.Repeat("x", MaxSealed+1), 0) {
		t.Error("a session that no browser takes is sent")
	}
}

func TestASessionEnds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := Limits{Idle: time.Minute, Absolute: time.Hour}
	s := &Session{ID: "1", User: "alice", Begun: now.Unix(), Seen: now.Unix()}
	for d, want := range map[time.Duration]string{
		0: "", 59 * time.Second: "", time.Minute: string(Idle), time.Hour: string(TooOld), -2 * time.Minute: string(Forged),
	} {
		if why := l.Ended(s, now.Add(d)); string(why) != want {
			t.Errorf("after %s: %q, want %q", d, why, want)
		}
	}
	s.Seen = now.Add(time.Hour).Unix()
	if why := l.Ended(s, now.Add(time.Hour)); why != TooOld {
		t.Error("one that is in use all the time never ends:", why)
	}
}

func TestALogoutOutlivesARestart(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	path := filepath.Join(t.TempDir(), "state", "logouts.json")
	e, err := OpenEnded(path)
	if err != nil {
		t.Fatal(err)
	}
	one, two := &Session{ID: "1", Sid: "p1", Subject: "alice", Begun: now.Unix()}, &Session{ID: "2", Sid: "p2", Subject: "alice", Begun: now.Unix()}
	later := &Session{ID: "3", Sid: "p3", Subject: "bob", Begun: now.Unix() + 1}
	if err := e.Session("1", now, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := e.Provider("p2", "", now, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := e.Provider("", "bob", now, time.Hour); err != nil {
		t.Fatal(err)
	}
	again, err := OpenEnded(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*Ended{e, again} {
		if !e.Has(one) || !e.Has(two) || e.Has(later) || !e.Has(&Session{ID: "4", Subject: "bob", Begun: now.Unix()}) {
			t.Error("what was logged out is in, or who logged in again is out")
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenEnded(path); err == nil {
		t.Error("a damaged file is taken for nobody")
	}
	if !e.Once("x", now, time.Minute) || e.Once("x", now, time.Minute) || !e.Once("x", now.Add(2*time.Minute), time.Minute) {
		t.Error("once is not once")
	}
}

// TestWhatIsNotLoggedOutIsNotWritten holds that only logouts cost the disk, and
// each once.
func TestWhatIsNotLoggedOutIsNotWritten(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	path := filepath.Join(t.TempDir(), "logouts.json")
	e, err := OpenEnded(path)
	if err != nil {
		t.Fatal(err)
	}
	e.Once("login x", now, time.Hour)
	look := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	logout := func(id string) {
		t.Helper()
		if err := e.Session(id, now, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	logout("1")
	first := look()
	if data, _ := os.ReadFile(path); strings.Contains(string(data), "login x") {
		t.Errorf("%s", data)
	}
	logout("1")
	if !os.SameFile(first, look()) {
		t.Error("a logout is written twice")
	}
	logout("2")
	if os.SameFile(first, look()) {
		t.Error("another logout is not written")
	}
}

// TestLogoutsOutliveAFloodOfLogins holds that logins that anybody begins take no
// room from logouts, not even from those that end sooner.
func TestLogoutsOutliveAFloodOfLogins(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	e, _ := OpenEnded("")
	if err := e.Session("1", now, time.Minute); err != nil {
		t.Fatal(err)
	}
	for i := range maxEnded + 10 {
		e.Once(strconv.Itoa(i), now, time.Hour)
	}
	if !e.Has(&Session{ID: "1", Begun: now.Unix()}) {
		t.Error("a logout is forgotten")
	}
	if len(e.seen) > maxEnded {
		t.Error(len(e.seen), "are remembered")
	}
}

func TestALogoutOfASubjectReachesSessionsWithoutTheProvidersName(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	e, _ := OpenEnded("")
	if err := e.Provider("p1", "alice", now, time.Hour); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		Session
		out bool
	}{
		"that session":      {Session{ID: "1", Sid: "p1", Subject: "alice", Begun: now.Unix()}, true},
		"without a name":    {Session{ID: "2", Subject: "alice", Begun: now.Unix()}, true},
		"another":           {Session{ID: "3", Sid: "p2", Subject: "alice", Begun: now.Unix()}, false},
		"somebody else's":   {Session{ID: "4", Subject: "bob", Begun: now.Unix()}, false},
		"one that is later": {Session{ID: "5", Subject: "alice", Begun: now.Unix() + 1}, false},
	} {
		if e.Has(&c.Session) != c.out {
			t.Errorf("%s: logged out is %v", name, !c.out)
		}
	}
}

func FuzzOpen(f *testing.F) {
	b := box(f, key(1), "session")
	good, _ := b.SealSession(&Session{ID: "1", User: "alice"})
	f.Add(good)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := b.OpenSession(text)
		if err != nil {
			return
		}
		// It is what was sealed here, or by the process that began the fuzzing with
		// another nonce, in the one form that it is written in.
		data, err := encoding.DecodeString(text)
		if err != nil || encoding.EncodeToString(data) != text || s.User != "alice" || s.ID != "1" {
			t.Fatalf("%q opens as %+v", text, s)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("# new\n"+base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n"), "x")
	f.Add([]byte("c2hvcnQ=\n"), "")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		keys, err := ParseKeys(data)
		if (keys == nil) == (err == nil) {
			t.Fatal(keys, err)
		}
		if err != nil {
			return
		}
		box, err := keys.Box("fuzz")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := box.Open(text, "name"); err == nil {
			t.Fatalf("%q was sealed by nobody", text)
		}
	})
}
