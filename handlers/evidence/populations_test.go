package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// payloads are texts that attackers send to be shown to auditors.
var payloads = []string{
	"<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "+1+1", "-1", "@SUM(A1)", "\r\nX-Evil: 1", "\u202e", "\xff\x00\x1b[2J", "</script><svg/onload=1>", "'", "\t=1",
}

// hostile appends records of requests with payloads in all their texts.
func (b *bench) hostile() {
	b.t.Helper()
	for _, text := range payloads {
		ev := audit.Event{Start: time.Now(), Method: text, Host: text, Path: text, Query: text, Agent: text, User: text, ClientIP: text, Status: 403, End: audit.EndComplete}
		ev.ID = audit.NewID(ev.Start)
		if _, err := b.log.Append(context.Background(), ev.AppendBody(nil, "edge-1")); err != nil {
			b.t.Fatal(err)
		}
	}
}

// reads returns the records of reads of the evidence.
func (b *bench) reads() []*audit.EvidenceRead { return b.readsFrom(0) }

// readsFrom returns those from a record on.
func (b *bench) readsFrom(seq int64) (list []*audit.EvidenceRead) {
	b.t.Helper()
	_, err := b.log.Records().Range(context.Background(), seq, b.log.Next(), func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		if read, ok := r.Body.(*audit.EvidenceRead); ok {
			list = append(list, read)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

func TestPagesOfOneTreeAreWholeAlthoughTheLogGrows(t *testing.T) {
	b := newBench(t)
	for range 57 {
		b.add("/old")
	}
	b.sign()
	h := b.handler(Handler{})
	var seqs []int64
	next, size := "?limit=10", ""
	for range 20 {
		w := get(t, h, "/.soc2/v1/populations/requests"+next)
		var page struct {
			Rows []struct{ Seq int64 }
			Size int64  `json:"tree_size"`
			Root string `json:"tree_root"`
			Next *string
		}
		decode(t, w, &page)
		if w.Code != 200 || size != "" && w.Header().Get("Soc2-Tree-Size") != size || page.Root != w.Header().Get("Soc2-Tree-Root") {
			t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		size = w.Header().Get("Soc2-Tree-Size")
		for _, row := range page.Rows {
			seqs = append(seqs, row.Seq)
		}
		if page.Next == nil {
			break
		}
		next = *page.Next
		b.add("/new")
		b.sign()
	}
	if len(seqs) != 57 {
		t.Errorf("%d rows", len(seqs))
	}
	for i := range seqs[1:] {
		if seqs[i] >= seqs[i+1] {
			t.Error("the rows are not in order")
		}
	}
	for _, wrong := range []string{strings.Replace(next, "limit", "from=2020-01-01&limit", 1), "?cursor=1.1.x.MQ", "?cursor=1.99999." + strings.Repeat("0", 16) + ".MQ"} {
		isProblem(t, get(t, h, "/.soc2/v1/populations/requests"+wrong), 400)
	}
	isProblem(t, get(t, h, "/.soc2/v1/populations/denials"+next), 400)
}

func TestStreamsSayWhatTheyHoldBeforeTheyBegin(t *testing.T) {
	b := newBench(t)
	b.hostile()
	b.sign()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = b.handler(Handler{AllowUnauthenticated: true}).ServeHTTP(w, r, nil)
	}))
	defer srv.Close()
	for _, format := range []string{"csv", "ndjson", "ocsf"} {
		resp, err := http.Get(srv.URL + "/.soc2/v1/populations/denials?format=" + format) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		sum := sha256.Sum256(body.Bytes())
		if resp.Header.Get("Soc2-Row-Count") != strconv.Itoa(len(payloads)) || resp.Trailer.Get("Soc2-Sha256") != hex.EncodeToString(sum[:]) ||
			resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %v %v", format, resp.Header, resp.Trailer)
		}
		var prov population.Provenance
		decode(t, get(t, b.handler(Handler{}), "/.soc2/v1/populations/denials/provenance?format="+format), &prov)
		if prov.SHA256 != hex.EncodeToString(sum[:]) || prov.Count != int64(len(payloads)) || prov.Key != b.log.Key().Public() {
			t.Errorf("%s: %+v", format, prov)
		}
		if format != "csv" {
			if n := bytes.Count(body.Bytes(), []byte("\n")); n != len(payloads) || bytes.Contains(body.Bytes(), []byte("<script")) {
				t.Errorf("%s: %d lines: %s", format, n, &body)
			}
			continue
		}
		if rows := inertCSV(t, format, body.Bytes()); rows != len(payloads) {
			t.Errorf("%d rows", rows)
		}
	}
	w, err := do(b.handler(Handler{}), request{method: "HEAD", path: "/.soc2/v1/populations/denials?format=csv", user: "auditor"})
	if err != nil || w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Soc2-Row-Count") != strconv.Itoa(len(payloads)) {
		t.Errorf("%d %v %v", w.Code, w.Header(), err)
	}
	isProblem(t, get(t, b.handler(Handler{}), "/.soc2/v1/populations/principals?format=ocsf"), 400)
}

