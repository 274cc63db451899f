// Package demo is the sample application that "caddy soc2 proxy --demo" puts
// behind the proxy.
package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// maxBody is the most that /echo takes.
const maxBody = 1 << 20

const page = `<!doctype html>
<html lang="en">
<title>Sample application</title>
<h1>Sample application</h1>
<p>It is behind caddy-soc2. Each request, this one too, is a record in the audit log.
<ul>
<li><a href="/api/time">/api/time</a>: JSON
<li><a href="/stream">/stream</a>: a streamed response
<li><a href="/missing">/missing</a>: a page that does not exist
<li>POST /echo: gives back what it is sent
<li><a href="/.soc2/">/.soc2/</a>: the evidence
</ul>
</html>
`

// Handler is the application.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("X-Powered-By", "sample") // for the proxy to take away
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("GET /api/time", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"time": time.Now().UTC().Format(time.RFC3339)})
	})
	mux.HandleFunc("GET /stream", stream)
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.Copy(w, http.MaxBytesReader(w, r.Body, maxBody))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

func stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range 5 {
		_, _ = fmt.Fprintf(w, "line %d\n", i+1)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// Start serves the application on a free port of the loopback interface until
// ctx ends. It returns the address.
func Start(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting the sample application: %w", err)
	}
	srv := &http.Server{Handler: Handler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	go func() { _ = srv.Serve(ln) }() // ends with srv.Close
	return ln.Addr().String(), nil
}
