package evidence

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// apiVersion is the first element of the API's paths.
const apiVersion = "/v1"

// lookups is how many records are looked up at a time. To find one, segments
// are read, each of up to 64 MiB.
const lookups = 2

// API serves the log's head, records and state as REST resources, wherever it
// is mounted.
type API struct {
	source func() (Source, error)
	now    func() time.Time
	slots  chan struct{} // held by a request that looks a record up
}

// NewAPI returns an API over what source returns, which it asks for each
// request.
func NewAPI(source func() (Source, error)) *API {
	return &API{source: source, now: time.Now, slots: make(chan struct{}, lookups)}
}

// endpoints is what the index says, relative to the index.
var endpoints = map[string]string{
	"status":         "status",
	"healthz":        "healthz",
	"log_checkpoint": "log/checkpoint",
	"log_key":        "log/key",
	"log_record":     "log/records/{request-id-or-index}",
}

// Serve answers a request for a path of the API, which begins with the slash
// after the version.
func (a *API) Serve(w http.ResponseWriter, r *http.Request, path string) {
	if !readOnly(w, r) {
		return
	}
	src, err := a.source()
	if err != nil {
		problem(w, r, http.StatusServiceUnavailable, "There is no audit log: the app soc2 is not configured or did not start.")
		return
	}
	switch path {
	case "/":
		sendJSON(w, r, http.StatusOK, typeJSON, endpoints)
	case "/status":
		sendJSON(w, r, http.StatusOK, typeJSON, statusOf(src, a.now()))
	case "/healthz":
		a.health(w, r, src)
	case "/log/checkpoint":
		serveCheckpoint(w, r, src)
	case "/log/key":
		send(w, r, http.StatusOK, typeText, []byte(src.Log().Key().Public()+"\n"))
	default:
		if ref, ok := strings.CutPrefix(path, recordsPath); ok {
			a.record(w, r, src, ref)
			return
		}
		notFound(w, r)
	}
}

// health says whether the log takes records.
func (a *API) health(w http.ResponseWriter, r *http.Request, src Source) {
	type health struct {
		Status string `json:"status"`
		Detail string `json:"detail"`
	}
	if err := src.Log().Err(); err != nil {
		sendJSON(w, r, http.StatusServiceUnavailable, typeJSON, health{"failing", err.Error()})
		return
	}
	sendJSON(w, r, http.StatusOK, typeJSON, health{"ok", "The audit log takes records."})
}

// serveCheckpoint serves the newest checkpoint in the very bytes that were
// signed (C2SP tlog-checkpoint).
func serveCheckpoint(w http.ResponseWriter, r *http.Request, src Source) {
	note, head, _ := src.Log().Checkpoint()
	etag := fmt.Sprintf(`"%x-%d"`, head.Root[:], head.Size)
	w.Header().Set("ETag", etag)
	if matches(r.Header.Values("If-None-Match"), etag) {
		secure(w.Header())
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, r, http.StatusOK, typeText, note)
}

// matches compares entity tags as If-None-Match does (RFC 9110, sections
// 8.8.3.2 and 13.1.2). No tag of ours has a comma in it.
func matches(ifNoneMatch []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(ifNoneMatch, ","), ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
