package evidence

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/boundary"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
)

// apiVersion is the first element of the API's paths.
const apiVersion = "/v1"

// lookups is how many requests read records at a time. To find one by an id
// that the log does not hold, all that came later is read.
const lookups = 2

// API serves the log's head, records and state as REST resources, wherever it
// is mounted.
type API struct {
	source func() (Source, error)
	now    func() time.Time

	patience time.Duration // for an answer that is computed from a period

	ending  func() context.Context // ends when requests that go on for ever must
	slots   chan struct{}          // held by a request that reads records
	streams chan struct{}          // held by a request that is sent records
	exports chan struct{}          // held by a request that reads a population
	tiles   *tiles.Handler
}

// NewAPI returns an API over what source returns, which it asks for each
// request.
func NewAPI(source func() (Source, error)) *API {
	a := &API{
		source: source, now: time.Now, patience: documentTime, ending: context.Background,
		slots: make(chan struct{}, lookups), streams: make(chan struct{}, streams), exports: make(chan struct{}, exports),
	}
	a.tiles = tiles.New(tiles.Handler{
		Source: func() (tiles.Source, error) {
			src, err := source()
			if err != nil {
				return nil, err
			}
			return src.Log(), nil
		},
		Reads: a.slots, Failed: report, Refuse: problem,
	})
	return a
}

// endpoints is what the index says, relative to the index.
var endpoints = map[string]string{
	"status":         "status",
	"healthz":        "healthz",
	"check_history":  "checks/{id}/history?from={time}&to={time}&limit={number}&cursor={cursor}",
	"certificates":   "certificates?from={time}&to={time}&limit={number}&cursor={cursor}",
	"config":         "config/current",
	"config_changes": "config/changes?from={time}&to={time}&limit={number}&cursor={cursor}",
	"config_change":  "config/changes/{seq}",
	"config_version": "config/versions/{sha256}",
	"access_matrix":  "access/matrix?from={time}&to={time}",
	"access_used_by": "access/principals?from={time}&to={time}&limit={number}&cursor={cursor}",
	"oscal_catalog":  "oscal/catalog?from={time}&to={time}",
	"oscal_define":   "oscal/component-definition?from={time}&to={time}",
	"oscal_results":  "oscal/assessment-results?from={time}&to={time}",
	"report":         "report?from={time}&to={time}",
	"log_heads":      "log/checkpoints?from={time}&to={time}&limit={number}&cursor={cursor}",
	"boundary":       "boundary",
	"checks":         "checks",
	"check":          "checks/{id}",
	"criteria":       "criteria",
	"criterion":      "criteria/{id}",
	"findings":       "findings",
	"exceptions":     "exceptions",
	"openapi":        "openapi.json",
	"populations":    "populations?from={time}&to={time}&count={best-exact-or-none}",
	"population":     "populations/{name}?from={time}&to={time}&format={json-csv-ndjson-or-ocsf}&limit={number}&cursor={cursor}",
	"provenance":     "populations/{name}/provenance?from={time}&to={time}&format={csv-ndjson-or-ocsf}",
	"sample":         "populations/{name}/sample?from={time}&to={time}&n={number}&seed={text}",
	"log_inclusion":  "log/proof/inclusion?seq={index}&size={number}",
	"log_consistent": "log/proof/consistency?from={size}&to={size}",
	"upstreams":      "upstreams?from={time}&to={time}",
	"packs":          "packs",
	"pack_job":       "packs/{id}",
	"pack":           "packs/{id}.zip",
	"log_checkpoint": "log/checkpoint",
	"log_tile":       "log/tile/{level}/{index}",
	"log_entries":    "log/tile/entries/{index}",
	"log_key":        "log/key",
	"log_records":    "log/records?from={index}&limit={number}&follow={0-or-1}",
	"log_record":     "log/records/{request-id-or-index}",
	"log_proof":      "log/records/{request-id-or-index}.tlog-proof",
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
	case "/openapi.json":
		send(w, r, http.StatusOK, typeJSON, openAPI)
	case "/boundary":
		sendJSON(w, r, http.StatusOK, typeJSON, boundary.Now())
	case "/upstreams":
		a.upstreams(w, r, src)
	case "/log/records":
		a.records(w, r, src)
	case "/log/key":
		send(w, r, http.StatusOK, typeText, []byte(src.Log().Key().Public()+"\n"))
	default:
		if a.computed(w, r, src, path) || a.configs(w, r, src, path) {
			return
		}
		if ref, ok := strings.CutPrefix(path, recordsPath); ok {
			a.record(w, r, src, ref)
			return
		}
		if a.controls(w, r, src, path) || a.packs(w, r, src, path) || a.populations(w, r, src, path) || a.proofs(w, r, src, path) {
			return
		}
		a.static(w, r, path)
	}
}

// static serves the log as C2SP tlog-tiles, of which /log is the prefix.
func (a *API) static(w http.ResponseWriter, r *http.Request, path string) {
	rest, ok := strings.CutPrefix(path, "/log/")
	if !ok || rest != "checkpoint" && !strings.HasPrefix(rest, "tile/") {
		notFound(w, r)
		return
	}
	secure(w.Header()) // but tiles never change, and may be kept
	a.tiles.Serve(w, r, rest)
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
