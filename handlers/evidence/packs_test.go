package evidence

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// order calls the admin API.
func (b *bench) order(method, path, body string) *httptest.ResponseRecorder {
	b.t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, adminBase+apiVersion+path, strings.NewReader(body))
	if !packing(w, r, path, func() (Source, error) { return b, nil }) {
		b.t.Fatalf("%s %s is not answered", method, path)
	}
	return w
}

func TestAPackIsOrderedFollowedAndFetched(t *testing.T) {
	b := newBench(t)
	b.add("/")
	b.sign()
	w := b.order("POST", "/packs", `{"from":"2020-01-01","to":"2100-01-01","full":true,"by":"alice","samples":[{"population":"requests","n":1,"seed":"s"}]}`)
	var j jobs.Job
	decode(t, w, &j)
	if w.Code != http.StatusAccepted || w.Header().Get("Location") != "/soc2/v1/packs/"+j.ID || j.Actor.Claim != "alice" {
		t.Fatalf("%d %v %+v", w.Code, w.Header(), j)
	}
	h := b.handler(Handler{Viewers: []string{"role:viewer"}, Auditors: []string{"user:auditor"}})
	for j.State != jobs.Done {
		if j.State.Over() {
			t.Fatalf("%+v", j)
		}
		decode(t, get(t, h, "/.soc2/v1/packs/"+j.ID), &j)
	}
	w = get(t, h, "/.soc2/v1/packs/"+j.ID+".zip")
	body := w.Body.Bytes()
	v, err := b.cfg.Key.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	r, err := pack.Verify(bytes.NewReader(body), int64(len(body)), []note.Verifier{v}, pack.Options{})
	if err != nil || !r.Verified || w.Header().Get("Content-Type") != typeZip || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%v %+v %v", err, r, w.Header())
	}
	if !strings.Contains(w.Header().Get("Content-Disposition"), `filename="soc2-evidence_20200101T000000Z_21000101T000000Z.zip"`) {
		t.Error(w.Header())
	}
	records := b.reads()
	last := records[len(records)-1]
	if last.Resource != "pack" || last.Name != j.ID || last.TreeRoot != j.Root || last.Bytes != int64(len(body)) {
		t.Errorf("the download is recorded as %+v", last)
	}
}

// TestPacksAreForAuditors: a viewer gets neither the list nor a pack, and nobody
// orders one where the evidence is read.
func TestPacksAreForAuditors(t *testing.T) {
	b := newBench(t)
	b.add("/")
	b.sign()
	id := b.packed()
	h := b.handler(Handler{Viewers: []string{"user:viewer"}, Auditors: []string{"user:auditor"}})
	for _, path := range []string{"/packs", "/packs/" + id, "/packs/" + id + ".zip"} {
		for _, user := range []string{"viewer", "stranger"} {
			w, err := do(h, request{path: "/.soc2/v1" + path, user: user})
			if err != nil {
				t.Fatal(err)
			}
			isProblem(t, w, http.StatusForbidden)
		}
		for _, method := range []string{"POST", "DELETE", "PUT"} {
			w, err := do(h, request{method: method, path: "/.soc2/v1" + path, user: "auditor"})
			if err != nil {
				t.Fatal(err)
			}
			isProblem(t, w, http.StatusMethodNotAllowed)
		}
	}
	for _, path := range []string{"/packs/", "/packs/x", "/packs/x.zip", "/packs/../status.zip", "/packs/" + id + "/x", "/packs/%2e%2e%2f" + id + ".zip", "/packs/" + id + ".json"} {
		w, err := do(h, request{path: "/.soc2/v1" + path, user: "auditor"})
		if err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestOrdersOfPacksThatAreWrongAreRefused(t *testing.T) {
	b := newBench(t)
	b.add("/")
	b.sign()
	for _, body := range []string{
		"", "[]", "{}", `{"from":"2026-01-01"}`, `{"from":"x","to":"y"}`, `{"from":"2026-01-02","to":"2026-01-01"}`, `{"from":"2026-01-01","to":"2026-01-02","more":1}`,
		`{"from":"2026-01-01","to":"2026-01-02"} x`, `{"from":"2100-01-01","to":"2101-01-02"}`,
		`{"from":"2026-01-01","to":"2026-01-02","samples":[{"population":"principals","n":1,"seed":"s"}]}`,
	} {
		isProblem(t, b.order("POST", "/packs", body), http.StatusBadRequest)
	}
	for method, path := range map[string]string{"PUT": "/packs", "DELETE": "/packs", "POST": "/packs/x", "PATCH": "/packs/x"} {
		w := b.order(method, path, "{}")
		isProblem(t, w, http.StatusMethodNotAllowed)
		if w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", method, path)
		}
	}
	isProblem(t, b.order("DELETE", "/packs/x", ""), http.StatusNotFound)
	id := b.packed()
	if w := b.order("DELETE", "/packs/"+id, ""); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	isProblem(t, b.order("DELETE", "/packs/"+id, ""), http.StatusNotFound)
}
