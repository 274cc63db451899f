package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tlogproof"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// recordsPath is where records are, below the version.
const recordsPath = "/log/records/"

// reference names a record, by the id of its request or by its index.
type reference struct {
	id  audit.ID // zero: by index
	seq int64
}

// parseReference reads what a client calls a record.
func parseReference(s string) (ref reference, ok bool) {
	if id, err := audit.ParseID(s); err == nil && !id.IsZero() {
		return reference{id: id}, true
	}
	seq, err := strconv.ParseInt(s, 10, 64)
	return reference{seq: seq}, err == nil && seq >= 0 && strconv.FormatInt(seq, 10) == s
}

func (ref reference) String() string {
	if ref.id.IsZero() {
		return strconv.FormatInt(ref.seq, 10)
	}
	return ref.id.String()
}

// find returns the record that ref names.
func (ref reference) find(ctx context.Context, log *audit.Log) (seq int64, record []byte, err error) {
	if !ref.id.IsZero() {
		return audit.Find(ctx, log.Records(), ref.id)
	}
	if ref.seq >= log.Durable() {
		return 0, nil, records.ErrNotFound
	}
	record, err = log.Records().Record(ref.seq)
	return ref.seq, record, err
}

const badReference = "A record is named by its request's id, a UUID, or by its index in the log, a number from 0 on."

// record serves a record with its proof as JSON or, if the name ends so, the
// proof alone as C2SP tlog-proof.
func (a *API) record(w http.ResponseWriter, r *http.Request, src Source, name string) {
	name, alone := strings.CutSuffix(name, tlogproof.Suffix)
	ref, ok := parseReference(name)
	if !ok {
		problemOf(w, r, http.StatusBadRequest, "ref", badReference)
		return
	}
	log := src.Log()
	seq, record, err := a.lookUp(r.Context(), log, ref)
	if r.Context().Err() != nil {
		return // nobody waits for the answer
	}
	if errors.Is(err, records.ErrNotFound) {
		problem(w, r, http.StatusNotFound, "The log holds no such record.")
		return
	}
	if err != nil {
		broken(w, r, err)
		return
	}
	if alone {
		serveProof(w, r, log, seq)
		return
	}
	body, err := prove(log, seq, record)
	if err != nil {
		broken(w, r, err)
		return
	}
	send(w, r, http.StatusOK, typeJSON, body)
}

// lookUp finds a record when its turn has come.
func (a *API) lookUp(ctx context.Context, log *audit.Log, ref reference) (seq int64, record []byte, err error) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
	return ref.find(ctx, log)
}

// serveProof serves the proof of a record as C2SP tlog-proof.
func serveProof(w http.ResponseWriter, r *http.Request, log *audit.Log, seq int64) {
	p, err := log.Prove(seq)
	switch {
	case errors.Is(err, audit.ErrUnsigned):
		problem(w, r, http.StatusNotFound, "The log holds the record, but no checkpoint covers it yet: ask again when the next one is signed.")
	case err != nil:
		broken(w, r, err)
	default:
		send(w, r, http.StatusOK, typeText, p.Append(nil))
	}
}

// proof is an inclusion proof as it is served (RFC 6962, section 2.1.1).
type proof struct {
	Size       int64       `json:"size"`
	Root       tree.Hash   `json:"root"`
	Hashes     []tlog.Hash `json:"hashes"`
	Checkpoint string      `json:"checkpoint"`
}

// prove encodes a record with its proof. The record goes in by hand, because
// its hash is over its bytes and an encoder may spell them another way.
func prove(log *audit.Log, seq int64, record []byte) ([]byte, error) {
	if !json.Valid(record) {
		return nil, errors.New("record " + strconv.FormatInt(seq, 10) + " is not JSON")
	}
	var b bytes.Buffer
	b.WriteString(`{"seq":` + strconv.FormatInt(seq, 10) + `,"record":`)
	b.Write(record)
	p, err := log.Prove(seq)
	switch {
	case errors.Is(err, audit.ErrUnsigned):
		b.WriteString(`,"proof":null,"unsigned":true}` + "\n")
		return b.Bytes(), nil
	case err != nil:
		return nil, err
	}
	hashes := append([]tlog.Hash{}, p.Hashes...) // never null: the proof of an only record is empty
	text, err := json.Marshal(proof{p.Head.Size, p.Head.Root, hashes, string(p.Checkpoint)})
	if err != nil {
		return nil, err
	}
	b.WriteString(`,"proof":`)
	b.Write(text)
	b.WriteString("}\n")
	return b.Bytes(), nil
}
