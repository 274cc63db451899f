package audit

import "time"

var when = time.Date(2026, 11, 21, 3, 4, 5, 678_901_234, time.UTC)

const (
	hashA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	hashB = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
	rootA = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
)

var admin = Actor{Name: "uid:1000(deploy)/gid:1000/pid:4242/exe:/usr/bin/caddy", Known: "verified", How: "peer", Claim: "alice", Address: "@"}

// examples has one record of each kind's type, as docs/records.md shows them.
func examples() []Body {
	request := realistic()
	request.Level, request.Rule = "headers", "api"
	request.RequestHeaders = []Header{{"Accept", "text/html"}, {"Referer", "https://example.com/"}}
	request.Pseudonyms, request.Lookup, request.Redacted = []string{"auth.user"}, "2026-11", []string{"request.path"}
	request.User = "hmac:5b1c0c7f9e3d4a21"
	request.Mended, request.Reported = []string{"hsts", "server"}, []string{"coep"}
	request.Wrong = []Header{{"Strict-Transport-Security", "max-age=0"}, {"Server", "Apache/2.4.1"}}
	socket := realistic()
	socket.Path, socket.Query, socket.Status = "/live", "", 101
	post := realistic()
	post.Method, post.Query = "POST", ""

	bodies := []Body{request, (*Intent)(post), (*Opening)(socket)}
	bodies = append(bodies, adminExamples()...)
	bodies = append(bodies, edgeExamples()...)
	return append(bodies, logExamples()...)
}

func adminExamples() []Body {
	return []Body{
		&ConfigChange{
			Time: when, Outcome: "applied", Source: "reload", Mode: "load_only", Actor: admin, Method: "POST", Path: "/load",
			File: "/etc/caddy/Caddyfile", Adapter: "caddyfile", Ticket: "CHG-42", Reason: "new upstream", Before: hashA, After: hashB,
			Diff:  JSON{Value: []byte(`[{"op":"replace","path":"/apps/http/servers/srv0/routes/0/handle/0/upstreams/0/dial","value":"app2:3000"}]`)},
			Risks: []string{"upstream_external_new"},
		},
		&AdminCall{
			Time: when, Actor: admin, Listener: "unix//run/caddy/admin.sock", Method: "POST", Host: "caddy", Path: "/load", BodyBytes: 4211,
			BodySHA256: hashA, Ticket: "CHG-42", Reason: "new upstream", Outcome: "allowed", Status: 200, Duration: 41_234_567,
		},
		&EvidenceRead{
			Time: when, Actor: Actor{Name: "auditor@example.org", Known: "verified", How: "mtls", Address: "198.51.100.9", ClientCert: hashB},
			Role: "auditor", Resource: "population", Name: "denials", Path: "/.soc2/v1/populations/denials", Query: "from=2026-10-01&to=2026-11-01",
			Format: "csv", From: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
			Outcome: "allowed", Status: 200, Rows: 118, Bytes: 20_412, First: 71_002, Last: 1_048_400, TreeSize: 1_048_822, TreeRoot: rootA,
		},
		&CheckTransition{
			Time: when, Check: "TLS-001", Version: 4, Definition: hashA, Severity: "high", Class: "design", Criteria: []string{"CC6.1", "CC6.7"},
			Before: "pass", After: "fail", Since: when.Add(-50 * time.Hour), Trigger: "change", Summary: "1 of 3 TLS policies allows TLS 1.2; the floor is TLS 1.3",
			Config: hashB, Threshold: "tls1.3", Evidence: JSON{Value: []byte(`[{"pointer":"/apps/http/servers/srv0/tls_connection_policies/2","value":"tls1.2"}]`)},
		},
		&DockerfileCheck{
			Time: when, File: "Dockerfile", Target: "app", Profile: "strict", Rules: 1, Outcome: "pass", Warnings: 0, Waived: 1,
			Inputs: []string{hashA + " Dockerfile", hashB + " .dockerignore"}, Statement: hashA, By: "ci", Reason: "build 4711",
			Findings: JSON{Value: []byte(`[{"rule":"P01","severity":"warn","line":7,"stage":"app","message":"apk installs tini in whatever version there is","waived":"RISK-9 until 2027-01-31"}]`)},
		},
		&Review{
			Time: when, Kind: KindReviewException, Actor: admin, Subject: "UPS-004", Verdict: "accepted", Owner: "platform-team",
			Until: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), Ticket: "RISK-7", Reason: "single node", Approver: "carol@example.com",
		},
	}
}

