// Package adminapi answers calls of this project's routes on Caddy's admin
// endpoint: with JSON, or with a problem (RFC 9457).
package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// failure is an answer that is an error.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

// Fail returns an error that is answered with a status and a text for people.
func Fail(status int, format string, args ...any) error {
	return &failure{status, fmt.Sprintf(format, args...)}
}

// Answer sends what a route found as JSON, or its error as a problem: one of Fail
// with its status, any other with 500. A call with HEAD gets no body.
func Answer(w http.ResponseWriter, r *http.Request, v any, err error) error {
	status, mediaType := http.StatusOK, "application/json"
	if err != nil {
		f := &failure{http.StatusInternalServerError, err.Error()}
		_ = errors.As(err, &f)
		status, mediaType = f.status, "application/problem+json"
		v = struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
		}{"about:blank", http.StatusText(status), status, f.text}
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
