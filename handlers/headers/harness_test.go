package headers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// handlerFunc is the last handler of a chain: what a site does.
type handlerFunc = caddyhttp.HandlerFunc

// respond makes a handler that sends body with the given type.
func respond(contentType, body string) handlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", contentType)
		_, err := io.WriteString(w, body)
		return err
	}
}

// provisioned makes h ready, where no soc2 app is configured.
func provisioned(t testing.TB, h Handler) *Handler {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return &h
}

// chain nests handlers around last, the first one outermost.
func chain(last handlerFunc, outer ...caddyhttp.MiddlewareHandler) handlerFunc {
	for _, h := range slices.Backward(outer) {
		next := last
		last = func(w http.ResponseWriter, r *http.Request) error {
			return h.ServeHTTP(w, r, next)
		}
	}
	return last
}

// server does with its two chains what caddyhttp.Server does with its own.
type server struct {
	primary handlerFunc
	errors  handlerFunc // nil: no error routes

	mu    sync.Mutex
	event *audit.Event // of the last request

	done chan struct{} // if not nil, is closed after the only request
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header()["Server"] = []string{"Caddy"}
	event := &audit.Event{}
	defer func() {
		s.mu.Lock()
		s.event = event
		s.mu.Unlock()
		if s.done != nil {
			close(s.done)
		}
	}()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	err := s.primary(w, recorded(r, event))
	if err == nil {
		return
	}
	r = (*caddyhttp.HTTPErrorConfig)(nil).WithError(r, err)
	if s.errors == nil {
		w.WriteHeader(errorStatus(err))
	} else if err2 := s.errors(w, recorded(r, event)); err2 != nil {
		w.WriteHeader(errorStatus(err))
	}
}

// recorded gives the handlers the event, as the record handler does in each
// of the two chains.
func recorded(r *http.Request, event *audit.Event) *http.Request {
	return r.WithContext(audit.NewContext(r.Context(), event))
}

func (s *server) lastEvent() *audit.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.event
}

// start serves s over TLS with the given protocol, "h1", "h2" or "h3", or over
// plaintext with "http".
func start(t testing.TB, s *server, proto string) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if proto == "http" {
		srv.Start()
	} else {
		srv.EnableHTTP2 = proto == "h2"
		srv.StartTLS()
	}
	t.Cleanup(srv.Close)
	if proto == "h3" {
		startQUIC(t, s, srv)
	}
	return srv
}

// startQUIC serves s over HTTP/3 too, on the UDP port of the same number, and
// has the client of srv use it.
func startQUIC(t testing.TB, s *server, srv *httptest.Server) {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	quic := &http3.Server{Handler: s, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: srv.TLS.Certificates})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = quic.Serve(conn) // ends when it is closed
	}()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	srv.Client().Transport = transport
	t.Cleanup(func() {
		_ = transport.Close()
		_ = quic.Close()
		<-served
		_ = conn.Close()
	})
}

// answer is a response without its body.
type answer struct {
	StatusCode int
	Header     http.Header
}

// roundTrip serves one request in memory and returns the response and what
// the audit record says of it.
func roundTrip(s *server, https bool, header http.Header) (answer, *audit.Event) {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/", nil)
	if https {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	maps.Copy(r.Header, header)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	res := rec.Result()
	defer res.Body.Close()
	return answer{res.StatusCode, res.Header}, s.lastEvent()
}

func eventOf(r *http.Request) *audit.Event { return audit.FromContext(r.Context()) }
