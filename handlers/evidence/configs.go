package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
)

// Configured knows the configuration that runs and those that ran, without their
// secrets. The soc2 app is one.
type Configured interface {
	// ConfigHash is the SHA-256 of the configuration that runs, in hex; empty if it
	// is not known.
	ConfigHash() string
	// ConfigVersion is a configuration that ran, as canonical JSON, by its SHA-256. The
	// error is fs.ErrNotExist if it is not kept.
	ConfigVersion(sha256 string) ([]byte, error)
}

const versionsPath = "/config/versions/"

// configs answers requests for configurations. It reports false for other paths.
func (a *API) configs(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	hash, version := strings.CutPrefix(path, versionsPath)
	if version == (path == "/config/current") || version && strings.Contains(hash, "/") {
		return false
	}
	if _, err := parseInquiry(r.URL.RawQuery, a.now()); err != nil {
		badQuery(w, r, err)
		return true
	}
	c, ok := src.(Configured)
	switch {
	case !ok:
		notFound(w, r)
	case version:
		serveVersion(w, r, c, hash)
	default:
		serveCurrent(w, r, src, c)
	}
	return true
}

// serveVersion answers with a version, whose bytes have the hash that names it.
func serveVersion(w http.ResponseWriter, r *http.Request, c Configured, hash string) {
	readingOf(r).name(hash)
	text, err := c.ConfigVersion(hash)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem(w, r, http.StatusNotFound, "There is no such version, or it is no longer kept. A version is named by its SHA-256 in hex.")
	case err != nil:
		broken(w, r, err)
	default:
		w.Header().Set("ETag", `"`+hash+`"`)
		if tiles.Matches(r.Header.Values("If-None-Match"), `"`+hash+`"`) {
			secure(w.Header())
			w.WriteHeader(http.StatusNotModified)
			return
		}
		send(w, r, http.StatusOK, typeJSON, text)
	}
}

// serveCurrent answers with the configuration that runs, and how it is guarded.
func serveCurrent(w http.ResponseWriter, r *http.Request, src Source, c Configured) {
	current := struct {
		Hash   string          `json:"config_sha256"`
		State  any             `json:"state,omitempty"`
		Config json.RawMessage `json:"config"`
	}{Hash: c.ConfigHash()}
	readingOf(r).name(current.Hash)
	if s, ok := src.(changer); ok {
		current.State = s.ChangeState()
	}
	text, err := c.ConfigVersion(current.Hash)
	switch {
	case errors.Is(err, fs.ErrNotExist): // nobody knows it yet, or at all: the state says so
		current.Config = json.RawMessage("null")
	case err != nil:
		broken(w, r, err)
		return
	default:
		current.Config = text
	}
	sendJSON(w, r, http.StatusOK, typeJSON, current)
}

// changes answers with the changes of the configuration in the period, a page of
// the population.
func (q *inquest) changes() {
	q.p, _ = population.Find("config_changes") // it is there
	readingOf(q.r).population(q.p, q.period, q.format, q.log)
	q.rows()
}

// change answers with one change, with its patch.
func (q *inquest) change() {
	ref, ok := parseReference(strings.TrimPrefix(q.of, "config/changes/"))
	if !ok || !ref.id.IsZero() {
		problemOf(q.w, q.r, http.StatusBadRequest, "seq", "A change is named by the index of its record in the log, a number from 0 on.")
		return
	}
	record, err := []byte(nil), records.ErrNotFound
	if ref.seq < q.log.Head.Size {
		record, err = q.log.Dir.Record(ref.seq)
	}
	if err == nil && string(records.Kind(record)) != string(audit.KindConfigChange) {
		err = records.ErrNotFound
	}
	if errors.Is(err, records.ErrNotFound) {
		problem(q.w, q.r, http.StatusNotFound, "The log has no such record, or none of a change that a checkpoint signs.")
		return
	}
	var r audit.Record
	if err == nil {
		r, err = audit.Decode(record)
	}
	b, ok := r.Body.(*audit.ConfigChange)
	if err != nil || !ok {
		q.failed(errors.Join(err, fmt.Errorf("record %d is not what it says", ref.seq)))
		return
	}
	readingOf(q.r).rows(1, ref.seq, ref.seq)
	patch, from := q.patch(b)
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		Seq    int64           `json:"seq"`
		Record json.RawMessage `json:"record"`
		Patch  json.RawMessage `json:"patch"`
		From   string          `json:"patch_from"`
		Proof  string          `json:"proof"`
	}{ref.seq, record, patch, from, fmt.Sprintf("../../log/records/%d", ref.seq)})
}

// patch is the patch of a change: the record's or, of one that was too long for
// it, what leads from one of the versions to the other, if both are kept.
func (q *inquest) patch(b *audit.ConfigChange) (patch json.RawMessage, from string) {
	none := json.RawMessage("null")
	if text := b.Diff.Value; len(text) > 0 {
		return text, "record"
	}
	c, ok := q.src.(Configured)
	if !ok || b.Before == "" || b.After == "" {
		return none, "none"
	}
	var docs [2]any
	for i, hash := range []string{b.Before, b.After} {
		text, err := c.ConfigVersion(hash)
		if err == nil {
			docs[i], err = jsonpatch.Parse(text)
		}
		if err != nil {
			return none, "none"
		}
	}
	ops := jsonpatch.Diff(docs[0], docs[1])
	text, err := json.Marshal(ops)
	if err != nil || ops == nil {
		return json.RawMessage("[]"), "versions"
	}
	return text, "versions"
}
