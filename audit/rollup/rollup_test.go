package rollup_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

func frame(t testing.TB, seq int64, body string) []byte {
	t.Helper()
	b, err := segment.AppendFrame(nil, seq, 0, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return segment.Record(b)
}

func add(t testing.TB, c *rollup.Counter, body string) {
	t.Helper()
	var r member.Record
	if err := r.Read(frame(t, c.First+c.Records, body)); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	c.Add(&r)
}

const at = `"time":"2026-11-21T03:04:05.000000006Z","kind":`

func request(host, user string, status int, duration int64) string {
	auth := ""
	if user != "" {
		auth = `"auth":{"user":"` + user + `"},`
	}
	return fmt.Sprintf(at+`"request","tls":{"version":"1.3"},"request":{"proto":"HTTP/2.0","method":"GET","host":"%s"},%s"access":{"outcome":"allow"},"cache":"hit","headers":{"profile":"strict","mended":["csp"]},"upstream":{"address":"10.0.0.2:3000"},"response":{"status":%d,"bytes":42,"end":"complete"},"duration_ns":%d`, host, auth, status, duration)
}

// TestCountersAreThePublishedOnes pins the bytes: what a log says of itself must
// not change from one version to the next.
func TestCountersAreThePublishedOnes(t *testing.T) {
	c := rollup.NewCounter(5)
	add(t, c, at+`"log.open"`)
	add(t, c, request("b.example", "alice", 200, 1500))
	add(t, c, request("a.example", "bob", 404, 3))
	add(t, c, request("b.example", "", 7000, 1))
	add(t, c, at+`"request"`)
	m := c.Members(rollup.Sealed{Bytes: 9}, 3)
	sketch := sketchText(t, m.Requests)
	want := `{"total":4,"bytes":126,"authenticated":2,"mended":3,"status":{"200":1,"404":1},"host":{"a.example":1,"b.example":2},"upstream":{"10.0.0.2:3000":3},"method":{"GET":3,"none":1},"proto":{"HTTP/2.0":3,"none":1},"tls":{"1.3":3,"none":1},"access":{"allow":3,"none":1},"limit":{"none":4},"cache":{"hit":3,"none":1},"end":{"complete":3,"none":1},"level":{"metadata":4},"duration_ns":{"1":1,"3":1,"1280":1},"principals":"` + sketch + `","other":{"status":2}}`
	if string(m.Requests) != want {
		t.Errorf("got:\n%s\nwant:\n%s", m.Requests, want)
	}
	if want := `{"first":5,"records":5,"from":"2026-11-21T03:04:05.000000006Z","to":"2026-11-21T03:04:05.000000006Z","bytes":1413,"sealed_bytes":9,"sha256":"` + strings.Repeat("0", 64) + `"}`; string(m.Segment) != want {
		t.Errorf("got:\n%s\nwant:\n%s", m.Segment, want)
	}
	if want := `{"log.open":1,"request":4}`; string(m.Kinds) != want {
		t.Errorf("got:\n%s\nwant:\n%s", m.Kinds, want)
	}
	if i := strings.IndexFunc(sketch, func(c rune) bool { return c != 'A' }); len(sketch) != 1024 || i != 442 || sketch[i] != 'E' {
		t.Errorf("the first register of the sketch is %d: %s", i, sketch)
	}
}

func sketchText(t *testing.T, requests []byte) string {
	t.Helper()
	var r struct{ Principals string }
	if err := json.Unmarshal(requests, &r); err != nil {
		t.Fatal(err)
	}
	return r.Principals
}

// TestWorstRequestsFitInARecord counts requests whose every text is chosen by
// an attacker.
func TestWorstRequestsFitInARecord(t *testing.T) {
	c := rollup.NewCounter(0)
	for i := range 6000 {
		long := fmt.Sprintf("%d", i) + strings.Repeat(`\u2028`, 60)
		add(t, c, fmt.Sprintf(at+`"request","level":"%[1]s","tls":{"version":"%[1]s"},"request":{"proto":"%[1]s","method":"%[1]s","host":"%[1]s"},"auth":{"user":"%[1]s"},"access":{"outcome":"%[1]s"},"limit":{"outcome":"%[1]s"},"cache":"%[1]s","headers":{"mended":["x"]},"upstream":{"address":"%[1]s"},"response":{"status":%[2]d,"bytes":999999999999999999,"end":"%[1]s"},"duration_ns":%[3]d`, long, i%1100, int64(1)<<(i%59)+int64(i)))
	}
	m := c.Members(rollup.Sealed{Bytes: 1 << 40}, 1<<60)
	body := m.AppendBody([]byte(at + `"rollup"`))
	if len(body) > segment.MaxBody {
		t.Fatalf("%d bytes, the most is %d", len(body), segment.MaxBody)
	}
	record := frame(t, 1<<61, string(body))
	var r member.Record
	if err := r.Read(record); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Requests struct {
			Total, Bytes int64
			Host         map[string]int64
			Other        map[string]int64
		}
	}
	if err := json.Unmarshal(record, &back); err != nil {
		t.Fatal(err)
	}
	if q := back.Requests; q.Total != 6000 || len(q.Host) != 100 || q.Other["host"] != 5900 || q.Bytes != 1<<63-1 {
		t.Errorf("%d requests, %d bytes, %d hosts, other %v", q.Total, q.Bytes, len(q.Host), q.Other)
	}
	for name := range back.Requests.Host {
		if !strings.HasSuffix(name, `\cut`) {
			t.Errorf("%q is not marked as cut", name)
		}
	}
	t.Logf("%d bytes", len(body))
}

