package ocsf_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/ocsf"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// schema is made by tools/ocsf from OCSF 1.8.0.
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	b, err := os.ReadFile("testdata/ocsf.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("ocsf.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("ocsf.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func record(t testing.TB, seq int64, b audit.Body) []byte {
	t.Helper()
	frame, err := segment.AppendFrame(nil, seq, 0, b.AppendBody(nil, "edge-1"))
	if err != nil {
		t.Fatal(err)
	}
	return segment.Record(frame)
}

var at = time.Date(2026, 3, 2, 12, 0, 0, 123456789, time.UTC)

// request is a request with text from outside in every place.
func request(method, text string) audit.Event {
	ev := audit.Event{
		Start: at, Duration: 1500 * time.Millisecond, ID: audit.NewID(at), Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
		Server: "srv0", Listener: "127.0.0.1:8443", ClientIP: "192.0.2.1", ClientPort: "1234", Peer: "10.0.0.1:999", Conn: "c1",
		TLS:   audit.TLS{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", ServerName: text, ALPN: "h2"},
		Proto: "HTTP/2.0", Method: method, Host: "example.com:8443", Path: "/" + text, Query: "q=" + text, Agent: text,
		User: text, AuthMethod: "mtls", Access: audit.Decision{Outcome: "allow", Rule: text, Reason: text},
		Cache: "hit", Profile: "strict", Upstream: audit.Upstream{Address: "10.0.0.2:3000", Status: 200, Latency: 7 * time.Millisecond},
		Status: 200, Bytes: 42, End: audit.EndComplete,
		RequestHeaders: []audit.Header{{Name: "Accept", Value: text}}, ResponseHeaders: []audit.Header{{Name: "X", Value: text}},
	}
	return ev
}

// bodies is each kind of record, full and almost empty.
func bodies(text string) []audit.Body {
	full, denied, limited, bare := request("GET", text), request("POST", text), request("BREW", text), audit.Event{Start: at}
	denied.Access.Outcome, denied.Status = "deny", 403
	limited.Limit, limited.Status = audit.Decision{Outcome: "limited", Rule: "login"}, 429
	pseudonymous := request("HEAD", text)
	pseudonymous.ClientIP, pseudonymous.Status, pseudonymous.End = "p:2026-03:abcdefgh", 500, audit.EndPanicked
	who := audit.Actor{Name: text, Known: "verified", How: "mtls", Address: "127.0.0.1:2019"}
	return []audit.Body{
		&full, &denied, &limited, &pseudonymous, &bare, (*audit.Intent)(&full), (*audit.Opening)(&full), (*audit.Intent)(&bare), (*audit.Opening)(&bare),
		&audit.ProtocolError{Time: at, Listener: ":8443", Layer: "tls", Reason: text, Prefix: "192.0.2.0/24", Status: 400, Count: 7, From: at, To: at, Example: text},
		&audit.ProtocolError{Time: at},
		&audit.AdminCall{Time: at, Actor: who, Method: "POST", Path: "/load" + text, Outcome: "allowed", Status: 200, Duration: time.Second, Ticket: text, Reason: text, Error: text},
		&audit.AdminCall{Time: at, Method: "BREW"},
		&audit.EvidenceRead{Time: at, Actor: who, Role: "auditor", Resource: text, Path: "/log", Status: 403, From: at, To: at},
		&audit.EvidenceRead{Time: at},
		&audit.ConfigChange{Time: at, Outcome: "rejected", Source: "admin", Actor: who, Ticket: text, Reason: text, Error: text, Before: "00", After: "11", Risks: []string{"tls_floor_lowered"}},
		&audit.ConfigChange{Time: at},
		&audit.Lockout{Time: at, Action: "lock", What: "principal", Subject: text, Rule: text},
		&audit.Lockout{Time: at, Action: "unlock", What: "principal", Subject: text},
		&audit.CheckTransition{Time: at, Check: "TLS-005", Before: "pass", After: "fail", Summary: text},
		&audit.CheckTransition{Time: at, Check: "TLS-005", After: "unknown"},
		&audit.Process{Time: at, Kind: audit.KindProcessStart, PID: 1}, &audit.Process{Time: at, Kind: audit.KindProcessCrash},
		&audit.Certificate{Time: at, Kind: audit.KindCertRenewed, Names: []string{text}}, &audit.UpstreamChange{Time: at, Kind: audit.KindUpstreamDown, Address: text},
		&audit.LogOpen{Time: at, Origin: "edge-1/soc2"}, &audit.LogClose{Time: at}, &audit.LogGap{Time: at, From: at, To: at, Reason: text},
		&audit.LogErase{Time: at, What: "retention"}, &audit.LogHold{Time: at}, &audit.LogKey{Time: at}, &audit.LogVerify{Time: at}, &audit.LogAnchor{Time: at},
		&audit.LogClock{Time: at, From: at, To: at}, &audit.CachePurge{Time: at}, &audit.BreakGlass{Time: at, Action: "open", Principal: text}, &audit.AccessReview{Time: at, Review: text, Document: text, Actor: who, Reviewer: text, Ticket: text, Reason: text}, &audit.AccessReview{Time: at},
		&audit.LimitChange{Time: at, Kind: audit.KindLimitBan}, &audit.Review{Time: at, Kind: audit.KindReviewSignoff}, &audit.DockerfileCheck{Time: at, File: text, Outcome: "fail"}, &audit.Rollup{Time: at},
	}
}

func convert(t testing.TB, rec []byte) []byte {
	t.Helper()
	c := ocsf.Converter{Origin: "edge-1/soc2", Product: "1.0.0"}
	b, err := c.Append(nil, rec)
	if err != nil {
		t.Fatalf("%s: %v", rec, err)
	}
	return b
}

func validate(t testing.TB, s *jsonschema.Schema, event []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(event))
	if err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s\n%v", event, err)
	}
}

