package evidence

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
)

// found is a record as it is served.
type found struct {
	Seq    int64           `json:"seq"`
	Record json.RawMessage `json:"record"`
	Proof  *struct {
		Size       int64        `json:"size"`
		Root       tlog.Hash    `json:"root"`
		Hashes     *[]tlog.Hash `json:"hashes"`
		Checkpoint string       `json:"checkpoint"`
	} `json:"proof"`
	Unsigned bool `json:"unsigned"`
}

// verify checks a proof as a third party would, from the response and the
// verifier key alone.
func (f *found) verify(t *testing.T, key string) {
	t.Helper()
	if f.Proof == nil || f.Unsigned || f.Proof.Hashes == nil {
		t.Fatalf("record %d has no proof", f.Seq)
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open([]byte(f.Proof.Checkpoint), note.VerifierList(v)); err != nil {
		t.Fatal(err)
	}
	head, _, err := checkpoint.Open([]byte(f.Proof.Checkpoint), v)
	if err != nil {
		t.Fatal(err)
	}
	if head.Size != f.Proof.Size || head.Root != f.Proof.Root {
		t.Errorf("the proof is for %d %s, but the checkpoint signs %d %s", f.Proof.Size, f.Proof.Root, head.Size, head.Root)
	}
	if err := tlog.CheckRecord(*f.Proof.Hashes, head.Size, head.Root, f.Seq, tlog.RecordHash(f.Record)); err != nil {
		t.Errorf("record %d: %v", f.Seq, err)
	}
}

func TestRecordsAreServedWithProofsThatVerify(t *testing.T) {
	b := newBench(t)
	ids := map[int64]string{}
	paths := []string{"/", "/a\u2028b", "/\xff", "/<script>&\"\\", "/\x00\x1b[0m", "/ü"}
	for i := range 300 { // more than a tile
		seq, id := b.add(paths[i%len(paths)])
		ids[seq] = id
	}
	b.sign()
	h := b.handler(Handler{})
	for seq := range b.log.Next() {
		refs := []string{strconv.FormatInt(seq, 10)}
		if id := ids[seq]; id != "" && seq%37 < 3 {
			refs = append(refs, id, strings.ToUpper(id))
		}
		for _, ref := range refs {
			w := get(t, h, "/.soc2/v1/log/records/"+ref)
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("%s: status %d: %s", ref, w.Code, w.Body)
			}
			var f found
			decode(t, w, &f)
			if f.Seq != seq {
				t.Errorf("%s: got record %d, want %d", ref, f.Seq, seq)
			}
			stored, err := b.log.Records().Record(seq)
			if err != nil {
				t.Fatal(err)
			}
			if string(f.Record) != string(stored) {
				t.Errorf("%s: the record was changed:\n%q\n%q", ref, f.Record, stored)
			}
			f.verify(t, b.log.Key().Public())
		}
	}
}

func TestProofOfTheOnlyRecordIsAnEmptyList(t *testing.T) {
	b := newBench(t)
	w := get(t, b.handler(Handler{}), "/.soc2/v1/log/records/0")
	if !strings.Contains(w.Body.String(), `"hashes":[]`) {
		t.Errorf("got %s", w.Body)
	}
	var f found
	decode(t, w, &f)
	f.verify(t, b.log.Key().Public())
}

func TestUnsignedRecordHasNoProof(t *testing.T) {
	b := newBench(t)
	seq, id := b.add("/new")
	for _, ref := range []string{id, strconv.FormatInt(seq, 10)} {
		w := get(t, b.handler(Handler{}), "/.soc2/v1/log/records/"+ref)
		var f found
		decode(t, w, &f)
		if w.Code != http.StatusOK || f.Seq != seq || f.Proof != nil || !f.Unsigned || !strings.Contains(w.Body.String(), `"proof":null`) {
			t.Errorf("%s: got %s", ref, w.Body)
		}
	}
}