// inertCSV checks that no cell acts, and returns how many rows there are.
func inertCSV(t *testing.T, what string, body []byte) int {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%s: %d rows, %v", what, len(rows), err)
	}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@\t\r") && cell != "-1" || strings.ContainsFunc(cell, unicode.IsControl) {
				t.Errorf("%s: a cell acts: %q", what, cell)
			}
		}
	}
	return len(rows) - 1
}

func TestEntityTagIsTheHeadOfTheTree(t *testing.T) {
	b := newBench(t)
	b.add("/")
	b.sign()
	h := b.handler(Handler{})
	for _, url := range []string{"/populations", "/populations/requests", "/populations/requests?format=csv", "/populations/requests/provenance", "/populations/requests/sample?seed=1"} {
		w := get(t, h, "/.soc2/v1"+url)
		tag := w.Header().Get("ETag")
		if w.Code != 200 || tag == "" {
			t.Fatalf("%s: %d %v", url, w.Code, w.Header())
		}
		again, err := do(h, request{path: "/.soc2/v1" + url, user: "auditor", header: http.Header{"If-None-Match": {tag}}})
		if err != nil || again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s: %d, %d bytes, %v", url, again.Code, again.Body.Len(), err)
		}
		stranger, err := do(h, request{path: "/.soc2/v1" + url, header: http.Header{"If-None-Match": {tag}}})
		if err != nil || stranger.Code != http.StatusForbidden || stranger.Header().Get("ETag") != "" {
			t.Errorf("%s for nobody: %d %v", url, stranger.Code, stranger.Header())
		}
		b.add("/more")
		b.sign()
		if w, err := do(h, request{path: "/.soc2/v1" + url, user: "auditor", header: http.Header{"If-None-Match": {tag}}}); err != nil || w.Code != 200 {
			t.Errorf("%s of a grown log: %d %v", url, w.Code, err)
		}
	}
}

