package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
)

// PackMaker is an app that makes evidence packs. The soc2 app is one.
type PackMaker interface {
	// Packs is where packs are ordered; nil while the app does not run.
	Packs() *jobs.Desk
}

const packsPath = "/packs"

// typeZip is the media type of a pack.
const typeZip = "application/zip"

// noPacks is said where nobody makes packs.
const noPacks = "No evidence packs are made: the app soc2 is not configured or did not start."

// packs answers requests for the packs that were ordered. It reports false for
// other paths.
func (a *API) packs(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	rest, ok := strings.CutPrefix(path, packsPath)
	if !ok || rest != "" && rest[0] != '/' {
		return false
	}
	desk := deskOf(src)
	if desk == nil {
		problem(w, r, http.StatusServiceUnavailable, noPacks)
		return true
	}
	if rest == "" {
		sendJSON(w, r, http.StatusOK, typeJSON, map[string][]jobs.Job{"packs": desk.List()})
		return true
	}
	id, zip := strings.CutSuffix(rest[1:], ".zip")
	readingOf(r).name(id)
	if zip {
		sendPack(w, r, desk, id)
		return true
	}
	j, err := desk.Job(id)
	if err != nil {
		notFound(w, r)
		return true
	}
	sendJSON(w, r, http.StatusOK, typeJSON, j)
	return true
}

func deskOf(src Source) *jobs.Desk {
	if p, ok := src.(PackMaker); ok {
		return p.Packs()
	}
	return nil
}

// sendPack sends a pack that is done.
func sendPack(w http.ResponseWriter, r *http.Request, desk *jobs.Desk, id string) {
	f, j, err := desk.Pack(id)
	if errors.Is(err, jobs.ErrJob) || errors.Is(err, os.ErrNotExist) {
		notFound(w, r)
		return
	}
	if err != nil {
		broken(w, r, err)
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	readingOf(r).pack(&j)
	h := w.Header()
	secure(h)
	etag := `"` + j.SHA256 + `"`
	h.Set("ETag", etag)
	if tiles.Matches(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", typeZip)
	h.Set("Content-Length", strconv.FormatInt(j.Bytes, 10))
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, fileName(&j.Order)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(writeTime)) // not all writers can
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			report(err)
			panic(http.ErrAbortHandler) // so that the client does not take it for whole
		}
	}
}

// fileName is the name under which a pack is saved.
func fileName(o *jobs.Order) string {
	const form = "20060102T150405Z"
	return "soc2-evidence_" + o.From.UTC().Format(form) + "_" + o.To.UTC().Format(form) + ".zip"
}

// packing answers requests of the admin API that order and cancel packs. It
// reports false for others.
func packing(w http.ResponseWriter, r *http.Request, path string, source func() (Source, error)) bool {
	id, one := strings.CutPrefix(path, packsPath+"/")
	allow := "GET, HEAD, POST"
	switch {
	case one:
		allow = "GET, HEAD, DELETE"
	case path != packsPath:
		return false
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	if one != (r.Method == http.MethodDelete) || !one && r.Method != http.MethodPost {
		w.Header().Set("Allow", allow)
		problem(w, r, http.StatusMethodNotAllowed, "POST orders a pack, DELETE cancels or removes one.")
		return true
	}
	src, err := source()
	var desk *jobs.Desk
	if err == nil {
		desk = deskOf(src)
	}
	switch {
	case desk == nil:
		problem(w, r, http.StatusServiceUnavailable, noPacks)
	case one:
		cancelPack(w, r, desk, id)
	default:
		orderPack(w, r, desk)
	}
	return true
}

// packOrder is the body of an order. From and To are as in queries: a date is its
// beginning in UTC.
type packOrder struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	Full    bool          `json:"full"`
	Samples []pack.Sample `json:"samples"`
	By      string        `json:"by"` // who orders it, if the connection does not say
	Reason  string        `json:"reason"`
}

// orderPack takes an order.
func orderPack(w http.ResponseWriter, r *http.Request, desk *jobs.Desk) {
	o, by, err := readPackOrder(w, r)
	if err != nil {
		problem(w, r, http.StatusBadRequest, err.Error())
		return
	}
	j, err := desk.Order(o, by)
	switch {
	case errors.Is(err, jobs.ErrOrder):
		problem(w, r, http.StatusBadRequest, err.Error()+".")
	case errors.Is(err, jobs.ErrBusy), errors.Is(err, jobs.ErrClosed):
		w.Header().Set("Retry-After", "60")
		problem(w, r, http.StatusServiceUnavailable, err.Error()+".")
	case err != nil:
		report(err)
		problem(w, r, http.StatusServiceUnavailable, err.Error()+".")
	default:
		w.Header().Set("Location", adminBase+apiVersion+packsPath+"/"+j.ID)
		sendJSON(w, r, http.StatusAccepted, typeJSON, j)
	}
}

// readPackOrder reads the body of an order, and who gives it.
func readPackOrder(w http.ResponseWriter, r *http.Request) (o jobs.Order, by jobs.Actor, err error) {
	var in packOrder
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	d.DisallowUnknownFields()
	if err = d.Decode(&in); err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return o, by, fmt.Errorf("the body must be one JSON object: %w", err)
	}
	if in.From == "" || in.To == "" {
		return o, by, errors.New(`"from" and "to" are needed: the beginning of the period, and its end, which is not part of it`)
	}
	p, err := population.ParsePeriod(in.From, in.To, time.Now())
	if err != nil {
		return o, by, err
	}
	if by = callerOf(r); in.By != "" {
		by.Claim = in.By
		if by.Name == "" {
			by.Known = "asserted"
		}
	}
	return jobs.Order{From: p.From, To: p.To, Full: in.Full, Samples: in.Samples, Reason: in.Reason}, by, nil
}

// callerOf is who makes a call of the admin API.
func callerOf(r *http.Request) jobs.Actor {
	a := changes.ActorOf(r)
	return jobs.Actor{Name: a.Name, Known: a.Known, How: a.How, Claim: a.Claim, Address: a.Address, ClientCert: a.ClientCert}
}

// cancelPack cancels a job, or removes one that is over.
func cancelPack(w http.ResponseWriter, r *http.Request, desk *jobs.Desk, id string) {
	j, err := desk.Cancel(id, callerOf(r))
	switch {
	case errors.Is(err, jobs.ErrJob):
		notFound(w, r)
	case err != nil:
		broken(w, r, err)
	default:
		sendJSON(w, r, http.StatusOK, typeJSON, j)
	}
}