func TestLookupErrors(t *testing.T) {
	b := newBench(t)
	_, id := b.add("/")
	h := b.handler(Handler{})
	for ref, want := range map[string]int{
		audit.NewID(time.Now()).String():                     404,
		audit.NewID(time.Now().Add(-time.Hour)).String():     404,
		audit.NewID(time.Now().Add(24 * time.Hour)).String(): 404,
		"00000000-0000-0000-0000-000000000000":               400,
		"2000":                                               404,
		"9223372036854775807":                                404,
		"9223372036854775808":                                400,
		"-1":                                                 400,
		"+1":                                                 400,
		"01":                                                 400,
		"0x1":                                                400,
		"":                                                   400,
		"x":                                                  400,
		"0/":                                                 400,
		"..%2f..%2fcheckpoint":                               400,
		id[:35]:                                              400,
		id + "0":                                             400,
		"%3Cscript%3E":                                       400,
		strings.ReplaceAll(id, "-", ""):                      400,
	} {
		isProblem(t, get(t, h, "/.soc2/v1/log/records/"+ref), want)
	}
}

func TestDamagedLogIsAnErrorWithoutDetails(t *testing.T) {
	b := newBench(t)
	seq, id := b.add("/x")
	name := filepath.Join(b.log.Dir(), "segments")
	if err := os.Rename(name, name+".gone"); err != nil {
		t.Fatal(err)
	}
	h := b.handler(Handler{})
	for _, ref := range []string{id, strconv.FormatInt(seq, 10)} {
		w := get(t, h, "/.soc2/v1/log/records/"+ref)
		isProblem(t, w, http.StatusInternalServerError)
		if strings.Contains(w.Body.String(), "segments") {
			t.Errorf("got %s", w.Body)
		}
	}
	w := get(t, h, "/.soc2/")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "records could not be read") {
		t.Errorf("status page: %d %s", w.Code, w.Body)
	}
}

func TestCheckpointIsServedAsSigned(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{})
	const path = "/.soc2/v1/log/checkpoint"
	w := get(t, h, path)
	want, _, _ := b.log.Checkpoint()
	if w.Body.String() != string(want) || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %s", w.Body)
	}
	etag := w.Header().Get("ETag")
	if sum := sha256.Sum256(want); etag != fmt.Sprintf(`"%x"`, sum[:16]) {
		t.Errorf("ETag is %s, not the hash of what is served", etag)
	}
	for tag, want := range map[string]int{
		"":                      200,
		`"other"`:               200,
		`W/"other"`:             200,
		etag:                    304,
		"W/" + etag:             304,
		"*":                     304,
		`"other", ` + etag:      304,
		strings.Trim(etag, `"`): 200,
	} {
		w, err := do(h, request{path: path, user: "auditor", header: http.Header{"If-None-Match": {tag}}})
		if err != nil {
			t.Fatal(err)
		}
		secured(t, w)
		if w.Code != want || want == 304 && w.Body.Len() > 0 || w.Header().Get("ETag") != etag {
			t.Errorf("If-None-Match %s: status %d, want %d", tag, w.Code, want)
		}
	}
	b.add("/")
	b.sign()
	w, err := do(h, request{path: path, user: "auditor", header: http.Header{"If-None-Match": {etag}}})
	if err != nil || w.Code != 200 || w.Header().Get("ETag") == etag {
		t.Errorf("after the log grew: status %d", w.Code)
	}
}

