package evidence

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// api serves the evidence below a prefix.
type api struct {
	prefix string
	source func() (Source, error)
	routes map[string]func(http.ResponseWriter, *http.Request, Source)
}

// recordsPath is where records are looked up by request id or index.
const recordsPath = "/v1/log/records/"

func newAPI(prefix string, source func() (Source, error)) *api {
	a := &api{prefix: prefix, source: source}
	a.routes = map[string]func(http.ResponseWriter, *http.Request, Source){
		"/":                  a.page,
		"/style.css":         a.style,
		"/lookup":            a.lookup,
		"/v1/":               a.index,
		"/v1/status":         a.status,
		"/v1/healthz":        a.healthz,
		"/v1/log/checkpoint": a.checkpoint,
		"/v1/log/key":        a.key,
	}
	return a
}

// pagePolicy is the Content-Security-Policy of all responses: the page needs a
// style sheet and a form, the rest nothing.
const pagePolicy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (a *api) serve(w http.ResponseWriter, r *http.Request, rest string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", pagePolicy)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		problem(w, http.StatusMethodNotAllowed, "The evidence can only be read: GET or HEAD.")
		return
	}
	source, err := a.source()
	if err != nil {
		problem(w, http.StatusServiceUnavailable, "The running configuration keeps no audit log.")
		return
	}
	if id, ok := strings.CutPrefix(rest, recordsPath); ok {
		a.record(w, source, id)
		return
	}
	route, ok := a.routes[rest]
	if !ok {
		problem(w, http.StatusNotFound, "There is no such resource. "+a.prefix+"/v1/ lists what there is.")
		return
	}
	route(w, r, source)
}

// problem answers with an error (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	reply(w, status, "application/problem+json", map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
}

func reply(w http.ResponseWriter, status int, contentType string, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // all values are made here
		status, b = http.StatusInternalServerError, []byte(`{"status":500}`)
	}
	send(w, status, contentType, append(b, '\n'))
}

func send(w http.ResponseWriter, status int, contentType string, b []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client is gone: nothing to be done
}

const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
)

func (a *api) index(w http.ResponseWriter, _ *http.Request, _ Source) {
	reply(w, http.StatusOK, typeJSON, map[string]string{
		"status":     a.prefix + "/v1/status",
		"healthz":    a.prefix + "/v1/healthz",
		"checkpoint": a.prefix + "/v1/log/checkpoint",
		"key":        a.prefix + "/v1/log/key",
		"record":     a.prefix + recordsPath + "{request id or index}",
	})
}

// status is what the status resource and the page say.
type status struct {
	Instance string `json:"instance"`
	Profile  string `json:"profile"`
	Log      string `json:"log"` // accepting or failing
	Reason   string `json:"reason,omitempty"`
	Origin   string `json:"origin"`
	Key      string `json:"key"`
	Records  int64  `json:"records"`
	Signed   int64  `json:"signed"`
	Unsigned int64  `json:"unsigned"`
	Root     string `json:"root"`
	SignedAt string `json:"signed_at"` // RFC 3339, UTC

	Age time.Duration `json:"-"`
	Dir string        `json:"-"`
}

func statusOf(s Source) status {
	log := s.Log()
	_, head, at := log.Checkpoint()
	st := status{
		Instance: s.Instance(), Profile: s.Profile(), Log: "accepting",
		Origin: head.Origin, Key: log.Key().Public(), Records: log.Next(),
		Signed: head.Size, Root: head.Root.String(), SignedAt: at.UTC().Format(time.RFC3339),
		Age: time.Since(at).Round(time.Second), Dir: log.Dir(),
	}
	st.Unsigned = st.Records - st.Signed
	if err := log.Err(); err != nil {
		st.Log, st.Reason = "failing", err.Error()
	}
	return st
}

func (a *api) status(w http.ResponseWriter, _ *http.Request, s Source) {
	reply(w, http.StatusOK, typeJSON, statusOf(s))
}

