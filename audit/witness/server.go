package witness

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Log is a log that a Server witnesses.
type Log struct {
	// Origin is the first line of its checkpoints.
	Origin string
	// Keys are the log's keys. During a rotation there are several: one valid
	// signature is enough.
	Keys []note.Verifier
}

func (l Log) validate() error {
	if l.Origin == "" || strings.ContainsAny(l.Origin, "\n\r") {
		return fmt.Errorf("%q is not the origin of a log", l.Origin)
	}
	if len(l.Keys) == 0 {
		return fmt.Errorf("log %s: give at least one verifier key", l.Origin)
	}
	for i, k := range l.Keys {
		for _, other := range l.Keys[:i] {
			if k.Name() == other.Name() && k.KeyHash() == other.KeyHash() {
				return fmt.Errorf("log %s: key %s+%08x is there twice", l.Origin, k.Name(), k.KeyHash())
			}
		}
	}
	return nil
}

// Config is what a Server needs.
type Config struct {
	// Dir holds one file for each log. It is made if it does not exist, and is
	// locked while the server is open. Who loses it or puts an older one back
	// has a witness that can cosign a second history.
	Dir string
	// Key signs the cosignatures.
	Key *cosignature.Key
	// Logs are those that are witnessed. Others get 404.
	Logs []Log
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// FS is the file system. Default: that of the operating system.
	FS durable.FS
	// Logger is told of refused trees and of failed writes. Default: discards.
	Logger *slog.Logger
}

// Server is a witness. It serves
//
//	POST /add-checkpoint
//	GET  /<origin hash>/checkpoint     the newest cosigned checkpoint of a log
//
// as C2SP tlog-witness says; sign-subtree, which is optional there, it does not
// have. The caller strips what comes before these paths.
type Server struct {
	files  files
	now    func() time.Time
	logger *slog.Logger
	mux    *http.ServeMux
	lock   *durable.Lock

	mu     sync.RWMutex // read-held while a checkpoint is decided upon
	key    *cosignature.Key
	logs   map[string]*entry // by origin
	closed bool
}

// entry is a known log. Its state outlives changes of its keys.
type entry struct {
	log   Log
	hash  string // OriginHash
	state *state
}

// Open starts a witness.
func Open(c Config) (*Server, error) {
	if c.FS == nil {
		c.FS = durable.OS{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := durable.MakeDir(c.FS, c.Dir); err != nil {
		return nil, fmt.Errorf("opening witness: %w", err)
	}
	lock, err := durable.LockDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening witness in %s: %w", c.Dir, err)
	}
	s := &Server{files: files{c.FS, c.Dir}, now: c.Now, logger: c.Logger, lock: lock, mux: http.NewServeMux()}
	s.mux.HandleFunc("POST "+addPath, s.addCheckpoint)
	s.mux.HandleFunc("GET /{hash}/checkpoint", s.checkpoint)
	if err := s.Use(c.Key, c.Logs); err != nil {
		return nil, errors.Join(fmt.Errorf("opening witness in %s: %w", c.Dir, err), lock.Unlock())
	}
	return s, nil
}

// Use replaces the key and the logs of a running witness, when its configuration
// changed. After an error it goes on with those that it had. What it remembers of
// a log that is no longer there stays in its file.
func (s *Server) Use(key *cosignature.Key, logs []Log) error {
	if key == nil {
		return errors.New("the witness has no key")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	entries, err := s.entries(key, logs)
	if err != nil {
		return err
	}
	if s.key != nil && s.key.Public() != key.Public() {
		for _, e := range entries {
			e.state.line = "" // the old key's; s.mu keeps requests away
		}
	}
	s.key, s.logs = key, entries
	return nil
}

// entries reads the states of those logs that are not known yet.
func (s *Server) entries(key *cosignature.Key, logs []Log) (map[string]*entry, error) {
	// A crash or an error may have come between a rename and the sync of its
	// directory. What is read here must not be lost when it is answered.
	if err := s.files.fs.SyncDir(s.files.dir); err != nil {
		return nil, fmt.Errorf("syncing what the witness remembers: %w", err)
	}
	entries := make(map[string]*entry, len(logs))
	for _, l := range logs {
		if err := l.validate(); err != nil {
			return nil, err
		}
		if entries[l.Origin] != nil {
			return nil, fmt.Errorf("log %s is there twice", l.Origin)
		}
		e := &entry{log: l, hash: OriginHash(l.Origin)}
		if known := s.logs[l.Origin]; known != nil {
			e.state = known.state
		} else {
			var err error
			if e.state, err = s.files.load(l, key); err != nil {
				return nil, err
			}
		}
		entries[l.Origin] = e
	}
	return entries, nil
}

var errClosed = errors.New("the witness is closed")

// Close waits for the requests that are being decided, lets the directory go,
// and has later ones answered with 503.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.lock.Unlock()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// refusal is an answer other than 200 and 409.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// conflict is the 409 that tells the recorded size.
type conflict struct{ size int64 }

func (c *conflict) Error() string { return fmt.Sprintf("the witness is at size %d", c.size) }

// readTimeout bounds the sending of a request's body.
const readTimeout = 10 * time.Second

func (s *Server) addCheckpoint(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(w, r)
	var line string
	if err == nil {
		line, err = s.add(req)
	}
	var no *refusal
	var other *conflict
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, line)
	case errors.As(err, &other):
		w.Header().Set("Content-Type", sizeType)
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(w, "%d\n", other.size)
	case errors.As(err, &no):
		http.Error(w, no.text, no.status)
	default: // what failed is for the log, not for the client
		s.logger.Error("the witness could not cosign", "origin", req.origin(), "error", err)
		http.Error(w, "the witness cannot record the checkpoint", http.StatusInternalServerError)
	}
}