func TestKeyOpensTheCheckpoint(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{})
	v, err := note.NewVerifier(strings.TrimSpace(get(t, h, "/.soc2/v1/log/key").Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(get(t, h, "/.soc2/v1/log/checkpoint").Body.Bytes(), note.VerifierList(v)); err != nil {
		t.Error(err)
	}
}

func TestStatusTellsTheStateOfTheLog(t *testing.T) {
	b := newBench(t)
	b.add("/a")
	b.sign()
	b.add("/b")
	b.add("/c")
	h := b.handler(Handler{})
	_, head, signed := b.log.Checkpoint()
	h.api.now = func() time.Time { return signed.Add(90 * time.Second) }
	var s Status
	decode(t, get(t, h, "/.soc2/v1/status"), &s)
	key := b.log.Key().Public()
	want := Status{
		Instance: "edge-1", Profile: "strict", State: "accepting", Origin: "edge-1/soc2", Key: key,
		Size: 4, Root: head.Root.String(), Signed: signed.UTC().Round(0), AgeSeconds: 90, Unsigned: 2,
		Verify: "soc2-verify " + quote(b.log.Dir()) + " --key " + key, Notice: notice,
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	b.fail()
	decode(t, get(t, h, "/.soc2/v1/status"), &s)
	if s.State != "failing" || !strings.Contains(s.Detail, errDisk.Error()) {
		t.Errorf("of a failed log: %+v", s)
	}
}

func TestHealthFollowsTheLog(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{})
	var health struct{ Status, Detail string }
	w := get(t, h, "/.soc2/v1/healthz")
	decode(t, w, &health)
	if w.Code != 200 || health.Status != "ok" || health.Detail == "" {
		t.Errorf("status %d: %+v", w.Code, health)
	}
	b.fail()
	w = get(t, h, "/.soc2/v1/healthz")
	decode(t, w, &health)
	if w.Code != 503 || health.Status != "failing" || !strings.Contains(health.Detail, errDisk.Error()) {
		t.Errorf("of a failed log: status %d: %+v", w.Code, health)
	}
}

func TestIndexNamesWhatIsServed(t *testing.T) {
	b := newBench(t)
	change := b.busy()
	h := b.handler(Handler{})
	var index map[string]string
	decode(t, get(t, h, "/.soc2/v1/"), &index)
	if len(index) == 0 {
		t.Fatal("the index is empty")
	}
	id := b.packed()
	for name, path := range index {
		path = strings.NewReplacer("changes/{seq}", "changes/"+strconv.FormatInt(change, 10), "{sha256}", configHash, "limit={number}", "limit=2",
			"{request-id-or-index}", "0", "from={index}", "from=0", "{index}", "000.p/1",
			"{best-exact-or-none}", "none", "populations/{name}", "populations/requests", "{json-csv-ndjson-or-ocsf}", "csv", "{csv-ndjson-or-ocsf}", "csv",
			"&cursor={cursor}", "", "{text}", "7", "seq={index}&size={number}", "seq=0&size=1", "from={size}&to={size}", "from=1&to=2", "checks/{id}", "checks/TLS-001", "criteria/{id}", "criteria/CC6.1",
			"{level}", "0", "{number}", "1", "{0-or-1}", "0",
			"packs/{id}", "packs/"+id,
			"from={time}", "from=2026-01-31T00:00:00Z", "{time}", "2100-02-28T00:00:00Z").Replace(path)
		if w := get(t, h, "/.soc2/v1/"+path); w.Code != 200 {
			t.Errorf("%s: %s has status %d", name, path, w.Code)
		}
	}
}

func TestLookupsRunTogetherWithAppends(t *testing.T) {
	b := newBench(t)
	_, id := b.add("/first")
	h := b.handler(Handler{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				for _, path := range []string{"/.soc2/", "/.soc2/v1/log/records/" + id, "/.soc2/v1/status"} {
					if w, err := do(h, request{path: path, user: "auditor"}); err != nil || w.Code != 200 {
						t.Errorf("%s: status %d, error %v", path, w.Code, err)
					}
				}
			}
		})
	}
	for range 50 {
		b.add("/more")
	}
	wg.Wait()
}

func TestCommandIsSafeToPaste(t *testing.T) {
	for s, want := range map[string]string{
		"/var/lib/caddy/soc2/log":     "/var/lib/caddy/soc2/log",
		"edge-1/soc2+0123abcd+Aa/b+=": "edge-1/soc2+0123abcd+Aa/b+=",
		"":                            "''",
		"/a b":                        "'/a b'",
		"/$(reboot)":                  "'/$(reboot)'",
		"/it's":                       `'/it'\''s'`,
	} {
		if got := quote(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}
