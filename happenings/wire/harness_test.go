package wire

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/caddy-soc2/caddy-soc2/audit/boundary"
)

// server is an http.Server made as Caddy makes its own (caddyhttp.App.Start).
type server struct {
	t      *testing.T
	counts *Counts
	addr   string
	http   *http.Server

	states   []func(net.Conn, http.ConnState)
	contexts []func(context.Context, net.Conn) context.Context
}

func (s *server) RegisterConnState(f func(net.Conn, http.ConnState)) { s.states = append(s.states, f) }

func (s *server) RegisterConnContext(f func(ctx context.Context, c net.Conn) context.Context) {
	s.contexts = append(s.contexts, f)
}

// setting changes a server before it starts.
type setting struct {
	tls     *tls.Config // nil: no TLS
	handler http.HandlerFunc
	change  func(*http.Server)
	wrap    func(net.Listener) net.Listener // around ours
	beneath func(net.Listener) net.Listener // beneath ours
	unix    string
	framing Framing // default: Enforce
	bare    bool    // nobody looks at the framing
}

func newServer(t *testing.T, o setting) *server {
	t.Helper()
	s := &server{t: t, counts: &Counts{}}
	if o.framing == Pass && !o.bare {
		o.framing = Enforce
	}
	Watch(s, o.framing)
	if o.handler == nil {
		o.handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }
	}
	s.http = &http.Server{
		ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = Entered{}.MatchWithError(r)
			o.handler(w, r)
		}),
		ConnState:   s.states[0],
		ConnContext: s.contexts[0],
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	//lint:ignore SA1019 Caddy does it in this way, too
	if err := http2.ConfigureServer(s.http, new(http2.Server)); err != nil { //nolint:staticcheck // as above
		t.Fatal(err)
	}
	if o.change != nil {
		o.change(s.http)
	}
	s.serve(o)
	return s
}

func (s *server) serve(o setting) {
	network, addr := "tcp", "127.0.0.1:0"
	if o.unix != "" {
		network, addr = "unix", o.unix
	}
	ln, err := new(net.ListenConfig).Listen(s.t.Context(), network, addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	if o.beneath != nil {
		ln = o.beneath(ln)
	}
	ln = s.counts.Listen(ln)
	if o.tls != nil {
		if o.tls.NextProtos == nil {
			o.tls.NextProtos = []string{"h2", "http/1.1"}
		}
		ln = tls.NewListener(ln, o.tls)
		if !o.bare {
			ln = hiding{Above(ln)}
		}
	}
	if o.wrap != nil {
		ln = o.wrap(ln)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.http.Serve(ln)
	}()
	s.t.Cleanup(func() {
		_ = s.http.Close()
		<-ended
	})
}

// hiding hides that connections have TLS, as Caddy's last listener does
// (caddyhttp, http2Listener).
type hiding struct{ net.Listener }

func (l hiding) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if _, bare := c.(*tls.Conn); bare || err != nil {
		return c, err
	}
	return struct{ net.Conn }{c}, nil
}

// authority is a CA and a server certificate of it for localhost.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{roots: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, a.cert = sign(t, template, template, nil)
	a.roots.AddCert(a.cert)
	return a
}

func sign(t *testing.T, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// leaf makes a certificate for localhost.
func (a *authority) leaf(t *testing.T, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key, cert := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// secure is the TLS configuration of a server.
func (a *authority) secure(t *testing.T) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.leaf(t, x509.ExtKeyUsageServerAuth)}}
}

// client is the TLS configuration of a client that trusts it.
func (a *authority) client(protos ...string) *tls.Config {
	return &tls.Config{RootCAs: a.roots, ServerName: "localhost", NextProtos: protos}
}

// dial connects without TLS.
func (s *server) dial() net.Conn {
	s.t.Helper()
	network := "tcp"
	if s.addr[0] == '/' {
		network = "unix"
	}
	c, err := new(net.Dialer).DialContext(s.t.Context(), network, s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialTLS connects and completes the handshake.
func (s *server) dialTLS(config *tls.Config) *tls.Conn {
	s.t.Helper()
	c := tls.Client(s.dial(), config)
	if err := c.HandshakeContext(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// exchange sends bytes and reads until the server closes.
func exchange(t *testing.T, c net.Conn, send string) string {
	t.Helper()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(c) // a reset is an end
	return string(got)
}

// ask sends a request, reads its response, on a connection that stays open, and
// returns the status.
func ask(t *testing.T, c net.Conn, r *bufio.Reader, send string) int {
	t.Helper()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// counted returns what was counted, as "layer/reason status" times count.
func (s *server) counted() map[string]int64 {
	got := map[string]int64{}
	list := s.counts.Take(false)
	for _, r := range list {
		name := r.Layer + "/" + r.Reason
		if r.Status != 0 {
			name += fmt.Sprint(" ", r.Status)
		}
		got[name] += r.Count
	}
	s.counts.Return(list)
	return got
}

// patience is how many milliseconds a loaded machine may take.
const patience = 30_000

// want fails the test unless exactly this is counted, at once or soon: the
// server ends connections after its clients do.
func (s *server) want(want map[string]int64) {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; n < patience && s.total()+s.waiting() < sum(want); n++ {
		<-tick.C
	}
	s.closeAll()
	for n := 0; n < patience && s.total()+s.waiting() > sum(want); n++ { // handlers of ended connections may still have to begin
		<-tick.C
	}
	s.counts.Return(s.counts.Take(true))
	for name := range want {
		id, _, _ := strings.Cut(name, " ")
		if !classes()[id] {
			s.t.Errorf("%s is not among the classes that package boundary says are counted", id)
		}
	}
	if got := s.counted(); fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("counted %v, want %v", got, want)
	}
}

// waiting is how many streams of ended connections have reached no handler yet,
// and will be counted unless they do.
func (s *server) waiting() (n int64) {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	for _, l := range s.counts.late {
		n += l.opened.Load() - l.begun.Load()
		if l.blaming.Load() {
			n-- // counted with the connection
		}
	}
	return n
}

// closeAll ends the server, and with it what it could still count.
func (s *server) closeAll() {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	_ = s.http.Shutdown(ctx)
}

func (s *server) total() (n int64) {
	for _, c := range s.counted() {
		n += c
	}
	return n
}

func sum(m map[string]int64) (n int64) {
	for _, c := range m {
		n += c
	}
	return n
}

// classes are those of which the boundary says that they are counted.
func classes() map[string]bool {
	m := map[string]bool{}
	for _, c := range boundary.Now().Classes {
		m[c.ID] = c.Covered == boundary.Count
	}
	return m
}

// TestBoundaryNamesReasons that there are.
func TestBoundaryNamesReasons(t *testing.T) {
	for id, counted := range classes() {
		layer, reason, _ := strings.Cut(id, "/")
		if counted && (layerOf(layer).String() != layer || reasonOf(layer, reason).String() != reason) {
			t.Errorf("nothing is counted as %s", id)
		}
	}
	for r := range reasons {
		named := false
		for l := range layers {
			named = named || classes()[l.String()+"/"+r.String()]
		}
		if !named {
			t.Errorf("no class is named after the reason %s", r)
		}
	}
}