var hostile = []string{"", "x", "a\x00b\xff\"\\<>&\u202e\n", strings.Repeat("ü", 5000), "=cmd|' /C calc'!A0", "[::1]", "host:99999999999999999999"}

func TestEventsAreValid(t *testing.T) {
	s := schema(t)
	for _, text := range hostile {
		for i, b := range bodies(text) {
			event := convert(t, record(t, int64(i), b))
			validate(t, s, event)
			if bytes.ContainsAny(event, "\n\r\x00") {
				t.Errorf("%q is not one line", event)
			}
		}
	}
}

// TestSchemaIsStrict shows that the vendored schema would find mistakes.
func TestSchemaIsStrict(t *testing.T) {
	s := schema(t)
	for _, change := range []func(ev map[string]any){
		func(ev map[string]any) { ev["http_reqest"] = ev["http_request"] },
		func(ev map[string]any) { delete(ev, "metadata") },
		func(ev map[string]any) { ev["activity_id"] = 42 },
		func(ev map[string]any) { ev["type_uid"] = 400100 },
		func(ev map[string]any) { ev["time"] = "2026-01-01" },
		func(ev map[string]any) { delete(ev, "src_endpoint"); delete(ev, "dst_endpoint") },
		func(ev map[string]any) { delete(ev, "http_request"); delete(ev, "http_response") },
		func(ev map[string]any) { ev["src_endpoint"] = map[string]any{"ip": "nowhere"} },
		func(ev map[string]any) { ev["src_endpoint"] = map[string]any{} },
		func(ev map[string]any) { ev["severity_id"] = 12 },
	} {
		full := request("GET", "x")
		var ev map[string]any
		if err := json.Unmarshal(convert(t, record(t, 0, &full)), &ev); err != nil {
			t.Fatal(err)
		}
		change(ev)
		b, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(v) == nil {
			t.Errorf("%s is valid", b)
		}
	}
}

func TestEventProvesItsRecord(t *testing.T) {
	full := request("GET", "a\xffb")
	rec := record(t, 7, &full)
	var ev struct {
		ClassUID int    `json:"class_uid"`
		TypeUID  int    `json:"type_uid"`
		RawData  string `json:"raw_data"`
		Hash     struct {
			Value string `json:"value"`
		} `json:"raw_data_hash"`
		Metadata struct {
			Sequence int64  `json:"sequence"`
			UID      string `json:"uid"`
		} `json:"metadata"`
		Time int64 `json:"time"`
	}
	if err := json.Unmarshal(convert(t, rec), &ev); err != nil {
		t.Fatal(err)
	}
	leaf := tlog.RecordHash([]byte(ev.RawData))
	if ev.RawData != string(rec) || ev.Hash.Value != hex.EncodeToString(leaf[:]) || ev.Metadata.Sequence != 7 || ev.Metadata.UID != "edge-1/soc2:7" {
		t.Errorf("%+v", ev)
	}
	if ev.ClassUID != 4002 || ev.TypeUID != 400203 || ev.Time != at.UnixMilli() {
		t.Errorf("%+v", ev)
	}
}

func FuzzAppend(f *testing.F) {
	for i, b := range bodies("x") {
		f.Add(record(f, int64(i), b))
	}
	s := schema(f)
	f.Fuzz(func(t *testing.T, rec []byte) {
		c := ocsf.Converter{Origin: "o"}
		event, err := c.Append(nil, rec)
		if err != nil {
			return
		}
		validate(t, s, event)
	})
}
