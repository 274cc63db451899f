package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// row is a way to get a response or a refusal from a server.
type row struct {
	name string
	do   func(*peer)

	// records says, as regular expressions of "STATUS END" in ascending order,
	// how the requests of this row are recorded.
	records []string
	// counts says, as "LAYER REASON STATUS", how the protocol.error records
	// count those that reached no handler.
	counts []string
}

// ledger is what a log says of requests.
type ledger struct {
	requests map[string]request // by id
	byAgent  map[string][]string
	counts   map[string]int // by "LAYER REASON STATUS"
	kinds    map[string]int
}

type request struct {
	status int
	agent  string
}

// readLedger reads the log. It fails the test if a request is recorded twice.
func (h home) readLedger() ledger {
	h.t.Helper()
	l := ledger{map[string]request{}, map[string][]string{}, map[string]int{}, map[string]int{}}
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(seq int64, b []byte) error {
		var r struct {
			Kind, ID, Layer, Reason string
			Status, Count           int
			Request                 struct{ Agent, Path string }
			Response                struct {
				Status int
				End    string
			}
		}
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		l.kinds[r.Kind]++
		switch r.Kind {
		case "protocol.error":
			l.counts[fmt.Sprintf("%s %s %d", r.Layer, r.Reason, r.Status)] += r.Count
		case "request":
			if _, twice := l.requests[r.ID]; twice {
				return fmt.Errorf("record %d: request %s is recorded twice", seq, r.ID)
			}
			agent, _, _ := strings.Cut(r.Request.Agent, " grpc-go/") // which it adds
			l.requests[r.ID] = request{r.Response.Status, agent}
			l.byAgent[agent] = append(l.byAgent[agent], fmt.Sprintf("%d %s", r.Response.Status, r.Response.End))
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

// TestOneRecordOrOneCountForEach gets responses and refusals in every way of the
// table from a running server. Each is one record of a request, or one in the
// counts of what reached no handler. The sums are those that the client's own
// sockets show.
func TestOneRecordOrOneCountForEach(t *testing.T) {
	h := newHome(t)
	s := startStage(h)
	tap := &wiretap{}
	wantCounts := map[string]int{}
	for i := range rows {
		t.Run(rows[i].name, func(t *testing.T) { rows[i].do(&peer{t: t, stage: s, tap: tap, name: rows[i].name}) })
		for _, c := range rows[i].counts {
			wantCounts[c]++
		}
	}
	if code := s.p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, s.p.text())
	}
	l := h.readLedger()
	for _, r := range rows {
		got := slices.Sorted(slices.Values(l.byAgent[r.name]))
		if !slices.EqualFunc(got, r.records, func(s, want string) bool { return regexp.MustCompile("^" + want + "$").MatchString(s) }) {
			t.Errorf("%s: recorded as %q, want %q", r.name, got, r.records)
		}
		delete(l.byAgent, r.name)
	}
	if len(l.byAgent) > 0 {
		t.Errorf("records of nobody: %q", l.byAgent)
	}
	if !maps.Equal(l.counts, wantCounts) {
		t.Errorf("counts\n%v, want\n%v", l.counts, wantCounts)
	}
	reconcile(t, l, tap)
	t.Log("\n" + h.verify())
}

// reconcile holds the log against the client's sockets. What has a request id
// is a record with the same status; what has none is counted under its status;
// what brought nothing is a record whose response did not get out, or a count
// without a status.
func reconcile(t *testing.T, l ledger, tap *wiretap) {
	t.Helper()
	replies := tap.replies(t)
	unseen := len(l.requests)
	nothing, counted, silent := 0, map[int]int{}, 0
	for key, n := range l.counts {
		status, _ := strconv.Atoi(key[strings.LastIndexByte(key, ' ')+1:])
		if status == 0 {
			silent += n
		} else {
			counted[status] += n
		}
	}
	for status, n := range tap.unheard {
		counted[status] -= n
		silent += n
	}
	for _, r := range replies {
		switch {
		case r.status == 0:
			nothing++
		case r.id == "":
			counted[r.status]--
		default:
			unseen--
			if got, ok := l.requests[r.id]; !ok || got.status != r.status {
				t.Errorf("the client got %+v, which is recorded as %+v (%t)", r, got, ok)
			}
		}
	}
	for status, n := range counted {
		if n != 0 {
			t.Errorf("status %d: %d more in the counts than on the wire", status, n)
		}
	}
	if nothing != unseen+silent {
		t.Errorf("%d exchanges without a response; %d records whose response was not seen and %d counts", nothing, unseen, silent)
	}
	total := 0
	for _, n := range l.counts {
		total += n
	}
	if len(replies) != len(l.requests)+total {
		t.Errorf("%d exchanges on the wire, but %d records and %d counted", len(replies), len(l.requests), total)
	}
	t.Logf("%d ways; on the wire %d exchanges, %d of them without a response; in the log %d records and %d counted under %d keys",
		len(rows), len(replies), nothing, len(l.requests), total, len(l.counts))
}

// stage is the server under test, with what it serves.
type stage struct {
	p                                      *process
	plain, secure, mutual, hasty, redirect string // addresses
	files                                  string
}

// startStage starts a server that can answer in all the ways of the table.
func startStage(h home) *stage {
	t := h.t
	t.Helper()
	s := &stage{files: t.TempDir()}
	for _, addr := range []*string{&s.plain, &s.secure, &s.mutual, &s.hasty, &s.redirect} {
		*addr = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	}
	if err := os.WriteFile(filepath.Join(s.files, "file.txt"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	config := strings.NewReplacer(
		"PLAIN", port(s.plain), "SECURE", port(s.secure), "MUTUAL", port(s.mutual), "REDIRECT", port(s.redirect),
		"HASTY", port(s.hasty), "FILES", s.files, "ZIPPED", strings.Repeat("zipped ", 200),
		"UPSTREAM", startOdd(t), "GRPC", startGRPC(t), "DEAD", fmt.Sprintf("127.0.0.1:%d", freePort(t)),
	).Replace(stageConfig)
	name := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.p = h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	// No connection may ask whether the certificates are there: it would count.
	atLeast(t, "certificates", 1, func() int { return strings.Count(s.p.text(), "certificate obtained successfully") })
	return s
}

const stageConfig = `{
	admin off
	local_certs
	skip_install_trust
	default_bind 127.0.0.1
	http_port REDIRECT
	grace_period 3s
	soc2 {
		profile strict
	}
	servers {
		strict_sni_host on
		listener_wrappers {
			soc2
			tls
		}
	}
	servers 127.0.0.1:HASTY {
		timeouts {
			read_header 300ms
			read_body 300ms
			write 600ms
			idle 300ms
		}
		listener_wrappers {
			soc2
			tls
		}
	}
}
&(named) {
	respond "named" 203
}
(site) {
	soc2_audit
	respond /ok "ok"
	respond /empty 204
	respond /busy "busy" 503
	respond /close "bye" {
		close
	}
	redir /moved /ok 301
	abort /abort
	invoke /named named
	handle /private {
		basic_auth {
			nobody $2a$14$xp5.M5ZTQPgvVl/YKG9Wgusp19M2AIvRn5cZuRaGAuEH/ZMb27C9W
		}
		respond "private"
	}
	error /forbidden "no" 403
	error /missing "no" 404
	error /broken "oops" 500
	handle /files/* {
		uri strip_prefix /files
		root FILES
		file_server
	}
	handle /limited {
		request_body {
			max_size 10
		}
		reverse_proxy UPSTREAM
	}
	handle /zipped {
		encode gzip
		respond "ZIPPED"
	}
	handle_path /up/* {
		reverse_proxy UPSTREAM
	}
	handle_path /impatient/* {
		reverse_proxy UPSTREAM {
			transport http {
				response_header_timeout 100ms
			}
		}
	}
	handle_path /intercepted/* {
		reverse_proxy UPSTREAM {
			@teapot status 418
			handle_response @teapot {
				respond "no teapot" 406
			}
		}
	}
	reverse_proxy /dead DEAD
	reverse_proxy /grpc.health.v1.Health/* h2c://GRPC
	handle_errors 403 {
		soc2_audit
		respond "page" 410
	}
	handle_errors 404 {
		@page path /missing
		respond @page "not here" 404
	}
	handle_errors 500 {
		reverse_proxy DEAD
	}
}
http://localhost:PLAIN {
	import site
}
https://localhost:SECURE {
	import site
}
https://localhost:MUTUAL {
	tls {
		client_auth {
			mode require
		}
	}
	respond "ok"
}
http://localhost:HASTY {
	handle_path /up/* {
		reverse_proxy UPSTREAM
	}
}
`
