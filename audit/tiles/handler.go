// Package tiles serves a log over HTTP as C2SP tlog-tiles: the checkpoint, the
// hash tiles and the entry bundles, below whatever prefix it is mounted. Any
// client of such logs can read and verify it.
//
//	<prefix>/checkpoint                newest signed head
//	<prefix>/tile/<L>/<N>[.p/<W>]      hashes; .p/<W> the first W of them
//	<prefix>/tile/entries/<N>[.p/<W>]  records
//
// It serves what the newest checkpoint signs. A partial tile is the beginning
// of a larger one, so those of all earlier checkpoints are there too. Records
// that were removed when their retention ended are absent ("Pruning"); their
// hash tiles are not.
package tiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
)

// Head is a published checkpoint.
type Head struct {
	Note []byte // as signed, with the cosignatures that it has
	Size int64
	Tree *tree.Tree // that it signs, if it is at hand. Default: read from the log
}

// Source is a log.
type Source interface {
	// Head returns the newest published checkpoint.
	Head() (Head, error)
	// Records reads the log's records.
	Records() records.Dir
}

// Directory is the log in a directory, whether some process has it open or not.
type Directory struct{ Dir records.Dir }

// Head implements Source.
func (d Directory) Head() (Head, error) {
	note, err := fs.ReadFile(d.Dir.FS, checkpoint.File)
	if err != nil {
		return Head{}, fmt.Errorf("reading checkpoint: %w", err)
	}
	h, err := checkpoint.Peek(note)
	return Head{Note: note, Size: h.Size}, err
}

// Records implements Source.
func (d Directory) Records() records.Dir { return d.Dir }

// Limits of what is done at a time.
const (
	reads     = 2                // records read, or tiles made from them
	bundles   = 8                // entry bundles in memory, each up to 16 MiB
	writeTime = 30 * time.Second // for a client to take an answer
)

// Handler serves a log. Its methods are safe for concurrent use.
type Handler struct {
	// Source returns the log, and is asked for each request.
	Source func() (Source, error)
	// Public lets shared caches keep what is served. Without it only the
	// client may. Default: false.
	Public bool
	// Reads is held while records are read; its capacity is how many requests
	// do so at a time. Default: a channel of this handler's with room for two.
	Reads chan struct{}
	// Failed is told why a request could not be answered. Default: nobody is.
	Failed func(error)
	// Refuse answers a request with an error. Default: a line of text.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, why string)

	bundles chan struct{} // held by a request that has a bundle in memory
}

// New returns a handler with its defaults set.
func New(h Handler) *Handler {
	if h.Reads == nil {
		h.Reads = make(chan struct{}, reads)
	}
	if h.Failed == nil {
		h.Failed = func(error) {}
	}
	if h.Refuse == nil {
		h.Refuse = refuse
	}
	h.bundles = make(chan struct{}, bundles)
	return &h
}

// ServeHTTP implements http.Handler, with the log at the root: http.StripPrefix
// puts it elsewhere.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.Serve(w, r, strings.TrimPrefix(r.URL.Path, "/"))
}

// Serve answers for a path relative to the log, such as "checkpoint".
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, path string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.refuse(w, r, http.StatusMethodNotAllowed, "A log is read only: use GET or HEAD.")
		return
	}
	tile, err := tree.ParsePath(path)
	if err != nil && path != checkpoint.File {
		h.refuse(w, r, http.StatusNotFound, "This is neither the checkpoint of the log nor a tile.")
		return
	}
	source, head, err := h.head()
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if path == checkpoint.File {
		h.send(w, r, "text/plain; charset=utf-8", "max-age=1", head.Note)
		return
	}
	reader := Reader{Records: source.Records(), Size: head.Size, Tree: head.Tree}
	if !reader.Has(tile) {
		h.refuse(w, r, http.StatusNotFound, "The newest checkpoint does not reach this tile.")
		return
	}
	h.tile(w, r, reader, tile)
}

func (h *Handler) head() (Source, Head, error) {
	source, err := h.Source()
	if err != nil {
		return nil, Head{}, err
	}
	head, err := source.Head()
	return source, head, err
}

// tile serves a tile that is in the tree.
func (h *Handler) tile(w http.ResponseWriter, r *http.Request, reader Reader, t tree.Tile) {
	if t.Level == tree.Entries {
		if !take(r.Context(), h.bundles) {
			return // nobody waits for the answer
		}
		defer func() { <-h.bundles }()
	}
	body, err := h.read(r.Context(), reader, t)
	switch {
	case r.Context().Err() != nil:
	case errors.Is(err, records.ErrNotFound):
		h.refuse(w, r, http.StatusNotFound, "The log no longer holds these records.")
	case err != nil:
		h.fail(w, r, err)
	default:
		h.send(w, r, "application/octet-stream", "max-age=31536000, immutable", body)
	}
}

// read returns the bytes of a tile. What needs records waits for its turn.
func (h *Handler) read(ctx context.Context, reader Reader, t tree.Tile) ([]byte, error) {
	if t.Level == tree.Entries || !reader.stored(t) {
		if !take(ctx, h.Reads) {
			return nil, ctx.Err()
		}
		defer func() { <-h.Reads }()
	}
	if t.Level == tree.Entries {
		return reader.Records.Bundle(ctx, t.Index, t.Width)
	}
	hashes, err := reader.Hashes(ctx, t)
	return tree.Join(hashes), err
}

// take waits for a place, and reports whether it got one before ctx ended.
func take(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// send answers with a body (RFC 9110, sections 8.8.3 and 13.1.2).
func (h *Handler) send(w http.ResponseWriter, r *http.Request, mediaType, cache string, body []byte) {
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	scope := "private, "
	if h.Public {
		scope = "public, "
	}
	header := w.Header()
	header.Set("ETag", etag)
	header.Set("Cache-Control", scope+cache)
	header.Set("X-Content-Type-Options", "nosniff")
	if Matches(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", mediaType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	if control.SetWriteDeadline(time.Now().Add(writeTime)) == nil {
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	}
	_, _ = w.Write(body) //nolint:gosec // neither type is sniffed
}

// Matches compares entity tags as If-None-Match does (RFC 9110, sections
// 8.8.3.2 and 13.1.2). The tag must have no comma in it.
func Matches(ifNoneMatch []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(ifNoneMatch, ","), ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// fail answers that the log could not be read, and tells whoever runs it why.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.Failed(err)
	h.refuse(w, r, http.StatusInternalServerError, "The log could not be read.")
}

// refuse answers with an error. It is not to be cached: the log grows.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	w.Header().Set("Cache-Control", "no-store")
	h.Refuse(w, r, status, why)
}

func refuse(w http.ResponseWriter, _ *http.Request, status int, why string) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(why + "\n"))
}
