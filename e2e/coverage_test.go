package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
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
