package ocsf_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/evidence/population/ocsf"
)

// schema is the vendored one of OCSF 1.8.0.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := os.ReadFile("../../../audit/ocsf/testdata/ocsf.schema.json")
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

func TestEachRowIsAnEventOfTheSchema(t *testing.T) {
	key, err := audit.NewKey("edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "log")
	log, err := audit.Open(audit.Config{Dir: dir, Key: key, Instance: "edge-1", CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	at, who := time.Now(), audit.Actor{Name: "CN=ops", Known: "verified", How: "mtls", Address: "192.0.2.1:5"}
	n := 0
	for _, text := range []string{"", "<script>alert(1)</script>", "=1+1", "\xff\x00\u202e", "\r\n"} {
		for _, body := range []audit.Body{
			&audit.Event{Start: at, Method: "GET", Host: "a.example", Path: text, Query: text, Agent: text, User: text, ClientIP: "192.0.2.1", Status: 403, Limit: audit.Decision{Outcome: "limited", Rule: text}, End: audit.EndComplete},
			&audit.ConfigChange{Time: at, Actor: who, Outcome: "applied", Reason: text, Risks: []string{text}},
			&audit.AdminCall{Time: at, Actor: who, Method: "POST", Path: text, Status: 200, Outcome: "allowed"},
			&audit.Certificate{Time: at, Kind: audit.KindCertFailed, Names: []string{"a.example"}, Error: text},
			&audit.UpstreamChange{Time: at, Kind: audit.KindUpstreamDown, Address: "10.0.0.1:80", Before: "up", Cause: "active", Error: text},
			&audit.EvidenceRead{Time: at, Actor: who, Path: text, Status: 200, Resource: text},
			&audit.Process{Time: at, Kind: audit.KindProcessCrash, Reason: text},
			&audit.CheckTransition{Time: at, Check: "TLS-001", Before: "pass", After: "fail", Summary: text},
			&audit.ProtocolError{Time: at, Layer: "tls", Reason: "x", Count: 2, From: at, To: at, Example: text},
			&audit.Lockout{Time: at, Action: "lock", What: "principal", Subject: "alice", Reason: text},
			&audit.LogHold{Time: at, Action: "set", Name: text},
			&audit.Review{Time: at, Kind: audit.KindReviewTriage, Actor: who, Subject: text, Verdict: "benign"},
		} {
			if _, err := log.Append(t.Context(), body.AppendBody(nil, "edge-1")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	head, err := population.Open(records.Dir{FS: os.DirFS(dir)}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	valid := schema(t)
	for _, p := range population.All() {
		var out bytes.Buffer
		x := population.Export{Options: population.Options{Population: p}, Format: ocsf.Format, Encoder: ocsf.New(ocsf.Format, "v1")}
		prov, err := population.Write(context.Background(), head, &out, x)
		if p.Derived {
			if !errors.Is(err, population.ErrOption) {
				t.Errorf("%s: %v", p.Name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(p.Name, err)
		}
		lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
		if prov.Count < 5 || int64(len(lines)) != prov.Count {
			t.Errorf("%s: %d lines for %d rows", p.Name, len(lines), prov.Count)
		}
		for _, line := range lines {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
			if err == nil {
				err = valid.Validate(v)
			}
			if err != nil {
				t.Errorf("%s: %v in %s", p.Name, err, line)
			}
			n++
		}
	}
	if ocsf.New("xls", "") != nil || ocsf.New("csv", "") == nil || n == 0 {
		t.Error("formats")
	}
}
