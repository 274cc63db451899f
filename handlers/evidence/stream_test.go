package evidence

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
)

// stored are the records from one index to another, each with a newline.
func (b *bench) stored(from, to int64) string {
	b.t.Helper()
	var s strings.Builder
	_, err := b.log.Records().Range(b.t.Context(), from, to, func(_ int64, r []byte) error {
		s.Write(r)
		s.WriteByte('\n')
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.String()
}

func TestRecordsAreListedInTheBytesThatAreStored(t *testing.T) {
	b := newBench(t)
	for i := range 2500 {
		ev := audit.Event{Path: "/\x1b[0m\u2028<script>", Method: "GET", Status: 200 + i%5}
		if _, err := b.log.Enqueue(t.Context(), ev.AppendBody(nil, "")); err != nil {
			t.Fatal(err)
		}
	}
	b.add("/last")
	end := b.log.Next()
	const newest = -1 // each read adds a record
	h := b.handler(Handler{})
	for query, want := range map[string]struct {
		from, to int64
		next     string
	}{
		"":                         {0, 1000, "<?from=1000&limit=1000>; rel=\"next\""},
		"?from=0":                  {0, 1000, "<?from=1000&limit=1000>; rel=\"next\""},
		"?from=5&limit=1":          {5, 6, "<?from=6&limit=1>; rel=\"next\""},
		"?limit=10000":             {0, newest, ""},
		"?from=2000":               {2000, newest, ""},
		"?from=2501&follow=0":      {2501, newest, ""},
		"?from=2502":               {end, newest, ""},
		"?from=99999999":           {end, end, ""},
		"?from=100&limit=300":      {100, 400, "<?from=400&limit=300>; rel=\"next\""},
		"?follow=1&limit=2502":     {0, end, ""},
		"?follow=1&limit=3&from=7": {7, 10, ""},
		fmt.Sprintf("?from=%d", int64(math.MaxInt64)): {end, end, ""},
	} {
		if want.to == newest {
			want.to = b.log.Next()
		}
		w := get(t, h, "/.soc2/v1/log/records"+query)
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" || w.Header().Get("Link") != want.next {
			t.Errorf("%s: status %d, %v", query, w.Code, w.Header())
		}
		if got := w.Body.String(); got != b.stored(want.from, want.to) {
			t.Errorf("%s: %d lines, want %d", query, strings.Count(got, "\n"), want.to-want.from)
		}
	}
	w, err := do(h, request{method: http.MethodHead, path: "/.soc2/v1/log/records?follow=1", user: "auditor"})
	if err != nil || w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: status %d, %d bytes, %v", w.Code, w.Body.Len(), err)
	}
}

func TestBadListingsAreRefused(t *testing.T) {
	h := newBench(t).handler(Handler{})
	for _, query := range []string{
		"from=-1", "from=x", "from=", "from=1.5", "from=0x1", "from=9223372036854775808", "limit=0", "limit=-1", "limit=10001",
		"limit=x", "follow=2", "follow=true", "from=1&from=2", "form=1", "from=1;limit=1", "%zz=1", "follow=1&limit=0",
	} {
		isProblem(t, get(t, h, "/.soc2/v1/log/records?"+query), http.StatusBadRequest)
	}
}

func FuzzListing(f *testing.F) {
	f.Add("from=1&limit=2&follow=1")
	f.Add("follow=0")
	f.Fuzz(func(t *testing.T, query string) {
		l, _, ok := parseListing(query)
		if ok && (l.from < -1 || l.limit < 1 || !l.follow && l.limit > maxLimit) {
			t.Errorf("%q: %+v", query, l)
		}
	})
}

// server serves the API of a handler on a socket.
func (b *bench) server(h *Handler) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errNext })); err != nil {
			b.t.Error(err)
		}
	}))
	b.t.Cleanup(srv.Close)
	return srv
}

// feed is what a client that follows is sent.
type feed struct {
	*bufio.Reader
	status int
	header http.Header
	close  func()
}

// follow asks for records until the context ends.
func follow(ctx context.Context, t *testing.T, srv *httptest.Server, from int64) feed {
	t.Helper()
	url := fmt.Sprintf("%s/.soc2/v1/log/records?from=%d&follow=1", srv.URL, from)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	end := func() { resp.Body.Close() }
	t.Cleanup(end)
	return feed{bufio.NewReader(resp.Body), resp.StatusCode, resp.Header, end}
}

func TestFollowersGetRecordsAsTheyCome(t *testing.T) {
	b := newBench(t)
	srv := b.server(b.handler(Handler{AllowUnauthenticated: true}))
	lines := follow(t.Context(), t, srv, 1) // of a record that is not there yet
	if lines.status != 200 || lines.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("status %d, %v", lines.status, lines.header)
	}
	for seq := int64(1); seq < 20; seq++ {
		b.add(fmt.Sprintf("/%d", seq))
		line, err := lines.ReadString('\n')
		if err != nil || line != b.stored(seq, seq+1) {
			t.Fatalf("record %d: %q, %v", seq, line, err)
		}
	}
	lines.close()
	lines = follow(t.Context(), t, srv, 11) // go on
	for seq := int64(11); seq < 20; seq++ {
		if line, err := lines.ReadString('\n'); err != nil || line != b.stored(seq, seq+1) {
			t.Fatalf("record %d again: %q, %v", seq, line, err)
		}
	}
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != b.stored(20, b.log.Next()) {
		t.Errorf("at the end of the log: %q, %v", rest, err)
	}
}

