package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

const api = "/.soc2/v1"

// at is a query for the period from one time to another.
func at(from, to time.Time) string {
	return url.Values{"from": {from.UTC().Format(time.RFC3339Nano)}, "to": {to.UTC().Format(time.RFC3339Nano)}}.Encode()
}

// flip appends results of a check, a second apart, of which each second one fails,
// the first at a time.
func (b *bench) flip(id string, first time.Time, n int) {
	b.t.Helper()
	d := controls.Checks().Check(id)
	for i := range n {
		b.append(&audit.CheckTransition{Time: first.Add(time.Duration(i) * time.Second), Check: id, Version: d.Version, Definition: d.SHA256, Severity: string(d.Severity), After: []string{"pass", "fail"}[i%2], Trigger: "demand", Summary: fmt.Sprint("run ", i)})
	}
}

func TestHistoryHasTheExactFailingIntervals(t *testing.T) {
	b := newBench(t)
	b.sign()
	began := time.Now()
	b.flip("ENV-001", began, 6)
	b.flip("ENV-002", began.Add(5500*time.Millisecond), 1) // the log's newest record is behind the last result
	b.head()
	h := b.handler(Handler{})
	type answer struct {
		State     string
		Failing   string `json:"failing_minutes"`
		NS        map[string]int64
		Count     int64
		Intervals []struct {
			State, From, To, Minutes string
			NS                       int64
			By                       *struct {
				Seq     int64
				Summary string
			}
		}
		Next *string
		Size int64 `json:"tree_size"`
	}
	var a answer
	w := get(t, h, api+"/checks/env-001/history?"+at(began, began.Add(5*time.Second)))
	decode(t, w, &a)
	if a.Count != 5 || len(a.Intervals) != 5 || a.NS["fail"] != 2e9 || a.NS["pass"] != 3e9 || a.Failing != "0.033" || w.Header().Get("Soc2-Row-Count") != "5" {
		t.Fatalf("%+v", a)
	}
	for i, x := range a.Intervals {
		if x.NS != 1e9 || x.Minutes != "0.016" || x.By == nil || x.By.Summary != fmt.Sprint("run ", i) || (x.State == "fail") != (i%2 == 1) {
			t.Errorf("%d: %+v", i, x)
		}
		var record struct {
			Record struct{ Check, After string }
		}
		decode(t, get(t, h, fmt.Sprintf("%s/log/records/%d", api, x.By.Seq)), &record)
		if record.Record.Check != "ENV-001" || record.Record.After != x.State {
			t.Errorf("%d: record %d is %+v", i, x.By.Seq, record)
		}
	}
	// page by page, while the log grows
	var all []string
	next := "?limit=2&" + at(began, began.Add(5*time.Second))
	for range 9 {
		var p answer
		decode(t, get(t, h, api+"/checks/env-001/history"+next), &p)
		if p.Size != a.Size || p.Count != 5 || p.NS["fail"] != 2e9 {
			t.Errorf("%+v", p)
		}
		for _, x := range p.Intervals {
			all = append(all, x.From)
		}
		if p.Next == nil {
			break
		}
		next = *p.Next
		b.flip("ENV-001", began.Add(500*time.Millisecond), 1)
		b.head()
	}
	if len(all) != 5 {
		t.Errorf("pages have %v", all)
	}
	isProblem(t, get(t, h, api+"/checks/ENV-002/history"+next), 400) // a cursor of another check
	for _, id := range []string{"ENV-999", "x", "ENV-001/x", "", "ENV-001/history"} {
		isProblem(t, get(t, h, api+"/checks/"+id+"/history"), 404)
	}
	var none answer
	decode(t, get(t, h, api+"/checks/TLS-001/history"), &none)
	if none.State != "unknown" || none.Count != 1 || none.Intervals[0].By != nil || none.Failing != "0.000" || none.NS["unknown"] != none.Intervals[0].NS {
		t.Errorf("of a check that the log does not know: %+v", none)
	}
}