func TestSamplesAndProofsVerifyWithTheKeyAlone(t *testing.T) {
	b := newBench(t)
	for range 40 {
		b.add("/")
	}
	b.sign()
	h := b.handler(Handler{})
	verifier, err := note.NewVerifier(b.log.Key().Public())
	if err != nil {
		t.Fatal(err)
	}
	var sample population.Document
	decode(t, get(t, h, "/.soc2/v1/populations/requests/sample?seed=abc&n=9"), &sample)
	if len(sample.Rows) != 9 || sample.Count != 40 {
		t.Fatalf("%+v", sample)
	}
	for _, row := range sample.Rows {
		p, err := tlogproof.Parse([]byte(row.Proof))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Verify(row.Record, verifier); err != nil || p.Index != row.Seq {
			t.Errorf("row %d: %v", row.Seq, err)
		}
	}
	var inclusion struct {
		Seq, Size int64
		Hashes    tlog.RecordProof
	}
	decode(t, get(t, h, "/.soc2/v1/log/proof/inclusion?seq=5&size=20"), &inclusion)
	var consistency struct {
		From, To int64
		Hashes   tlog.TreeProof
	}
	_, head, _ := b.log.Checkpoint()
	decode(t, get(t, h, "/.soc2/v1/log/proof/consistency?from=20"), &consistency)
	older, err := (&population.Log{Dir: b.log.Records(), Head: head}).At(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	record, err := b.log.Records().Record(5)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckRecord(inclusion.Hashes, 20, older.Head.Root, 5, tlog.RecordHash(record)); err != nil {
		t.Error(err)
	}
	if err := tlog.CheckTree(consistency.Hashes, consistency.To, head.Root, 20, older.Head.Root); err != nil {
		t.Error(err)
	}
}

// TestNobodyGetsIn asks as everybody who must not be served, in all ways. Each
// is refused, or is not of this handler, and each refusal is a record.
func TestNobodyGetsIn(t *testing.T) {
	b := newBench(t)
	_, id := b.add("/secret-path")
	change := b.busy()
	h := b.handler(Handler{Viewers: []string{"role:viewer"}, Auditors: []string{"role:auditor", "user:alice"}})
	// The paths are those of the routes, so that no route is forgotten.
	all, state := []string{"/v1/nothing", "/nothing", "/v1/populations/", "/v2/", "/v1/config/", "/v1/oscal/", "/v1/report/"}, []string{}
	for _, e := range b.examples(change) {
		if e.least == Auditor {
			all = append(all, e.path)
		} else {
			state = append(state, e.path)
		}
	}
	refused := func(name string, req request, status int) {
		t.Helper()
		from := b.log.Next()
		w, err := do(h, req)
		if err != nil {
			t.Errorf("%s %s: it reached the next handler", name, req.path)
			return
		}
		if w.Code != status || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("ETag") != "" {
			t.Errorf("%s %s %s: status %d, want %d: %s", name, req.method, req.path, w.Code, status, w.Body)
		}
		for _, leak := range []string{"secret-path", id, b.log.Key().Public(), "edge-1"} {
			if strings.Contains(w.Body.String(), leak) {
				t.Errorf("%s %s: it tells %q", name, req.path, leak)
			}
		}
		reads := b.readsFrom(from)
		if len(reads) != 1 {
			t.Fatalf("%s %s %s: %d records of reads, want 1", name, req.method, req.path, len(reads))
		}
		if r := reads[0]; r.Outcome != "denied" || r.Status != status || r.Rows != 0 || r.Actor.Name != req.user {
			t.Errorf("%s %s: recorded as %+v", name, req.path, r)
		}
	}
	own := http.Header{"Authorization": {"Basic YWxpY2U6eA=="}, "Remote-User": {"alice"}, "X-Forwarded-User": {"alice"}, "X-Http-Method-Override": {"GET"}, "X-Original-Url": {"/v1/status"}, "Cookie": {"role=auditor"}}
	for _, path := range append(all, state...) {
		refused("nobody", request{path: "/.soc2" + path}, 403)
		refused("with a name of his own", request{path: "/.soc2" + path, header: own}, 403)
		refused("without a role", request{path: "/.soc2" + path, user: "mallory"}, 403)
		refused("with a role that is almost one", request{path: "/.soc2" + path, user: "mallory", roles: "auditors,Auditor, viewe r"}, 403)
		refused("with a certificate that is not listed", request{path: "/.soc2" + path, tls: verified()}, 403)
	}
	for _, path := range all {
		refused("a viewer", request{path: "/.soc2" + path, user: "victor", roles: "viewer"}, 403)
	}
	for _, path := range append(all, state...) { // tricks with the method, the path and caches
		for _, method := range []string{"POST", "DELETE", "get"} {
			refused("an auditor", request{method: method, path: "/.soc2" + path, user: "alice"}, 405)
			refused("nobody", request{method: method, path: "/.soc2" + path}, 403)
		}
		bare, query, _ := strings.Cut(path, "?")
		for _, trick := range []string{bare + "/", "/x/.." + bare, strings.Replace(bare, "/", "//", 1), strings.ToUpper(bare), bare + "%00", bare + ";x", bare + "/..%2f", "/style.css/.." + bare} {
			if query != "" {
				trick += "?" + query
			}
			refused("nobody", request{path: "/.soc2" + trick}, 403)
			w, err := do(h, request{path: "/.soc2" + trick, user: "victor", roles: "viewer"})
			if err != nil || w.Code < 400 && slices.Contains(all, path) || strings.Contains(w.Body.String(), "secret-path") {
				t.Errorf("a viewer at %s: %d %v", trick, w.Code, err)
			}
		}
		for _, header := range []http.Header{{"Range": {"bytes=0-10"}}, {"If-None-Match": {"*"}}, {"If-Modified-Since": {"Mon, 01 Jan 2035 00:00:00 GMT"}}, {"Cache-Control": {"only-if-cached, max-stale"}}} {
			refused("nobody with a copy", request{path: "/.soc2" + path, header: header}, 403)
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "get", "GETX"} {
		refused("an auditor", request{method: method, path: "/.soc2/v1/status", user: "alice"}, 405)
		refused("nobody", request{method: method, path: "/.soc2/v1/populations/requests"}, 403)
		refused("a viewer", request{method: method, path: "/.soc2/v1/populations/requests", user: "victor", roles: "viewer"}, 403)
	}
	refused("HEAD of nobody", request{method: "HEAD", path: "/.soc2/v1/populations/requests?format=csv"}, 403)
	for _, path := range []string{
		"/.soc2/v1/status/../populations/requests", "/.soc2/v1//populations/requests", "/.soc2//v1/populations/requests", "/.soc2/v1/populations/requests/", "/.soc2/v1/populations/requests;x",
		"/.soc2/./v1/log/records", "/.soc2/v1/status/%2e%2e/log/records", "/.soc2/v1/log%2frecords", "/.soc2/v1/populations%2Frequests", "/.soc2/v1/log/tile/../records", "/.soc2/v1/log/tile/0/../entries/000.p/1",
		"/.soc2/v1/status%00/../log/records", "/.soc2/v1/LOG/records", "/.soc2/v1/log/records\\0", "/.soc2/style.css/../v1/log/records", "/.soc2/v1/openapi.json/../../lookup",
	} {
		refused("nobody", request{path: path}, 403)
		w, err := do(h, request{path: path, user: "victor", roles: "viewer"})
		if err != nil || w.Code < 400 || strings.Contains(w.Body.String(), "secret-path") {
			t.Errorf("a viewer at %s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/x/../.soc2/v1/status", "//.soc2/v1/status", "/%2e/.soc2/v1/status", "/.SOC2/v1/status", "/.soc2%2fv1", "/.soc2x/v1/status"} {
		if w, err := do(h, request{path: path}); err == nil && w.Code != 403 {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	for name, header := range map[string]http.Header{
		"a range":     {"Range": {"bytes=0-10"}},
		"a tag":       {"If-None-Match": {"*"}},
		"a date":      {"If-Modified-Since": {"Mon, 01 Jan 2035 00:00:00 GMT"}},
		"an old copy": {"Cache-Control": {"only-if-cached, max-stale"}},
	} {
		refused("nobody with "+name, request{path: "/.soc2/v1/populations/requests", header: header}, 403)
	}
	for _, who := range []request{{user: "alice"}, {user: "bob", roles: "x, auditor"}} {
		for _, path := range []string{"/v1/populations/requests", "/v1/log/records/0", "/v1/status"} {
			who.path = "/.soc2" + path
			if w, err := do(h, who); err != nil || w.Code != 200 {
				t.Errorf("%s at %s: %d %v", who.user, path, w.Code, err)
			}
		}
	}
	for _, path := range state {
		if w, err := do(h, request{path: "/.soc2" + path, user: "victor", roles: "viewer"}); err != nil || w.Code != 200 || strings.Contains(w.Body.String(), "secret-path") {
			t.Errorf("a viewer at %s: %d %v", path, w.Code, err)
		}
	}
}

func TestEachReadIsARecordOfWhatWasGiven(t *testing.T) {
	b := newBench(t)
	for range 5 {
		b.add("/")
	}
	b.sign()
	h := b.handler(Handler{})
	before := len(b.reads())
	for _, path := range []string{
		"/v1/populations/requests?format=csv&from=2020-01-01&to=2100-01-01", "/v1/populations/requests/sample?seed=s33d&n=2", "/v1/log/records?from=0&limit=3", "/v1/status",
	} {
		get(t, h, "/.soc2"+path)
	}
	list := b.reads()[before:]
	if len(list) != 4 {
		t.Fatalf("%d records", len(list))
	}
	_, head, _ := b.log.Checkpoint()
	if r := list[0]; r.Actor.Name != "auditor" || r.Actor.Known != "verified" || r.Role != "auditor" || r.Resource != "population" || r.Name != "requests" || r.Format != "csv" || r.From.Year() != 2020 || r.To.Year() != 2100 ||
		r.Outcome != "allowed" || r.Status != 200 || r.Rows != 5 || r.First != 1 || r.Last != 5 || r.Bytes == 0 || r.TreeSize != head.Size || r.TreeRoot != head.Root.String() {
		t.Errorf("%+v", r)
	}
	if r := list[1]; r.Resource != "sample" || r.Seed != "s33d" || r.Rows != 2 {
		t.Errorf("%+v", r)
	}
	if r := list[2]; r.Resource != "records" || r.Rows != 3 || r.Last != 2 {
		t.Errorf("%+v", r)
	}
	b.fail()
	isProblem(t, get(t, h, "/.soc2/v1/populations/requests"), 503)
	isProblem(t, get(t, h, "/.soc2/v1/log/records/0"), 503)
	if w := get(t, h, "/.soc2/v1/status"); w.Code != 200 {
		t.Error(w.Code)
	}
}

func TestReadersAreLimitedEachForThemselves(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{Rate: 2})
	now := time.Unix(1, 0)
	h.limit.now = func() time.Time { return now }
	count := func(user string, n int) (served, limited int) {
		for range n {
			w, err := do(h, request{path: "/.soc2/v1/status", user: user})
			if err != nil {
				t.Fatal(err)
			}
			switch w.Code {
			case 200:
				served++
			case 429:
				if w.Header().Get("Retry-After") != "1" {
					t.Error("no Retry-After")
				}
				limited++
			}
		}
		return served, limited
	}
	before := len(b.reads())
	if served, limited := count("alice", 30); served != 10 || limited != 20 {
		t.Errorf("%d served, %d limited", served, limited)
	}
	if n := len(b.reads()) - before; n != 11 { // the first that is refused is recorded
		t.Errorf("%d records", n)
	}
	if served, _ := count("bob", 5); served != 5 {
		t.Errorf("another was served %d times", served)
	}
	now = now.Add(time.Second)
	if served, _ := count("alice", 5); served != 2 {
		t.Errorf("after a second %d were served", served)
	}
	for i := range 3 * maxReaders {
		h.limit.take(strconv.Itoa(i))
	}
	if n := len(h.limit.all); n > maxReaders {
		t.Errorf("%d buckets", n)
	}
}

func TestRolesAreNamedPrecisely(t *testing.T) {
	cert := "cert:" + strings.Repeat("0a", 32)
	for _, c := range []struct {
		h    Handler
		want string
	}{
		{Handler{Viewers: []string{"role:a", "user:b", cert}, Auditors: []string{"user:c:d"}, Rate: 5}, ""},
		{Handler{Viewers: []string{"alice"}}, "role:NAME"},
		{Handler{Auditors: []string{"role:"}}, "role:NAME"},
		{Handler{Auditors: []string{"*"}}, "role:NAME"},
		{Handler{Auditors: []string{strings.ToUpper(cert)}}, "role:NAME"},
		{Handler{Auditors: []string{cert + "0a"}}, "64 small hex digits"},
		{Handler{Auditors: []string{"cert:" + strings.Repeat("0A", 32)}}, "64 small hex digits"},
		{Handler{Rate: -1}, "rate -1"},
		{Handler{Rate: maxRate + 1}, "rate 10001"},
		{Handler{AllowUnauthenticated: true, Auditors: []string{"role:a"}}, "remove one or the other"},
	} {
		c.h.Prefix = defaultPrefix
		err := c.h.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.h, err, c.want)
		}
	}
}

func FuzzInquiry(f *testing.F) {
	f.Add("from=2026-01-01&to=2026-02-01&format=csv&limit=3&n=3&seed=x&count=best")
	f.Add("cursor=" + url.QueryEscape(cursor{7, "0123456789abcdef", "6"}.String()))
	f.Add("from=%zz;&&=")
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, query string) {
		q, err := parseInquiry(query, now, "from", "to", "format", "limit", "n", "seed", "count", "cursor")
		if err != nil {
			if text, err := json.Marshal(sentence(err)); err != nil || len(text) == 0 {
				t.Error(err)
			}
			return
		}
		if q.limit < 1 || q.limit > maxPage || q.sample < 1 || q.sample > population.MaxSample || typeOf[q.format] == "" {
			t.Errorf("%+v", q)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{7, "0123456789abcdef", "6"}.String())
	f.Add("1.2.3.4")
	f.Add("1.01.x.NQ")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err == nil && (c.String() != s || c.size < 1 || c.after == "") {
			t.Errorf("%q is %+v", s, c)
		}
	})
}
