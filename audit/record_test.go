package audit

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

func checkText(t *testing.T, s string) {
	t.Helper()
	e := encoder{}
	e.quote(s)
	var back string
	if err := json.Unmarshal(e.b, &back); err != nil {
		t.Fatalf("%q is written as %s: %v", s, e.b, err)
	}
	if got, ok := Unescape(back); !ok || string(got) != s {
		t.Errorf("%q is written as %s and comes back as %q, %v", s, e.b, got, ok)
	}
	if got, err := text(string(e.b)); err != nil || got != s {
		t.Errorf("%q is written as %s and read as %q, %v", s, e.b, got, err)
	}
	for _, r := range string(e.b) {
		if acts(r) {
			t.Errorf("%q is written as %q with a bare %U", s, e.b, r)
		}
	}
	for _, c := range e.b {
		if c < 0x20 || c == 0x7f || c == '<' || c == '>' || c == '&' {
			t.Errorf("%q is written as %q with a bare %q", s, e.b, c)
		}
	}
}

func TestTextIsLossless(t *testing.T) {
	for _, s := range []string{"", "plain", `back\slash`, `\x41`, `\\x`, "quote\"", "line\nfeed\r\t\x00\x1b[2J", "<script>&", "grün € 𝄞", "bad \xff\xfe utf-8 \xc3", "\xed\xa0\x80 surrogate", "\u2028", "\x7f", "\u009b2J", "\u202eevil\u2069", "\ufeff"} {
		checkText(t, s)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\xff\\\n")
	f.Fuzz(checkText)
}

func TestCutTextEndsBetweenCharacters(t *testing.T) {
	for text, want := range map[string]int{
		strings.Repeat("a", maxText-1) + "€€":      maxText - 1,
		strings.Repeat("a", maxText-3) + "€€":      maxText,
		strings.Repeat("\x80", 2*maxText):          maxText,     // no character begins anywhere
		strings.Repeat("a", maxText) + "\x80":      maxText - 1, // it might belong to the last a
		strings.Repeat("a", maxText-2) + "𝄞" + "b": maxText - 2,
	} {
		ev := Event{Host: text}
		got := roundTrip(t, &ev, "").(*Event)
		if len(got.Host) != want || !strings.HasPrefix(text, got.Host) || !slices.Equal(got.Cut, []string{"request.host"}) {
			t.Errorf("%q is kept as %q, with %v", text, got.Host, got.Cut)
		}
	}
}

func TestCutNamesMembersByTheirPath(t *testing.T) {
	long := strings.Repeat("x", maxPath+1)
	ev := Event{Method: long, AuthMethod: long, Trace: long, Mended: make([]string, maxItems+3)}
	got := roundTrip(t, &ev, "").(*Event)
	if want := []string{"trace", "request.method", "auth.method"}; !slices.Equal(got.Cut, want) {
		t.Errorf("cut is %q, want %q", got.Cut, want)
	}
	if want := []Count{{"headers.mended", 3}}; !slices.Equal(got.LeftOut, want) {
		t.Errorf("left out is %v, want %v", got.LeftOut, want)
	}
}

func TestQueryValuesAreNotKept(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a=1": "a=*", "a=1&b=secret": "a=*&b=*", "token": "*", "a=1&token&b": "a=*&*&*", "a=b=c": "a=*", "=x": "=*", "&": "*",
	} {
		ev := Event{Query: in}
		var r struct{ Request struct{ Query string } }
		if err := json.Unmarshal([]byte("{"+string(ev.AppendBody(nil, ""))+"}"), &r); err != nil {
			t.Fatal(err)
		}
		if r.Request.Query != want {
			t.Errorf("%q is kept as %q, want %q", in, r.Request.Query, want)
		}
	}
}