func TestDocumentsAreThoseOfThePackOfThePeriod(t *testing.T) {
	b := newBench(t)
	b.busy()
	h := b.handler(Handler{})
	key := b.log.Key()
	v, err := key.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	period := pack.Period{From: time.Now().Add(-time.Hour).UTC(), To: time.Now().Add(time.Hour).UTC()}
	_, want, err := packer.Documents(t.Context(), []packer.Log{{Dir: b.log.Records(), Signer: key, Keys: []note.Verifier{v}}}, packer.Options{Period: period})
	if err != nil {
		t.Fatal(err)
	}
	for path, name := range map[string]string{
		"/report": pack.PageFile, "/oscal/catalog": pack.CatalogFile, "/oscal/component-definition": pack.ComponentFile, "/oscal/assessment-results": pack.AssessmentFile,
	} {
		w := get(t, h, api+path+"?"+at(period.From, period.To))
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want[name]) {
			t.Errorf("%s: %d, not what %s of a pack is", path, w.Code, name)
		}
	}
	w := get(t, h, api+"/report")
	policy := w.Header().Get("Content-Security-Policy")
	if w.Header().Get("Content-Type") != typeHTML || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("%v", w.Header())
	}
	if page := w.Body.String(); strings.Count(page, "<style>") != 1 || !strings.Contains(page, "<style>"+pack.PageStyle()+"</style>") || !strings.Contains(page, "@media print") || strings.Contains(page, " style=") {
		t.Error("the page has not the style that its policy allows, or another one")
	}
}

func TestComputingEndsInTime(t *testing.T) {
	b := newBench(t)
	b.busy()
	h := b.handler(Handler{})
	h.api.patience = 0
	for _, q := range questions {
		if !q.within || strings.HasPrefix(q.pattern, "/oscal/c") { // for which no record is read
			continue
		}
		w := get(t, h, api+strings.ReplaceAll(q.pattern, "{id}", "TLS-001"))
		isProblem(t, w, 503)
		if !strings.Contains(w.Body.String(), "shorter period") || w.Header().Get("ETag") != "" {
			t.Errorf("%s: %s", q.pattern, w.Body)
		}
	}
	h.api.patience = documentTime
	h.api.exports <- struct{}{} // somebody reads
	h.api.exports <- struct{}{}
	w := get(t, h, api+"/report")
	isProblem(t, w, 503)
	if w.Header().Get("Retry-After") == "" {
		t.Error("a third reader is not told when to come again")
	}
	for _, path := range []string{"/log/checkpoints", "/oscal/catalog"} { // for which little is read
		if w := get(t, h, api+path); w.Code != 200 {
			t.Errorf("%s waits for those who read populations: %d", path, w.Code)
		}
	}
	<-h.api.exports
	<-h.api.exports
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.api.ending = func() context.Context { return ctx }
	isProblem(t, get(t, h, api+"/report"), 503)
}

func TestADamagedLogIsSaid(t *testing.T) {
	b := newBench(t)
	change := b.busy()
	h := b.handler(Handler{})
	list := b.examples(change)
	if err := os.Rename(filepath.Join(b.log.Dir(), "segments"), filepath.Join(b.log.Dir(), "gone")); err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		for _, e := range list {
			if e.pattern != apiVersion+q.pattern {
				continue
			}
			w := answered(t, h, http.MethodGet, e.path, nil)
			if w.Code == http.StatusOK {
				t.Errorf("%s of a log without its records: %.300s", e.path, w.Body)
			}
			if strings.Contains(w.Body.String(), "segments") || w.Header().Get("ETag") != "" {
				t.Errorf("%s: %s", e.path, w.Body)
			}
		}
	}
}

func TestPeriodsWithoutDataAreSaid(t *testing.T) {
	b := newBench(t)
	b.busy()
	h := b.handler(Handler{})
	query := "?from=2001-01-01&to=2001-02-01"
	for _, path := range []string{"/checks/TLS-001/history", "/certificates", "/oscal/assessment-results", "/report", "/log/checkpoints", "/config/changes"} {
		if w := get(t, h, api+path+query); w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/access/matrix", "/access/principals"} {
		isProblem(t, get(t, h, api+path+query), 404)
	}
	var r struct {
		Checkpoints []any
		Count       int64
	}
	decode(t, get(t, h, api+"/log/checkpoints"+query), &r)
	if r.Count != 0 || r.Checkpoints == nil || len(r.Checkpoints) != 0 {
		t.Errorf("%+v", r)
	}
	if w := get(t, h, api+"/report"+query); !strings.Contains(w.Body.String(), "the log begins then") && !strings.Contains(w.Body.String(), "What is missing") {
		t.Errorf("the report of a period before the log does not say so: %s", w.Body)
	}
}