func (a *api) healthz(w http.ResponseWriter, _ *http.Request, s Source) {
	if err := s.Log().Err(); err != nil {
		reply(w, http.StatusServiceUnavailable, typeJSON, map[string]string{"status": "failing", "detail": "the audit log takes no records"})
		return
	}
	reply(w, http.StatusOK, typeJSON, map[string]string{"status": "ok"})
}

// checkpoint serves the signed head byte for byte (C2SP tlog-checkpoint).
func (a *api) checkpoint(w http.ResponseWriter, r *http.Request, s Source) {
	note, head, _ := s.Log().Checkpoint()
	tag := `"` + strconv.FormatInt(head.Size, 10) + "-" + head.Root.String() + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, http.StatusOK, typeText, note)
}

func (a *api) key(w http.ResponseWriter, _ *http.Request, s Source) {
	send(w, http.StatusOK, typeText, []byte(s.Log().Key().Public()+"\n"))
}

// lookup sends the form of the page to a record.
func (a *api) lookup(w http.ResponseWriter, r *http.Request, _ Source) {
	id, err := audit.ParseID(strings.TrimSpace(r.URL.Query().Get("id")))
	if err != nil {
		problem(w, http.StatusBadRequest, "id is not a request id: it is the UUID that the response carries as X-Request-Id.")
		return
	}
	http.Redirect(w, r, a.prefix+recordsPath+id.String(), http.StatusSeeOther)
}

// proof is an inclusion proof of a record (RFC 6962, section 2.1.1).
type proof struct {
	Size       int64    `json:"size"`
	Root       string   `json:"root"`
	Hashes     []string `json:"hashes"`
	Checkpoint string   `json:"checkpoint"`
}

func (a *api) record(w http.ResponseWriter, s Source, name string) {
	seq, record, err := find(s.Log(), name)
	switch {
	case errors.Is(err, errName):
		problem(w, http.StatusBadRequest, err.Error())
		return
	case errors.Is(err, records.ErrNotFound):
		problem(w, http.StatusNotFound, "The log has no such record.")
		return
	case err != nil:
		problem(w, http.StatusInternalServerError, "The record cannot be read.")
		return
	}
	p, err := s.Log().Prove(seq)
	if err != nil && !errors.Is(err, audit.ErrUnsigned) {
		problem(w, http.StatusInternalServerError, "The record cannot be proved.")
		return
	}
	send(w, http.StatusOK, typeJSON, recordBody(seq, record, p, err == nil))
}

// recordBody puts a record into a JSON object byte for byte: its leaf hash is
// over its bytes, which encoding/json could write in another way.
func recordBody(seq int64, record []byte, p audit.Proof, proved bool) []byte {
	b := strconv.AppendInt([]byte(`{"seq":`), seq, 10)
	b = append(b, `,"record":`...)
	b = append(b, record...)
	if !proved {
		return append(b, `,"unsigned":true,"proof":null}`+"\n"...)
	}
	encoded, err := json.Marshal(encode(p))
	if err != nil { // strings and a number
		encoded = []byte("null")
	}
	b = append(b, `,"unsigned":false,"proof":`...)
	return append(append(b, encoded...), '}', '\n')
}

func encode(p audit.Proof) proof {
	hashes := make([]string, len(p.Hashes))
	for i, h := range p.Hashes {
		hashes[i] = base64.StdEncoding.EncodeToString(h[:])
	}
	return proof{p.Head.Size, p.Head.Root.String(), hashes, string(p.Checkpoint)}
}

var errName = errors.New("a record is named by its request id, a UUID, or by its index in the log")

// find returns the record with a request id or an index.
func find(log *audit.Log, name string) (int64, []byte, error) {
	if id, err := audit.ParseID(name); err == nil {
		return audit.Find(log.Records(), id)
	}
	seq, err := strconv.ParseInt(name, 10, 64)
	if err != nil || seq < 0 {
		return 0, nil, errName
	}
	record, err := log.Records().Record(seq)
	return seq, record, err
}