func TestLongQueryShowsNoHalfValue(t *testing.T) {
	ev := Event{Query: "a=" + strings.Repeat("s", 2*maxQuery) + "&b=1"}
	if got := roundTrip(t, &ev, "").(*Event); got.Query != "a=*&b=*" || got.Cut != nil {
		t.Errorf("%q, %v", got.Query, got.Cut)
	}
	ev = Event{Query: strings.Repeat("key=s&", maxQuery)}
	got := roundTrip(t, &ev, "").(*Event)
	if len(got.Query) > maxQuery || len(got.Query) < maxQuery-10 || !strings.HasSuffix(got.Query, "&key=*") || !slices.Equal(got.Cut, []string{"request.query"}) {
		t.Errorf("%q, %v", got.Query, got.Cut)
	}
	ev = Event{Query: strings.Repeat("k", maxQuery) + "=1"}
	if got := roundTrip(t, &ev, "").(*Event); got.Query != "" || !slices.Equal(got.Cut, []string{"request.query"}) {
		t.Errorf("%q, %v", got.Query, got.Cut)
	}
}

// TestRecordIsThePublishedOne pins the bytes of a record: what is hashed must
// not change from one version to the next.
func TestRecordIsThePublishedOne(t *testing.T) {
	ev := Event{
		Start: time.Date(2026, 11, 21, 3, 4, 5, 6, time.UTC), Duration: 1500, Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
		Server: "srv0", Listener: "127.0.0.1:8443", ClientIP: "192.0.2.1", Peer: "10.0.0.1:999",
		TLS:   TLS{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", ServerName: "example.com", ALPN: "h2", Resumed: true},
		Proto: "HTTP/2.0", Method: "GET", Host: "example.com", Path: "/a%20b", Query: "q=1", Agent: "test",
		User: "alice", AuthMethod: "mtls", Access: Decision{"allow", "staff", ""}, Cache: "hit",
		Profile: "strict", Mended: []string{"csp"}, Upstream: Upstream{"10.0.0.2:3000", 200, 7}, Status: 200, Bytes: 42, End: EndComplete,
	}
	ev.ID = ID{1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
	const want = `"time":"2026-11-21T03:04:05.000000006Z","kind":"request","instance":"edge-1","id":"01020304-0506-7708-890a-0b0c0d0e0f10","trace":"4bf92f3577b34da6a3ce929d0e0e4736","server":"srv0","listener":"127.0.0.1:8443","client":{"ip":"192.0.2.1","peer":"10.0.0.1:999"},"tls":{"version":"1.3","cipher":"TLS_AES_128_GCM_SHA256","group":"X25519MLKEM768","sni":"example.com","alpn":"h2","resumed":true},"request":{"proto":"HTTP/2.0","method":"GET","host":"example.com","path":"/a%20b","query":"q=*","agent":"test"},"auth":{"user":"alice","method":"mtls"},"access":{"outcome":"allow","rule":"staff"},"cache":"hit","headers":{"profile":"strict","mended":["csp"]},"upstream":{"address":"10.0.0.2:3000","status":200,"latency_ns":7},"response":{"status":200,"bytes":42,"end":"complete"},"duration_ns":1500`
	if got := string(ev.AppendBody(nil, "edge-1")); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestIDsRoundTrip(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_123)
	id := NewID(now)
	back, err := ParseID(id.String())
	if err != nil || back != id || !id.Time().Equal(now) || id.String()[14] != '7' || !strings.ContainsRune("89ab", rune(id.String()[19])) {
		t.Errorf("%s: %v, %v, %v", id, back, err, id.Time())
	}
	for _, bad := range []string{"", "x", strings.Repeat("-", 36), "0102030405067708890a0b0c0d0e0f10", "g1020304-0506-7708-890a-0b0c0d0e0f10"} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestHeaderReadsBack(t *testing.T) {
	ev := Event{Start: time.Date(2026, 11, 21, 3, 4, 5, 6, time.UTC)}
	ev.ID = NewID(ev.Start)
	frame, err := segment.AppendFrame(nil, 7, 0, ev.AppendBody(nil, "edge-1"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseHeader(segment.Record(frame))
	if want := (RecordHeader{7, ev.Start, KindRequest, "edge-1", ev.ID.String()}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if kindOf(segment.Record(frame)) != KindRequest || timeOf(segment.Record(frame)) != "2026-11-21T03:04:05.000000006Z" {
		t.Error("the fixed places do not hold kind and time")
	}
}
