package record

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// keeper is a recorder that keeps header fields.
type keeper struct {
	recorder
	request, response http.Header
}

func (k *keeper) WantsHeaders() bool { return true }

func (k *keeper) Record(ev *audit.Event, request, response http.Header) error {
	k.request, k.response = request.Clone(), response.Clone()
	return k.recorder.Record(ev, request, response)
}

// TestRecordedHeaderIsTheOneThatLeft: what handlers do to the header map after
// the header has left, and to the request's, is not what was sent and received.
func TestRecordedHeaderIsTheOneThatLeft(t *testing.T) {
	k := &keeper{}
	h := newHandler(&k.recorder, false)
	h.recorder = k
	srv := serve(t, false, chain(h, handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		r.Header.Set("User-Agent", "rewritten")
		w.Header().Set("X-Sent", "yes")
		_, err := io.WriteString(w, "body")
		w.Header().Set("X-Sent", "too late")
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		return err
	})), nil)
	if _, err := get(t, srv); err != nil {
		t.Fatal(err)
	}
	k.only(t)
	if k.response.Get("X-Sent") != "yes" || len(k.response[http.TrailerPrefix+"X-Sum"]) > 0 || k.response.Get("X-Request-Id") == "" {
		t.Errorf("response %v", k.response)
	}
	if k.request.Get("User-Agent") != "Go-http-client/1.1" {
		t.Errorf("request %v", k.request)
	}
}

// serveGone serves a request whose client has left by the time the handlers
// return. Writes fail with err.
func serveGone(h *Handler, err error, inner caddyhttp.Handler) error {
	ctx, leave := context.WithCancel(context.Background())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, httptest.NewUnstartedServer(nil).Listener.Addr()))
	w := &broken{ResponseRecorder: httptest.NewRecorder(), err: err}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	return chain(h, handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		err := inner.ServeHTTP(w, r)
		leave()
		return err
	})).ServeHTTP(w, r)
}

// broken is a response whose writes fail.
type broken struct {
	*httptest.ResponseRecorder
	err error
}

func (b *broken) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.ResponseRecorder.Write(p)
}

// TestClientThatHasAllHasNotLeftEarly has clients that leave when the handlers
// are about to return. In the mode async they can have all of a body whose
// length they know.
func TestClientThatHasAllHasNotLeftEarly(t *testing.T) {
	for name, c := range map[string]struct {
		withhold bool
		length   string
		err      error
		end      audit.End
	}{
		"async, whole":            {false, "4", nil, audit.EndComplete},
		"async, length not known": {false, "", nil, audit.EndAborted},
		"async, a part":           {false, "5", nil, audit.EndAborted},
		"async, write failed":     {false, "4", errors.New("broken pipe"), audit.EndAborted},
		"durable":                 {true, "4", nil, audit.EndAborted}, // its last byte is held back
	} {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{withhold: c.withhold}
			_ = serveGone(newHandler(rec, false), c.err, handlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				if c.length != "" {
					w.Header().Set("Content-Length", c.length)
				}
				_, err := io.WriteString(w, "body")
				return err
			}))
			if ev := rec.only(t); ev.End != c.end {
				t.Errorf("recorded as %s, want %s", ev.End, c.end)
			}
		})
	}
}

// TestRefusalIsNoError: an error would have the error chain refuse the request
// once more, and count it twice.
func TestRefusalIsNoError(t *testing.T) {
	rec := &recorder{refuses: errors.New("disk full")}
	if err := serveGone(newHandler(rec, true), errors.New("stream closed"), handlerFunc(nil)); err != nil {
		t.Error(err)
	}
}

// TestTunnelsOverHTTP2AreTakenOver: a stream of HTTP/2 that CONNECT makes a
// tunnel of is recorded as a connection that is taken over (RFC 9113, section
// 8.5).
func TestTunnelsOverHTTP2AreTakenOver(t *testing.T) {
	rec := &recorder{withhold: true}
	srv := serve(t, true, chain(newHandler(rec, true), handlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		w.WriteHeader(http.StatusOK)
		if n := len(rec.openings); n != 1 {
			t.Errorf("the tunnel was given with %d records of its opening", n)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		_, err := io.Copy(w, r.Body)
		return err
	})), nil)
	body, send := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, srv.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(send, "through")
	_ = send.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "through" {
		t.Errorf("%q, %v", b, err)
	}
	_ = resp.Body.Close()
	srv.Close()
	if ev := rec.only(t); ev.End != audit.EndHijacked || ev.Bytes != 7 || ev.ID != rec.openings[0].ID {
		t.Errorf("%+v", ev)
	}
}