func readRequest(w http.ResponseWriter, r *http.Request) (*request, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, refuse(http.StatusUnsupportedMediaType, "the body must not be encoded")
	}
	// Not every ResponseWriter can do this; the server has limits of its own.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", long.Limit)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body could not be read")
	}
	req, err := parseRequest(b)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	return req, nil
}

// add decides upon a request and returns the cosignature. The order of its
// checks is that of C2SP tlog-witness.
func (s *Server) add(r *request) (string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return "", refuse(http.StatusServiceUnavailable, "%v", errClosed)
	}
	e := s.logs[r.origin()]
	if e == nil {
		return "", refuse(http.StatusNotFound, "the witness does not know the log %.200q", r.origin())
	}
	n, head, err := e.log.open(r.note)
	if err != nil {
		return "", err
	}
	if r.old > head.Size {
		return "", refuse(http.StatusBadRequest, "the old size %d is larger than the checkpoint's, %d", r.old, head.Size)
	}
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	if err := e.state.check(r, head); err != nil {
		s.report(e.state, n, err)
		return "", err
	}
	return e.state.cosign(s.files, s.key, n, head, s.now())
}

// open verifies a checkpoint of the log.
func (l Log) open(b []byte) (*note.Note, checkpoint.Head, error) {
	n, err := note.Open(b, note.VerifierList(l.Keys...))
	var unknown *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unknown):
		return nil, checkpoint.Head{}, refuse(http.StatusForbidden, "the checkpoint is not signed by a known key of the log")
	case errors.As(err, &invalid):
		return nil, checkpoint.Head{}, refuse(http.StatusForbidden, "the signature by %s+%08x does not verify", invalid.Name, invalid.Hash)
	case err != nil:
		return nil, checkpoint.Head{}, refuse(http.StatusBadRequest, "the checkpoint is not a signed note")
	}
	head, err := checkpoint.ParseText(n.Text)
	if err != nil {
		return nil, checkpoint.Head{}, refuse(http.StatusBadRequest, "%v", err)
	}
	if head.Size > maxSize {
		return nil, checkpoint.Head{}, refuse(http.StatusBadRequest, "a tree of size %d is larger than the witness can verify", head.Size)
	}
	return n, head, nil
}

// report logs a tree that the log has signed and that does not follow from the
// one before: two roots at one size prove that the log has two histories.
func (s *Server) report(st *state, n *note.Note, err error) {
	var no *refusal
	if !errors.As(err, &no) {
		return
	}
	s.logger.Warn("a log has signed a checkpoint that the witness does not cosign",
		"reason", no.text, "checkpoint", n.Text, "cosigned", string(st.note))
}

// checkpoint serves the newest cosigned checkpoint of a log.
func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) {
	b := s.newest(r.PathValue("hash"))
	if b == nil {
		http.Error(w, "the witness has cosigned no checkpoint of such a log", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(b)
}

func (s *Server) newest(hash string) []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.logs {
		if e.hash == hash {
			e.state.mu.Lock()
			defer e.state.mu.Unlock()
			return e.state.note
		}
	}
	return nil
}