// TestNamesAreCutBetweenCharacters cuts names through escapes of JSON and of the
// log, and through UTF-8.
func TestNamesAreCutBetweenCharacters(t *testing.T) {
	for _, unit := range []string{`\u2028`, `\\xff`, `\"`, "€", "𝄞", "a"} {
		for pad := range 8 {
			name := strings.Repeat("a", pad) + strings.Repeat(unit, 80)
			c := rollup.NewCounter(0)
			add(t, c, request(name, "", 200, 1))
			var q struct{ Host map[string]int64 }
			if err := json.Unmarshal(c.Members(rollup.Sealed{}, -1).Requests, &q); err != nil {
				t.Fatal(err)
			}
			var whole string
			if err := json.Unmarshal([]byte(`"`+name+`"`), &whole); err != nil {
				t.Fatal(err)
			}
			for got := range q.Host {
				kept, ok := strings.CutSuffix(got, `\cut`)
				if !ok || !strings.HasPrefix(whole, kept) || strings.HasSuffix(kept, `\`) || strings.HasSuffix(kept, `\x`) || strings.HasSuffix(kept, `\xf`) {
					t.Errorf("%q is cut to %q", name, got)
				}
			}
		}
	}
}

func TestTheMostAreNamed(t *testing.T) {
	c := rollup.NewCounter(0)
	for i := range 300 {
		for range 1 + i%3 {
			add(t, c, request(fmt.Sprintf("h%03d", i), "", 200, 1))
		}
	}
	var q struct{ Host, Other map[string]int64 }
	if err := json.Unmarshal(c.Members(rollup.Sealed{}, -1).Requests, &q); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for name, n := range q.Host {
		if sum += n; n != 3 {
			t.Errorf("%s has %d", name, n)
		}
	}
	if sum != 300 || q.Other["host"] != 300 {
		t.Errorf("%d by name, %d others", sum, q.Other["host"])
	}
}

func TestSketchEstimates(t *testing.T) {
	var a, b rollup.Sketch
	for i := range 100_000 {
		s := &a
		if i%2 == 0 {
			s = &b
		}
		s.Add(fmt.Appendf(nil, "user-%d@example.com", i))
		if n := int64(i + 1); n == 3 || n == 100 || n == 10_000 || n == 100_000 {
			both := a
			both.Merge(&b)
			if got := both.Estimate(); got < n*88/100 || got > n*112/100 {
				t.Errorf("%d texts are estimated as %d", n, got)
			}
		}
	}
}

func TestDifferencesAreNamed(t *testing.T) {
	count := func(hosts ...string) rollup.Members {
		c := rollup.NewCounter(0)
		for _, h := range hosts {
			add(t, c, request(h, "", 200, 5))
		}
		return c.Members(rollup.Sealed{}, -1)
	}
	m, other := count("a", "b"), count("a", "c")
	if d := m.Differs(m); d != "" {
		t.Error(d)
	}
	if d := m.Differs(other); d != "requests.host" {
		t.Error(d)
	}
	other = m
	other.Prev = []byte("7")
	if d := m.Differs(other); d != "prev" {
		t.Error(d)
	}
	m.Prev, m.Requests = nil, nil // of the first version
	if d := m.Differs(other); d != "" {
		t.Error(d)
	}
	m.Segment = []byte(strings.Replace(string(m.Segment), `"bytes":`, `"bytes":1`, 1))
	if d := m.Differs(other); d != "segment.bytes" {
		t.Error(d)
	}
}

// synthetic returns the file of rollups of so many segments, each of records
// that a server of 150 hosts would have.
func synthetic(t testing.TB, segments int, each int64) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	c := rollup.NewCounter(0)
	for i := range 20_000 {
		add(t, c, request(fmt.Sprintf("customer-%03d.example.com", random.IntN(150)), fmt.Sprintf("user%d", random.IntN(900)),
			[]int{200, 200, 200, 204, 206, 301, 304, 400, 401, 403, 404, 429, 500, 502}[random.IntN(14)], int64(1)<<(10+random.IntN(20))+int64(i)))
	}
	var file []byte
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range int64(segments) {
		m := c.Members(rollup.Sealed{Bytes: 12 << 20}, i*each-1)
		from := began.Add(time.Duration(i) * 365 * 24 * time.Hour / time.Duration(segments))
		const form = "2006-01-02T15:04:05.000000000Z"
		m.Segment = fmt.Appendf(nil, `{"first":%d,"records":%d,"from":"%s","to":"%s","bytes":%d,"sealed_bytes":%d,"sha256":"%064x"}`,
			i*each, each, from.Format(form), from.Add(time.Minute).Format(form), 600*each, 100*each, i)
		file = rollup.AppendFrame(file, frame(t, (i+1)*each, string(m.AppendBody([]byte(at+`"rollup"`)))))
	}
	return file
}

func TestSumAddsUpWhatLiesInATime(t *testing.T) {
	dir := fstest.MapFS{rollup.File: &fstest.MapFile{Data: synthetic(t, 365, 1000)}}
	all, err := rollup.Sum(dir, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if all.Segments != 365 || all.Records != 365_000 || all.First != 0 || all.Next != 365_000 || all.Requests != 365*20_000 || all.ResponseBytes != 42*all.Requests {
		t.Errorf("%+v", all)
	}
	hosts, other := all.By("host")
	sum := other
	for _, h := range hosts {
		sum += h.N
	}
	if len(hosts) != 100 || sum != all.Requests {
		t.Errorf("%d hosts, %d requests", len(hosts), sum)
	}
	for _, what := range []string{"status", "duration_ns", "method", "tls", "upstream", "proto", "access", "limit", "cache", "end", "level"} {
		sum := int64(0)
		counts, _ := all.By(what)
		for _, n := range counts {
			sum += n.N
		}
		if sum != all.Requests {
			t.Errorf("by %s there are %d requests of %d", what, sum, all.Requests)
		}
	}
	if n := all.Principals(); n < 850 || n > 950 {
		t.Errorf("%d principals", n)
	}
	if k := all.Kinds(); len(k) != 1 || k[0] != (rollup.Count{Name: "request", N: 365 * 20_000}) {
		t.Errorf("%v", k)
	}
	part, err := rollup.Sum(dir, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	if err != nil || part.Segments != 28 || !strings.HasPrefix(part.From, "2026-02-01") || !strings.HasPrefix(part.To, "2026-02-28") {
		t.Errorf("%v: %+v", err, part)
	}
}

// TestSegmentsSealedAgainCountOnce has two rollups of one segment.
func TestSegmentsSealedAgainCountOnce(t *testing.T) {
	c := rollup.NewCounter(0)
	add(t, c, request("a", "", 200, 1))
	var file []byte
	for seq := range int64(2) {
		m := c.Members(rollup.Sealed{Bytes: seq}, seq-1)
		file = rollup.AppendFrame(file, frame(t, seq+1, string(m.AppendBody([]byte(at+`"rollup"`)))))
	}
	total, err := rollup.Sum(fstest.MapFS{rollup.File: &fstest.MapFile{Data: file}}, time.Time{}, time.Time{})
	if err != nil || total.Segments != 1 || total.SealedBytes != 1 {
		t.Errorf("%v, %+v", err, total)
	}
}

func TestDamagedFileIsAnError(t *testing.T) {
	file := synthetic(t, 3, 10)
	for _, at := range []int{30, 300, len(file) / 2} {
		bad := bytes.Clone(file)
		bad[at] ^= 1
		if _, err := rollup.Sum(fstest.MapFS{rollup.File: &fstest.MapFile{Data: bad}}, time.Time{}, time.Time{}); err == nil {
			t.Errorf("byte %d: no error", at)
		}
	}
	torn, err := rollup.Sum(fstest.MapFS{rollup.File: &fstest.MapFile{Data: file[:len(file)-1]}}, time.Time{}, time.Time{})
	if err != nil || torn.Segments != 2 {
		t.Errorf("a torn end: %v", err)
	}
	if _, err := rollup.Sum(fstest.MapFS{}, time.Time{}, time.Time{}); err == nil {
		t.Error("no file is no error")
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	c := rollup.NewCounter(0)
	var r member.Record
	if err := r.Read(frame(t, 0, request("a", "u", 200, 1))); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { c.Add(&r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse reads what is no rollup, and sums it up.
func FuzzParse(f *testing.F) {
	c := rollup.NewCounter(0)
	add(f, c, request("a", "u", 200, 1))
	good := frame(f, 1, string(c.Members(rollup.Sealed{}, -1).AppendBody([]byte(at+`"rollup"`))))
	f.Add(good)
	f.Add([]byte(`{"seq":1,"kind":"rollup","segment":{"first":0,"records":1},"requests":{"principals":"A"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := rollup.Parse(b)
		if err != nil {
			if !errors.Is(err, rollup.ErrRollup) {
				t.Fatal(err)
			}
			return
		}
		if r.Records < 1 || r.First < 0 || r.Members.Segment == nil {
			t.Fatalf("%q is read as %+v", b, r)
		}
		_ = r.Members.Differs(rollup.NewCounter(0).Members(rollup.Sealed{}, -1))
		if len(b) < 1<<16 && segment.Check(b, r.Seq) == nil {
			_, _ = rollup.Sum(fstest.MapFS{rollup.File: &fstest.MapFile{Data: rollup.AppendFrame(nil, b)}}, time.Time{}, time.Time{})
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	c := rollup.NewCounter(0)
	var r member.Record
	record := frame(b, 0, request("a.example.com", "alice", 200, 12345))
	if err := r.Read(record); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		c.Add(&r)
	}
}

// BenchmarkYear sums up the rollups of a year of a log of a billion records.
func BenchmarkYear(b *testing.B) {
	const segments = 18_000
	dir := fstest.MapFS{rollup.File: &fstest.MapFile{Data: synthetic(b, segments, 1_000_000_000/segments)}}
	b.SetBytes(int64(len(dir[rollup.File].Data)))
	for b.Loop() {
		if t, err := rollup.Sum(dir, time.Time{}, time.Time{}); err != nil || t.Segments != segments {
			b.Fatal(err)
		}
	}
}