func edgeExamples() []Body {
	return []Body{
		&Certificate{
			Time: when, Kind: KindCertRenewed, Names: []string{"shop.example.com"}, Issuer: "acme-v02.api.letsencrypt.org-directory",
			Serial: "04a1b2c3", SHA256: hashA, KeyType: "ecdsa-p256", NotBefore: when.Add(-time.Hour), NotAfter: when.Add(2159 * time.Hour),
			Remaining: 2159 * time.Hour, Managed: true, Source: "event",
		},
		&UpstreamChange{
			Time: when, Kind: KindUpstreamDown, Address: "10.1.2.9:3000", Server: "srv0", Check: "GET /healthz", Before: "up", Lasted: 7 * time.Hour, Cause: "active",
			Requests: 3, Served: 81_204, Failed: 2, Error: "dial tcp 10.1.2.9:3000: connect: connection refused",
		},
		&ProtocolError{
			Time: when, Listener: "[::]:443", Layer: "tls", Reason: "no_shared_version", Prefix: "192.0.2.0/24", Count: 412,
			From: when.Add(-time.Minute), To: when, Example: "tls: client offered only unsupported versions: [302 301]",
		},
		&BrowserReport{
			Time: when, Host: "shop.example.com", Type: "csp-violation", Directive: "script-src-elem", Blocked: "https://cdn.example.net",
			Disposition: "report", Page: "/cart", Count: 31, From: when.Add(-time.Minute), To: when,
		},
		&Lockout{
			Time: when, Action: "lock", What: "principal", Subject: "hmac:5b1c0c7f9e3d4a21", Pseudo: true, Provider: "password", Rule: "login",
			Attempts: 10, Window: 5 * time.Minute, Until: when.Add(15 * time.Minute),
		},
		&BreakGlass{
			Time: when, Action: "open", Grant: "bg-3f9a1c77", Policy: "shop", Principal: "oncall@example.com", Actor: admin, Reason: "payments are down", Ticket: "INC-7",
			Until: when.Add(time.Hour),
		},
		&AccessReview{
			Time: when, Review: "ar-3f9a1c7700d2e4b1", Part: 1, Parts: 1, Actor: admin, Reviewer: "carol@example.com", Document: hashA,
			From: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Size: 1_048_822, Root: rootA, Config: hashB,
			Grants: 2, Kept: 1, Revoked: 1, Ticket: "AR-2026-10", Reason: "quarterly review",
			Decisions: JSON{Value: []byte(`[{"grant":"rule:default/staff","decision":"keep"},{"grant":"api_key:robot","decision":"revoke","note":"not used"}]`)},
		},
		&LimitChange{
			Time: when, Kind: KindLimitEnd, Zone: "login", Key: "203.0.113.77", Limit: "10/1m burst 5", Mode: "gcra", Allowed: 15, Refused: 3022,
			From: when.Add(-2 * time.Minute), To: when,
		},
		&CachePurge{Time: when, Actor: admin, Selector: "prefix", Value: "https://shop.example.com/img/", Outcome: "done", Removed: 214, Bytes: 9_882_113, Reason: "CHG-43"},
		&Process{
			Time: when, Kind: KindProcessStart, PID: 1, Boot: "0193bc2f", Config: hashB,
			Program: Program{
				Path: "/usr/bin/caddy", SHA256: hashA, Version: "v2.11.9", Go: "go1.26.8", Revision: "3794a82",
				Settings: []string{"CGO_ENABLED=0"}, Modules: []string{"github.com/caddy-soc2/caddy-soc2@v1.0.0", "github.com/caddyserver/caddy/v2@v2.11.9 h1:KdUQ/Ti9FhWTrvJGYiNEVVPMbGzDOCFZ3wbHlyS4MvA="},
			},
			Host:  Host{Name: "edge-1", OS: "linux", Arch: "amd64", Kernel: "6.12.0", Image: "registry.example.com/edge@sha256:" + hashB, UID: "65532", GID: "65532"},
			Clock: Clock{Known: true, Synced: true, Offset: 210_000, Source: "adjtimex"}, FIPS: FIPS{Enabled: true, Version: "v1.0.0"},
			Limits: []string{"cpus=2", "files=1048576"},
		},
	}
}

func logExamples() []Body {
	return []Body{
		&LogOpen{Time: when, Origin: "edge-1.example.com/soc2", Key: "edge-1.example.com/soc2+a1b2c3d4+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh", Unsigned: 12, Torn: 417},
		&LogClose{Time: when},
		&LogGap{Time: when, Cause: "failure", Reason: "write segments/00000000000000004096.log: no space left on device", From: when.Add(-time.Minute), To: when.Add(-time.Second), Refused: 1204, Served: 0, Lost: 0},
		&LogClock{Time: when, From: when.Add(time.Hour), To: when},
		&LogErase{Time: when, What: "retention", UpTo: 81_920, Segments: 20, By: "retain 400d", Reason: "older than 400 days"},
		&LogHold{Time: when, Action: "set", Name: "case-2026-11", Reason: "litigation", By: "legal@example.com"},
		&LogKey{Time: when, Use: "checkpoint", Action: "rotate", Key: "edge-1.example.com/soc2+0badcafe+AQ…", Old: "edge-1.example.com/soc2+a1b2c3d4+AQ…", By: "alice", Reason: "yearly"},
		&LogVerify{Time: when, Outcome: "verified", First: 0, Records: 1_048_822, Bytes: 641_233_180, Duration: 1_602_000_000},
		&LogAnchor{Time: when, What: "witness", Name: "w.example.org", Outcome: "ok", Size: 1_048_822, Root: rootA},
		&Rollup{
			Time: when, First: 4096, Records: 2048, From: "2026-11-21T02:04:05.000000006Z", To: "2026-11-21T03:04:05.000000006Z", Bytes: 1_302_118, SealedBytes: 214_006, SHA256: hashA,
			Kinds: []Count{{"cert.renewed", 1}, {"request", 2047}}, Requests: JSON{Value: []byte(`{"total":2047,"bytes":8731002,"status":{"200":2001,"403":46}}`)}, Prev: 4001,
		},
	}
}
