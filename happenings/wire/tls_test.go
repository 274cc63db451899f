package wire

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// handshake is how a client's handshake goes.
type handshake struct {
	server func(t *testing.T, ca *authority, c *tls.Config)
	client func(ca *authority) *tls.Config
	raw    func(t *testing.T, conn net.Conn) // instead of a client
	change func(*http.Server)
	want   string
}

func sends(s string) func(t *testing.T, conn net.Conn) {
	return func(_ *testing.T, conn net.Conn) {
		_, _ = io.WriteString(conn, s)
		_, _ = io.ReadAll(conn)
	}
}

func sendsAndCloses(s string) func(t *testing.T, conn net.Conn) {
	return func(_ *testing.T, conn net.Conn) {
		_, _ = io.WriteString(conn, s)
		_ = conn.Close()
	}
}

// clientHello is one that a client of crypto/tls sends.
func clientHello(t *testing.T) string {
	t.Helper()
	client, server := net.Pipe()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "localhost"}).HandshakeContext(t.Context()) }()
	b := make([]byte, 4096)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = client.Close(), server.Close()
	return string(b[:n])
}

func handshakes(t *testing.T) map[string]handshake {
	hello := clientHello(t)
	soon := func(h *http.Server) { h.ReadHeaderTimeout = 50 * time.Millisecond }
	mutual := func(t *testing.T, ca *authority, c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.roots
	}
	stranger := newAuthority(t).leaf(t, x509.ExtKeyUsageClientAuth)
	with := func(change func(c *tls.Config)) func(ca *authority) *tls.Config {
		return func(ca *authority) *tls.Config {
			c := ca.client("http/1.1")
			change(c)
			return c
		}
	}
	fails := func(err error) func(*testing.T, *authority, *tls.Config) {
		return func(_ *testing.T, _ *authority, c *tls.Config) {
			c.Certificates = nil
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, err }
		}
	}
	return map[string]handshake{
		"HTTP":             {raw: sends("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), want: "tls/http_on_https 400"},
		"HTTP, no answer":  {raw: sends("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"), want: "tls/http_on_https"},
		"garbage":          {raw: sends("\x00\x01\x02\x03\x04\x05\x06\x07"), want: "tls/not_tls"},
		"another message":  {raw: sends("\x16\x03\x01\x00\x04\x02\x00\x00\x00"), want: "tls/malformed"},
		"a broken hello":   {raw: sends("\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03"), want: "tls/malformed"},
		"a long record":    {raw: sends("\x16\x03\x01\xff\xff\x01"), want: "tls/malformed"},
		"an alert first":   {raw: sends("\x15\x03\x01\x00\x02\x02\x28"), want: "tls/client_alert"},
		"closed":           {raw: sendsAndCloses(""), want: "tls/closed_unused"},
		"closed in hello":  {raw: sendsAndCloses(hello[:20]), want: "tls/handshake_cut_off"},
		"closed after it":  {raw: sendsAndCloses(hello), want: "tls/handshake_cut_off"},
		"idle":             {raw: sends(""), change: soon, want: "tls/timed_out_unused"},
		"slow hello":       {raw: sends(hello[:20]), change: soon, want: "tls/handshake_timed_out"},
		"slow after hello": {raw: sends(hello), change: soon, want: "tls/handshake_timed_out"},
		"old version": {
			server: func(_ *testing.T, _ *authority, c *tls.Config) { c.MinVersion = tls.VersionTLS13 },
			client: with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), want: "tls/unsupported_version",
		},
		"no shared cipher": {
			server: func(_ *testing.T, _ *authority, c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
			},
			client: with(func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
			}), want: "tls/no_shared_cipher",
		},
		"no shared group": {
			server: func(_ *testing.T, _ *authority, c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} },
			client: with(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }), want: "tls/no_shared_cipher",
		},
		"no shared protocol": {client: with(func(c *tls.Config) { c.NextProtos = []string{"smtp"} }), want: "tls/no_shared_alpn"},
		"no certificate": {
			server: fails(errors.New("no certificate available for 'x'")),
			client: with(func(*tls.Config) {}), want: "tls/no_certificate",
		},
		"no certificates at all": {
			server: func(_ *testing.T, _ *authority, c *tls.Config) {
				c.Certificates = nil
				c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil } //nolint:nilnil // as crypto/tls allows
			},
			client: with(func(*tls.Config) {}), want: "tls/no_certificate",
		},
		"a text that a client chose": {
			server: fails(errors.New("the name is client certificate dropping connection")),
			client: with(func(*tls.Config) {}), want: "tls/other",
		},
		"no policy": {
			server: func(_ *testing.T, _ *authority, c *tls.Config) {
				c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("dropping connection") }
			},
			client: with(func(*tls.Config) {}), want: "tls/dropped_by_policy",
		},
		"no client certificate": {server: mutual, client: with(func(*tls.Config) {}), want: "tls/client_certificate_missing"},
		"a stranger's certificate": {
			server: mutual,
			client: with(func(c *tls.Config) {
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }
			}), want: "tls/client_certificate_refused",
		},
		"server not trusted": {client: with(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }), want: "tls/server_certificate_refused"},
		"server not trusted, TLS 1.2": {
			client: with(func(c *tls.Config) { c.RootCAs, c.MaxVersion = x509.NewCertPool(), tls.VersionTLS12 }),
			want:   "tls/server_certificate_refused",
		},
		"another name": {client: with(func(c *tls.Config) { c.ServerName = "other" }), want: "tls/server_certificate_refused"},
	}
}