func TestFollowersEndWithTheConfiguration(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{AllowUnauthenticated: true})
	ctx, end := context.WithCancel(t.Context())
	h.api.ending = func() context.Context { return ctx }
	srv := b.server(h)
	lines := follow(t.Context(), t, srv, 0)
	for range 2 { // the second is that of this read
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	end()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestFollowerThatDoesNotReadHoldsNothingUp has a client whose connection is
// full. It must neither keep the server from stopping nor take a place that
// look-ups need.
func TestFollowerThatDoesNotReadHoldsNothingUp(t *testing.T) {
	b := newBench(t)
	for range 200 {
		ev := audit.Event{Path: strings.Repeat("x", 4000), Method: "GET"}
		for range 100 {
			if _, err := b.log.Enqueue(t.Context(), ev.AppendBody(nil, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, id := b.add("/last") // 80 MB before it
	h := b.handler(Handler{AllowUnauthenticated: true})
	ctx, end := context.WithCancel(t.Context())
	h.api.ending = func() context.Context { return ctx }
	srv := b.server(h)
	var conns []net.Conn
	for range 3 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET /.soc2/v1/log/records?follow=1&from=0 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if w := get(t, h, "/.soc2/v1/log/records/"+id); w.Code != 200 {
		t.Errorf("a look-up beside them: status %d", w.Code)
	}
	end()
	srv.Close() // waits for its requests
	if len(conns) != 3 {
		t.Error("not all were connected")
	}
}

func TestFollowersAreBounded(t *testing.T) {
	b := newBench(t)
	srv := b.server(b.handler(Handler{AllowUnauthenticated: true}))
	ctx, cancel := context.WithCancel(t.Context())
	for range streams {
		if f := follow(ctx, t, srv, 0); f.status != 200 {
			t.Fatalf("status %d", f.status)
		}
	}
	if f := follow(t.Context(), t, srv, 0); f.status != 503 || f.header.Get("Retry-After") == "" {
		t.Errorf("one more: status %d, %v", f.status, f.header)
	}
	if w := get(t, b.handler(Handler{}), "/.soc2/v1/log/records/0"); w.Code != 200 {
		t.Errorf("a look-up beside them: status %d", w.Code)
	}
	cancel()
	for { // their places are given back
		f := follow(t.Context(), t, srv, 0)
		f.close()
		if f.status == 200 {
			break
		}
	}
}

func TestProofsAreServedAsText(t *testing.T) {
	b := newBench(t)
	ids := map[int64]string{}
	for range 300 {
		seq, id := b.add("/x")
		ids[seq] = id
	}
	b.sign()
	unsigned, _ := b.add("/y")
	h := b.handler(Handler{})
	v, err := note.NewVerifier(b.log.Key().Public())
	if err != nil {
		t.Fatal(err)
	}
	for seq := range int64(302) {
		refs := []string{fmt.Sprint(seq)}
		if seq%50 == 1 && ids[seq] != "" {
			refs = append(refs, ids[seq])
		}
		for _, ref := range refs {
			w := get(t, h, "/.soc2/v1/log/records/"+ref+".tlog-proof")
			if w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Fatalf("%s: status %d, %v", ref, w.Code, w.Header())
			}
			p, err := tlogproof.Parse(w.Body.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			record := bytes.TrimSuffix([]byte(b.stored(seq, seq+1)), []byte("\n"))
			if _, _, err := p.Verify(record, v); err != nil || p.Index != seq {
				t.Errorf("%s: record %d, %v", ref, p.Index, err)
			}
		}
	}
	for ref, want := range map[string]int{
		fmt.Sprint(unsigned): 404, "999": 404, "x": 400, "": 400, "1.tlog-proof": 400,
		"00000000-0000-7000-8000-000000000000": 404,
	} {
		isProblem(t, get(t, h, "/.soc2/v1/log/records/"+ref+".tlog-proof"), want)
	}
}

func TestTilesAreServedBelowTheLog(t *testing.T) {
	b := newBench(t)
	for range 300 {
		b.add("/x")
	}
	b.sign()
	h := b.handler(Handler{})
	for path, want := range map[string]int{
		"tile/0/000": 200, "tile/entries/000": 200, "tile/0/001.p/46": 200, "tile/1/000.p/1": 200, "checkpoint": 200,
	} {
		if w := get(t, h, "/.soc2/v1/log/"+path); w.Code != want {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	for _, path := range []string{"tile/0/001", "tile/0/1", "tile/", "tile", "", "segments", "tile/0/000/"} {
		isProblem(t, get(t, h, "/.soc2/v1/log/"+path), 404)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if w, err := do(h, request{path: "/.soc2/v1/log/tile/entries/000", user: "auditor"}); err != nil || w.Code != 200 {
				t.Errorf("status %d, %v", w.Code, err)
			}
		})
	}
	wg.Wait()
	w, err := do(h, request{path: "/.soc2/v1/log/tile/entries/000"})
	if err != nil {
		t.Fatal(err)
	}
	isProblem(t, w, http.StatusForbidden)
}
