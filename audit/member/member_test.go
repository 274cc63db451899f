package member_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
)

const request = `{"v":1,"seq":7,"pos":0,"time":"2026-11-21T03:04:05.000000006Z","kind":"request","instance":"edge-1","id":"01020304-0506-7708-890a-0b0c0d0e0f10","trace":"4bf92f3577b34da6a3ce929d0e0e4736","server":"srv0","listener":"127.0.0.1:8443","client":{"ip":"192.0.2.1","peer":"10.0.0.1:999"},"tls":{"version":"1.3","cipher":"TLS_AES_128_GCM_SHA256","group":"X25519MLKEM768","sni":"example.com","alpn":"h2","resumed":true},"request":{"proto":"HTTP/2.0","method":"GET","host":"example.com","path":"/a%20b","query":"q=*","agent":"test"},"auth":{"user":"alice","method":"mtls"},"access":{"outcome":"allow","rule":"staff"},"cache":"hit","headers":{"profile":"strict","mended":["csp"]},"upstream":{"address":"10.0.0.2:3000","status":200,"latency_ns":7},"response":{"status":200,"bytes":42,"end":"complete"},"duration_ns":1500,"crc":"00000000"}`

func TestFieldsAreFound(t *testing.T) {
	var r member.Record
	if err := r.Read([]byte(request)); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[member.Field]string{
		member.Time: "2026-11-21T03:04:05.000000006Z", member.Kind: "request", member.Level: "", member.Cache: "hit", member.TLSVersion: "1.3",
		member.Proto: "HTTP/2.0", member.Method: "GET", member.Host: "example.com", member.User: "alice", member.Access: "allow",
		member.Limit: "", member.Upstream: "10.0.0.2:3000", member.End: "complete", member.Status: "",
	} {
		if got := string(r.Text(f)); got != want {
			t.Errorf("field %d is %q, want %q", f, got, want)
		}
	}
	for f, want := range map[member.Field]int64{member.Status: 200, member.Bytes: 42, member.Duration: 1500} {
		if got, ok := r.Number(f); !ok || got != want {
			t.Errorf("field %d is %d, want %d", f, got, want)
		}
	}
	if !r.Items(member.Mended) {
		t.Error("nothing was mended")
	}
	if _, ok := r.Number(member.End); ok {
		t.Error("a text is a number")
	}
}

// frame is a record with the given members after its kind.
func frame(members string) string {
	return `{"v":1,"seq":0,"pos":0,"time":"t","kind":"k"` + members + `,"crc":"00000000"}`
}