// TestHandshakesThatFailCountOnceByReason has a client for each reason.
func TestHandshakesThatFailCountOnceByReason(t *testing.T) {
	ca := newAuthority(t)
	for name, h := range handshakes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := ca.secure(t)
			if h.server != nil {
				h.server(t, ca, config)
			}
			s := newServer(t, setting{tls: config, change: h.change})
			conn := s.dial()
			if h.raw != nil {
				h.raw(t, conn)
			} else {
				c := tls.Client(conn, h.client(ca))
				if err := c.HandshakeContext(t.Context()); err == nil {
					_, _ = c.Read(make([]byte, 1)) // under TLS 1.3 a server refuses after the client is done
				}
				_ = conn.Close()
			}
			s.want(map[string]int64{h.want: 1})
		})
	}
}

// TestHandshakesThatAShutdownCutsOffAreCounted closes the server while a
// handshake waits for the client.
func TestHandshakesThatAShutdownCutsOffAreCounted(t *testing.T) {
	for _, c := range []struct{ send, want string }{
		{clientHello(t)[:30], "tls/handshake_dropped"},
	} {
		reads := make(chan struct{}, 10)
		s := newServer(t, setting{
			tls:     newAuthority(t).secure(t),
			beneath: func(ln net.Listener) net.Listener { return &tellingListener{ln, reads} },
		})
		conn := s.dial()
		_, _ = io.WriteString(conn, c.send)
		<-reads
		_ = s.http.Close()
		s.want(map[string]int64{c.want: 1})
	}
}

// TestTLSConnectionsWithoutARequestCountOnce has completed handshakes.
func TestTLSConnectionsWithoutARequestCountOnce(t *testing.T) {
	ca := newAuthority(t)
	soon := func(h *http.Server) { h.ReadHeaderTimeout = time.Second }
	for name, c := range map[string]struct {
		change func(*http.Server)
		play   func(t *testing.T, c *tls.Conn)
		want   string
	}{
		"closed":    {nil, func(_ *testing.T, c *tls.Conn) { _ = c.Close() }, "http1/closed_unused"},
		"cut off":   {nil, func(_ *testing.T, c *tls.Conn) { _ = c.NetConn().Close() }, "http1/closed_unused"},
		"idle":      {soon, func(_ *testing.T, c *tls.Conn) { _, _ = io.ReadAll(c) }, "http1/timed_out_unused"},
		"slow head": {soon, func(_ *testing.T, c *tls.Conn) { _, _ = io.WriteString(c, "GET / HT"); _, _ = io.ReadAll(c) }, "http1/head_timed_out 400"},
		"part, then cut off": {nil, func(_ *testing.T, c *tls.Conn) {
			_, _ = io.WriteString(c, "GET / HT")
			_ = c.NetConn().Close()
		}, "http1/head_cut_off 400"},
		"part of a second head": {nil, func(t *testing.T, c *tls.Conn) {
			ask(t, c, bufio.NewReader(c), good)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n")
			_ = c.NetConn().Close()
		}, "http1/head_cut_off 400"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, setting{tls: ca.secure(t), change: c.change})
				config := ca.client("http/1.1")
				config.MinVersion, config.MaxVersion = version, version
				c.play(t, s.dialTLS(config))
				s.want(map[string]int64{c.want: 1})
			})
		}
	}
}

// TestAnswersHaveDifferentSizes is why a size tells a response under TLS.
func TestAnswersHaveDifferentSizes(t *testing.T) {
	seen := map[int]answer{}
	for _, a := range answers {
		if b, ok := seen[a.size]; ok && b.status != a.status {
			t.Errorf("%+v and %+v have one size", a, b)
		}
		seen[a.size] = a
		if a.size < minAnswer {
			t.Errorf("%+v is shorter than %d bytes", a, minAnswer)
		}
	}
}

// TestRefusalsUnderEveryCipherSuiteHaveTheirStatus has all suites that show
// sizes exactly. The others are counted, without a status.
func TestRefusalsUnderEveryCipherSuiteHaveTheirStatus(t *testing.T) {
	ca := newAuthority(t)
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		version := suite.SupportedVersions[len(suite.SupportedVersions)-1]
		if version != tls.VersionTLS12 || !strings.Contains(suite.Name, "ECDHE_ECDSA") {
			continue
		}
		t.Run(suite.Name, func(t *testing.T) {
			config := ca.secure(t)
			config.CipherSuites, config.MaxVersion = []uint16{suite.ID}, version
			s := newServer(t, setting{tls: config})
			client := ca.client("http/1.1")
			client.CipherSuites, client.MaxVersion = config.CipherSuites, version
			conn := s.dialTLS(client)
			exchange(t, conn, "GET /\r\n\r\n")
			want := "http1/malformed 400"
			if !strings.Contains(suite.Name, "GCM") && !strings.Contains(suite.Name, "CHACHA20") {
				want = "http1/malformed"
			}
			s.want(map[string]int64{want: 1})
		})
	}
}

// TestExamplesHoldNoAddress has the error of a read, which the net package
// writes with both addresses.
func TestExamplesHoldNoAddress(t *testing.T) {
	s := newServer(t, setting{tls: newAuthority(t).secure(t)})
	conn := s.dial().(*net.TCPConn)
	_, _ = io.WriteString(conn, clientHello(t)[:30])
	_ = conn.SetLinger(0)
	_ = conn.Close()
	s.want(map[string]int64{"tls/handshake_cut_off": 1})
	for _, r := range s.counts.Take(true) {
		if strings.Contains(r.Example, "127.0.0.1") || r.Example == "" || r.Prefix != "127.0.0.0/24" || r.Listener != s.addr {
			t.Errorf("the record is %+v", r)
		}
	}
}