func TestSignedHeadsOfThePeriodAreListed(t *testing.T) {
	b := newBench(t)
	witness, err := cosignature.NewKey("witness.example/w")
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int64
	var times []time.Time
	stamp := []byte{0x30, 0x03, 0x02, 0x01, 0x00}
	for i := range 5 {
		b.add("/")
		b.sign()
		text, head, _ := b.log.Checkpoint()
		name := filepath.Join(b.log.Dir(), filepath.FromSlash(timestamp.CheckpointPath(head.Size)))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{name: text, strings.TrimSuffix(name, ".checkpoint") + ".tsr": stamp} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		sizes, times = append(sizes, head.Size), append(times, time.Now())
		if i != 2 {
			continue
		}
		n, err := note.Open(text, note.VerifierList(b.log.Verifiers()...))
		if err != nil {
			t.Fatal(err)
		}
		cosigned, err := note.Sign(n, witness.At(times[i]))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.log.Dir(), notary.File), cosigned, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.add("/") // signed by nobody yet
	h := b.handler(Handler{})
	type answer struct {
		Count       int64
		Checkpoints []struct {
			Size      int64  `json:"tree_size"`
			From      string `json:"kept_as"`
			Note      string
			Newest    time.Time `json:"newest_record"`
			Timestamp []byte
			By        []struct {
				Name string
				Time time.Time
			} `json:"signatures"`
		}
		Next *string
	}
	var a answer
	decode(t, get(t, h, api+"/log/checkpoints"), &a)
	if a.Count != 7 || len(a.Checkpoints) != 7 { // five that were stamped, one that was witnessed, the newest
		t.Fatalf("%+v", a)
	}
	kinds := map[string]int{}
	for _, c := range a.Checkpoints {
		kinds[c.From]++
		head, _, err := checkpoint.Open([]byte(c.Note), b.log.Verifiers()...)
		if err != nil || head.Size != c.Size || len(c.By) == 0 || c.Newest.IsZero() || (c.From == "timestamped") != bytes.Equal(c.Timestamp, stamp) {
			t.Errorf("%+v: %v", c, err)
		}
		if c.From == "witnessed" && (len(c.By) != 2 || c.By[1].Name != "witness.example/w" && c.By[0].Name != "witness.example/w" || c.By[0].Time.IsZero() == c.By[1].Time.IsZero()) {
			t.Errorf("%+v", c.By)
		}
	}
	if kinds["witnessed"] != 1 || kinds["newest"] != 1 || kinds["timestamped"] != 5 {
		t.Errorf("%v", kinds)
	}
	decode(t, get(t, h, api+"/log/checkpoints?"+at(times[0], times[3])), &a)
	if a.Count != 4 || a.Checkpoints[0].Size != sizes[1] || a.Checkpoints[3].Size != sizes[3] {
		t.Errorf("of a period: %+v", a)
	}
	seen, next := 0, "?limit=3"
	for range 5 {
		var p answer
		decode(t, get(t, h, api+"/log/checkpoints"+next), &p)
		seen += len(p.Checkpoints)
		if p.Next == nil {
			break
		}
		next = *p.Next
	}
	if seen != 7 {
		t.Errorf("pages have %d", seen)
	}
	if err := os.WriteFile(filepath.Join(b.log.Dir(), notary.File), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	isProblem(t, get(t, h, api+"/log/checkpoints"), 500)
}

func TestConfigurationsAreServedWithoutTheirSecrets(t *testing.T) {
	b := newBench(t)
	from, to := []byte(`{"a":1,"list":[1,2]}`), []byte(`{"a":2,"list":[1,2,3]}`)
	b.versions = map[string][]byte{strings.Repeat("a", 64): from, strings.Repeat("b", 64): to}
	change := audit.ConfigChange{Time: time.Now(), Outcome: "applied", Source: "admin", Before: strings.Repeat("a", 64), After: strings.Repeat("b", 64)}
	long := change
	long.Diff = audit.JSON{Value: []byte(`[{"op":"add","path":"/x","value":"` + strings.Repeat("y", 40<<10) + `"}]`)} // longer than a record takes
	lost := change
	lost.After = strings.Repeat("c", 64)
	small := change
	small.Diff = audit.JSON{Value: []byte(`[{"op":"replace","path":"/a","value":2}]`)}
	seqs := []int64{b.append(&small), b.append(&long), b.append(&lost)}
	request, _ := b.add("/")
	b.sign()
	unsigned := b.append(&small)
	h := b.handler(Handler{})
	for i, want := range []string{"record", "versions", "none"} {
		var a struct {
			Seq    int64
			From   string `json:"patch_from"`
			Patch  []jsonpatch.Op
			Record struct{ Kind, Before string }
			Proof  string
		}
		path := fmt.Sprintf("%s/config/changes/%d", api, seqs[i])
		decode(t, get(t, h, path), &a)
		if a.Seq != seqs[i] || a.From != want || a.Record.Kind != "config.change" {
			t.Errorf("%d: %+v, want the patch from %s", i, a, want)
		}
		if want == "versions" {
			doc, err := jsonpatch.Parse(from)
			if err != nil {
				t.Fatal(err)
			}
			if doc, err = jsonpatch.Apply(doc, a.Patch); err != nil {
				t.Fatal(err)
			}
			if text, err := jsonpatch.Canonical(doc); err != nil || !bytes.Equal(text, to) {
				t.Errorf("the patch leads to %s: %v", text, err)
			}
		}
		proof, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if w := get(t, h, proof.JoinPath("..", a.Proof).Path); w.Code != 200 {
			t.Errorf("%s leads nowhere: %d", a.Proof, w.Code)
		}
	}
	for _, seq := range []int64{request, unsigned, 99999} {
		isProblem(t, get(t, h, fmt.Sprintf("%s/config/changes/%d", api, seq)), 404)
	}
	if w := get(t, h, api+"/config/versions/"+strings.Repeat("a", 64)); !bytes.Equal(w.Body.Bytes(), from) {
		t.Errorf("%s", w.Body)
	}
	for _, hash := range []string{strings.Repeat("d", 64), "x", "..", "..%2f..%2fkeys%2fchanges", ""} {
		isProblem(t, get(t, h, api+"/config/versions/"+hash), 404)
	}
	var current struct {
		Hash   string          `json:"config_sha256"`
		Config json.RawMessage `json:"config"`
	}
	decode(t, get(t, h, api+"/config/current"), &current)
	if current.Hash != configHash || !strings.Contains(string(current.Config), "listen") {
		t.Errorf("%+v", current)
	}
}

func TestMatrixSaysWhoCouldAndWhatWasUsed(t *testing.T) {
	b := newBench(t)
	b.busy()
	h := b.handler(Handler{})
	var m struct {
		Policies []struct {
			Rules []struct{ Rule, Status string }
		}
		Accounts []struct{ Name, Status string }
		Dormant  struct{ Rules, Accounts []string }
		Config   struct {
			Source, SHA256 string
		} `json:"configuration"`
		Log struct {
			Size int64 `json:"tree_size"`
		}
	}
	w := get(t, h, api+"/access/matrix")
	decode(t, w, &m)
	if len(m.Policies) != 1 || len(m.Policies[0].Rules) != 2 || m.Config.Source != "running" || m.Config.SHA256 != configHash || len(m.Dormant.Rules) == 0 {
		t.Errorf("%s", w.Body)
	}
	if len(m.Accounts) < len(payloads)-1 { // two may be one when they show
		t.Errorf("%d accounts", len(m.Accounts))
	}
	if fmt.Sprint(m.Log.Size) != w.Header().Get("Soc2-Tree-Size") {
		t.Errorf("it stands on %d, %v", m.Log.Size, w.Header())
	}
	names, next := map[string]bool{}, "?limit=5"
	for range 20 {
		var p struct {
			Principals []struct {
				Name   string `json:"principal"`
				Method string
			}
			Count int64
			Next  *string
		}
		decode(t, get(t, h, api+"/access/principals"+next), &p)
		for _, x := range p.Principals {
			names[x.Name+" "+x.Method] = true
		}
		if p.Next == nil {
			if int(p.Count) != len(names) {
				t.Errorf("%d of %d principals", len(names), p.Count)
			}
			break
		}
		next = *p.Next
		b.add("/more")
		b.sign()
	}
	b.grantless = true
	isProblem(t, get(t, h, api+"/access/matrix"), 503)
}

func TestInventoryJoinsTheLogWithWhatIsInUse(t *testing.T) {
	b := newBench(t)
	now := time.Now()
	cert := func(kind audit.Kind, sha, name string, after time.Duration) audit.Certificate {
		return audit.Certificate{Time: now, Kind: kind, Names: []string{name}, SHA256: strings.Repeat(sha, 64), NotBefore: now, NotAfter: now.Add(after), Managed: true}
	}
	old, renewed, unlogged := cert(audit.KindCertObtained, "a", "a.example", time.Hour), cert(audit.KindCertRenewed, "b", "a.example", 48*time.Hour), cert(audit.KindCertLoaded, "c", "c.example", 24*time.Hour)
	revoked := old
	revoked.Kind = audit.KindCertRevoked
	lost := audit.Certificate{Time: now, Kind: audit.KindCertFailed, Names: []string{"a.example", "never.example"}, Error: "no"}
	for _, c := range []audit.Certificate{old, revoked, lost, renewed, lost, renewed} {
		b.append(&c)
	}
	b.sign()
	h := b.handler(Handler{})
	type answer struct {
		Known        bool `json:"in_use_known"`
		Certificates []struct {
			SHA256  string
			Used    *bool `json:"in_use"`
			Revoked bool
			Events  map[string]int64
			First   *int64 `json:"first_seq"`
		}
		Failing []struct {
			Name   string
			Failed int64
			Since  bool `json:"obtained_since"`
		}
	}
	var a answer
	decode(t, get(t, h, api+"/certificates"), &a)
	if a.Known || len(a.Certificates) != 2 || a.Certificates[0].Used != nil {
		t.Errorf("before anybody has looked: %+v", a)
	}
	b.used = []audit.Certificate{renewed, unlogged}
	a = answer{}
	decode(t, get(t, h, api+"/certificates"), &a)
	if !a.Known || len(a.Certificates) != 3 {
		t.Fatalf("%+v", a)
	}
	for i, want := range []struct {
		sha      string
		used     bool
		revoked  bool
		recorded int64
	}{{"a", false, true, 2}, {"c", true, false, 0}, {"b", true, false, 2}} { // by their ends
		c := a.Certificates[i]
		var n int64
		for _, k := range c.Events {
			n += k
		}
		if c.SHA256[:1] != want.sha || *c.Used != want.used || c.Revoked != want.revoked || n != want.recorded || (c.First == nil) != (want.recorded == 0) {
			t.Errorf("%d: %+v, want %+v", i, c, want)
		}
	}
	if len(a.Failing) != 2 {
		t.Fatalf("%+v", a.Failing)
	}
	for _, f := range a.Failing {
		if f.Failed != 2 || f.Since != (f.Name == "a.example") {
			t.Errorf("%+v", f)
		}
	}
}

func TestHashTilesHaveAnAllowanceOfTheirOwn(t *testing.T) {
	b := newBench(t)
	b.add("/")
	b.sign()
	h := b.handler(Handler{Rate: 2, Viewers: []string{"user:monitor"}, Auditors: []string{"user:alice"}})
	now := time.Unix(1, 0)
	h.limit.now, h.tiles.now = func() time.Time { return now }, func() time.Time { return now }
	count := func(user, path string, n int) (served int) {
		for range n {
			w, err := do(h, request{path: api + path, user: user})
			if err != nil {
				t.Fatal(err)
			}
			if w.Code != http.StatusTooManyRequests {
				served++
			}
		}
		return served
	}
	const tile = "/log/tile/0/000.p/1"
	if n := count("monitor", tile, 2*burst*tileTimes+20); n != 2*burst*tileTimes {
		t.Errorf("%d tiles", n)
	}
	if n := count("monitor", "/status", 2*burst+5); n != 2*burst {
		t.Errorf("tiles take from the rest: %d", n)
	}
	if n := count("alice", "/log/tile/entries/000.p/1", 2*burst+5); n != 2*burst {
		t.Errorf("entry bundles are records: %d", n)
	}
	if n := count("mallory", tile, 2*burst+5); n != 2*burst {
		t.Errorf("who may not read makes %d records of refusals", n)
	}
}