func TestCraftedRecordsAreRefused(t *testing.T) {
	for name, record := range map[string]string{
		"second kind":          frame(`,"kind":"request"`),
		"second kind, escaped": frame(`,"k\u0069nd":"request"`),
		"second status":        frame(`,"response":{"status":200,"status":500}`),
		"escaped status":       frame(`,"response":{"status":200,"\u0073tatus":500}`),
		"long name twice":      frame(`,"` + strings.Repeat("n", 99) + `":1,"` + strings.Repeat("n", 99) + `":1`),
		"control key twice":    frame(`,"a":{"\t\\":1,"\u0009\\":1}`),
		"escaped slash":        frame(`,"a":{"\/":1}`),
		"many, one twice":      frame(`,"x":{` + manyNames(200) + `,"n3":1}`),
		"kind before time":     `{"v":1,"seq":0,"pos":0,"kind":"k","time":"t","crc":"00000000"}`,
		"kind is no text":      `{"v":1,"seq":0,"pos":0,"time":"t","kind":{"a":1},"crc":"00000000"}`,
		"no crc":               `{"v":1,"seq":0,"pos":0,"time":"t","kind":"k","a":1}`,
		"crc in a text":        `{"v":1,"seq":0,"pos":0,"time":"t","kind":"k\",\"crc\":\"00000000"}`,
		"crc not last":         frame(`,"crc":"1","a":1`),
		"blank":                frame(`, "a":1`),
		"line":                 frame(",\"a\":1\n"),
		"two objects":          frame("") + frame(""),
		"bad UTF-8":            frame(",\"a\":\"\xff\""),
		"control character":    frame(",\"a\":\"\x01\""),
		"bad escape":           frame(`,"a":"\x41"`),
		"bad number":           frame(`,"a":01`),
		"plus":                 frame(`,"a":+1`),
		"open list":            frame(`,"a":[1`),
		"open object":          frame(`,"a":{"b":1`),
		"trailing comma":       frame(`,"a":[1,]`),
		"deep":                 frame(`,"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)),
		"too long":             frame(`,"a":"` + strings.Repeat("a", 1<<16) + `"`),
		"empty":                "",
		"list":                 "[]",
		"nothing":              "{}",
	} {
		var r member.Record
		if err := r.Read([]byte(record)); !errors.Is(err, member.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		} else if r.Text(member.Kind) != nil {
			t.Errorf("%s: something was read", name)
		}
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"n%d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func TestHonestRecordsAreRead(t *testing.T) {
	for name, record := range map[string]string{
		"least":       frame(""),
		"many":        frame(`,"x":{` + manyNames(5000) + `}`),
		"deep":        frame(`,"a":{"b":[[[{"c":[{},[],null,true,false,-1.5e+3]}]]]}`),
		"same deeper": frame(`,"a":{"b":{"c":1,"c":2}}`),
		"text":        frame(`,"a":"\\x41 € \u2028 \"\/"`),
		"escaped key": frame(`,"a":{"\u003cb\\x5c":1}`),
		"control key": frame(`,"a":{"\b\t\n\f\r":1,"\\t":1,"t":1,"\t":1,"\n":1,"\u000b":1}`),
		"full":        request,
	} {
		var r member.Record
		if err := r.Read([]byte(record)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNamesThatAreInNoTableHaveNoFields fills the table of names, so that those
// which follow are not in it.
func TestNamesThatAreInNoTableHaveNoFields(t *testing.T) {
	var r member.Record
	if err := r.Read([]byte(frame("," + manyNames(200)))); err != nil {
		t.Fatal(err)
	}
	if err := r.Read([]byte(frame(`,"` + strings.Repeat("n", 99) + `":{"time":"u","kind":"l","cache":"hit","status":1}`))); err != nil {
		t.Fatal(err)
	}
	if k := string(r.Text(member.Kind)); k != "k" || r.Text(member.Cache) != nil {
		t.Errorf("kind %s, cache %s", k, r.Text(member.Cache))
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	var r member.Record
	b := []byte(request)
	if n := testing.AllocsPerRun(100, func() { _ = r.Read(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRead compares with encoding/json: what is read is JSON, and has one value
// for each name, which is the one that was read.
func FuzzRead(f *testing.F) {
	f.Add([]byte(request))
	f.Add([]byte(frame(`,"a":[1,{"b":"\\x41\u2028"}],"response":{"status":-0.5e1}`)))
	f.Add([]byte(frame(`,"k\u0069nd":1`)))
	var r member.Record
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		if err := r.Read(b); err != nil {
			return
		}
		if !bytes.Equal(b, before) || !json.Valid(b) {
			t.Fatalf("%q is not JSON", b)
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatal(err)
		}
		if string(all["kind"]) != `"`+string(r.Text(member.Kind))+`"` || string(all["time"]) != `"`+string(r.Text(member.Time))+`"` {
			t.Fatalf("%q: kind %s, time %s", b, all["kind"], all["time"])
		}
		var inner map[string]json.RawMessage
		if json.Unmarshal(all["response"], &inner) == nil {
			if n, ok := r.Number(member.Status); ok && string(inner["status"]) != fmt.Sprint(n) && inner["status"][0] != '0' {
				t.Fatalf("%q: status %d", b, n)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var r member.Record
	raw := []byte(request)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if err := r.Read(raw); err != nil {
			b.Fatal(err)
		}
	}
}
