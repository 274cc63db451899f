package audit

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// unescape undoes the rule for text that is not JSON's own.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		n, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "not an escape: " + after[:2]
		}
		b.WriteByte(byte(n))
		s = after[2:]
	}
}

func checkText(t *testing.T, s string) {
	t.Helper()
	e := encoder{}
	e.quote(s)
	var back string
	if err := json.Unmarshal(e.b, &back); err != nil {
		t.Fatalf("%q is written as %s: %v", s, e.b, err)
	}
	if got := unescape(back); got != s {
		t.Errorf("%q is written as %s and comes back as %q", s, e.b, got)
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

// wide is an event with every text far over its limit.
func wide(fill string) Event {
	s := strings.Repeat(fill, 70_000)
	ev := Event{
		Start: time.Unix(1_800_000_000, 123), Duration: time.Second, Trace: s, Server: s, Listener: s, ClientIP: s, ClientPort: s, Peer: s,
		TLS:   TLS{Version: s, Cipher: s, Group: s, ServerName: s, ALPN: s, ClientCert: s, Resumed: true, ECHAccepted: true},
		Proto: s, Method: s, Host: s, Path: s, Query: strings.Repeat(fill+"=1&", 20_000), Agent: s, User: s, AuthMethod: s,
		Upstream: Upstream{Address: s, Status: 200, Latency: 1}, Status: 200, Bytes: 1, End: EndComplete, Error: s,
	}
	ev.ID = NewID(ev.Start)
	return ev
}

func TestEveryEventFitsInARecord(t *testing.T) {
	for _, fill := range []string{"a", "\x00", "\xff", "\\", "€", "<"} {
		ev := wide(fill)
		body := ev.AppendBody(nil, "edge-1")
		if len(body) > segment.MaxBody {
			t.Errorf("filled with %q: %d bytes, the most is %d", fill, len(body), segment.MaxBody)
		}
		var fields struct{ Cut []string }
		if err := json.Unmarshal([]byte("{"+string(body)+"}"), &fields); err != nil {
			t.Fatalf("filled with %q: %v", fill, err)
		}
		if len(fields.Cut) != 22 {
			t.Errorf("filled with %q: %d texts are marked as cut: %v", fill, len(fields.Cut), fields.Cut)
		}
	}
}

func TestCutTextEndsBetweenCharacters(t *testing.T) {
	ev := Event{Host: strings.Repeat("a", maxText-1) + "€€"}
	body := string(ev.AppendBody(nil, ""))
	if !strings.Contains(body, `a","`) && !strings.Contains(body, `a"}`) || strings.Contains(body, `\\x`) {
		t.Errorf("%s", body)
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
	if body := string(ev.AppendBody(nil, "")); strings.Contains(body, "ss") || !strings.Contains(body, `"cut":["query"]`) {
		t.Errorf("%s", body)
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

func TestEncodingDoesNotAllocate(t *testing.T) {
	ev := Event{Start: time.Now(), Method: "GET", Path: "/a", Query: "b=1", Proto: "HTTP/2.0", Host: "example.com", Status: 200, End: EndComplete, Profile: "strict"}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(200, func() { ev.AppendBody(buf, "edge-1") }); n != 0 {
		t.Errorf("%v allocations", n)
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
