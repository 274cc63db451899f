package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// histogram counts connections by what was negotiated.
type histogram map[string]int

// negotiated is a row of the histogram.
func negotiated(version, cipher, group, alpn string) string {
	return strings.Join([]string{version, cipher, group, alpn}, " ")
}

// tlsRecord is what a record has of TLS.
type tlsRecord struct {
	Kind string
	TLS  struct {
		Version, Cipher, Group, SNI, ALPN string

		Resumed, ECH bool
		Below        []string
	}
	Access   struct{ Outcome, Rule string }
	Response struct{ Status int }
}

// readTLS returns the requests of the log.
func (h home) readTLS() (list []tlsRecord) {
	h.t.Helper()
	_, err := records.Dir{FS: os.DirFS(h.logDir())}.Scan(0, func(_ int64, b []byte) error {
		var r tlsRecord
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Kind == "request" {
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func (h home) histogram() histogram {
	h.t.Helper()
	got := histogram{}
	for _, r := range h.readTLS() {
		got[negotiated(r.TLS.Version, r.TLS.Cipher, r.TLS.Group, r.TLS.ALPN)]++
	}
	return got
}

// tlsClient is a client that offers little.
type tlsClient struct {
	proto    string // HTTP/1.1, HTTP/2.0, HTTP/3.0
	host     string
	version  uint16
	suite    uint16 // of TLS 1.2
	group    tls.CurveID
	requests int
}

// tlsClients are clients of each version, suite and group that Go's client can
// be made to negotiate, over each protocol.
func tlsClients() (list []tlsClient) {
	suites := map[string][]uint16{
		"localhost":     {tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
		"rsa.localhost": {tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
	}
	classic := []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	for host, ids := range suites {
		for i, suite := range ids {
			for j, group := range classic {
				for k, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
					list = append(list, tlsClient{proto, host, tls.VersionTLS12, suite, group, 1 + (i+j+k)%3})
				}
			}
		}
		for i, group := range append(classic, tls.X25519MLKEM768) {
			for j, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
				list = append(list, tlsClient{proto, host, tls.VersionTLS13, 0, group, 1 + (i+2*j)%4})
			}
		}
	}
	return list
}

// do makes the requests, each over a connection of its own or, as HTTP/2 and
// HTTP/3 do, over one, and counts what the client says was negotiated.
func (c tlsClient) do(t *testing.T, port int, to histogram) {
	t.Helper()
	config := &tls.Config{
		InsecureSkipVerify: true, ServerName: c.host, MinVersion: c.version, MaxVersion: c.version,
		CipherSuites: []uint16{c.suite}, CurvePreferences: []tls.CurveID{c.group},
	}
	if c.proto == "HTTP/1.1" && c.requests > 1 { // others offer no protocol
		config.NextProtos = []string{"http/1.1"}
	}
	addr := fmt.Sprint("127.0.0.1:", port)
	var transport http.RoundTripper
	if c.proto == "HTTP/3.0" {
		tr := &http3.Transport{TLSClientConfig: config}
		defer func() { _ = tr.Close() }()
		transport = tr
	} else {
		tr := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
		tr.Protocols.SetHTTP1(c.proto == "HTTP/1.1")
		tr.Protocols.SetHTTP2(c.proto == "HTTP/2.0")
		defer tr.CloseIdleConnections()
		transport = tr
	}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for range c.requests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprint("https://", addr, "/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = fmt.Sprint(c.host, ":", port)
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.Proto != c.proto {
			t.Errorf("%+v: %s %s", c, resp.Proto, resp.Status)
		}
		s := resp.TLS
		version := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[s.Version]
		to[negotiated(version, tls.CipherSuiteName(s.CipherSuite), s.CurveID.String(), s.NegotiatedProtocol)]++
	}
}

// tlsSites is a configuration of a site with an ECDSA certificate and of one
// with RSA, that negotiate whatever Caddy can.
func tlsSites(option string, port, httpPort int) string {
	site := func(host, key string) string {
		return fmt.Sprintf(`
https://%s:%d {
	bind 127.0.0.1
	tls {
		curves x25519mlkem768 x25519 secp256r1 secp384r1 secp521r1
		key_type %s
		issuer internal
	}
	respond ok
}
`, host, port, key)
	}
	return fmt.Sprintf(`{
	admin off
	persist_config off
	skip_install_trust
	http_port %d
	soc2 {
		instance test
		%s
	}
	servers {
		listener_wrappers {
			soc2
			tls
		}
	}
}
`, httpPort, option) + site("localhost", "p256") + site("rsa.localhost", "rsa2048")
}

// serve runs a Caddyfile until the test ends.
func (h home) serve(caddyfile string, ready ...string) *process {
	h.t.Helper()
	file := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		h.t.Fatal(err)
	}
	p := h.start("serving initial configuration", "caddy", "run", "--config", file)
	for _, addr := range ready {
		host, at, _ := strings.Cut(addr, "@")
		certificateReady(h.t, host, at)
	}
	return p
}

// certificateReady returns when a server has its certificate for a host.
func certificateReady(t *testing.T, host, addr string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var err error
	for range 6000 {
		var conn net.Conn
		if conn, err = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: host}}).DialContext(t.Context(), "tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
		<-tick.C
	}
	t.Fatal(err)
}

// openssl is a client that chooses a suite of TLS 1.3, which Go's cannot.
func openssl(t *testing.T, port int, suite, group string, to histogram) {
	t.Helper()
	tool, err := exec.LookPath("openssl")
	if err != nil {
		needs(t, "openssl")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	addr := fmt.Sprint("127.0.0.1:", port)
	cmd := exec.CommandContext(ctx, tool, "s_client", "-connect", addr, "-servername", "localhost", "-tls1_3", "-ciphersuites", suite, "-groups", group, "-alpn", "http/1.1", "-ign_eof")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("GET / HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", port))
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("HTTP/1.1 200 OK")) {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	cipher := regexp.MustCompile(`New, TLSv1\.3, Cipher is (\S+)`).FindSubmatch(out)
	key := regexp.MustCompile(`(?:Server|Peer) Temp Key: (X25519|ECDH, P-256|ECDH, prime256v1),`).FindSubmatch(out)
	alpn := regexp.MustCompile(`ALPN protocol: (\S+)`).FindSubmatch(out)
	if cipher == nil || key == nil || alpn == nil {
		t.Fatalf("openssl does not say what it negotiated: %s", out)
	}
	name := "CurveP256"
	if string(key[1]) == "X25519" {
		name = "X25519"
	}
	to[negotiated("1.3", string(cipher[1]), name, string(alpn[1]))]++
}

// TestHistogramOfTheLogIsWhatClientsNegotiated has clients of all versions,
// suites, groups and protocols count what they negotiated, and counts the
// records.
func TestHistogramOfTheLogIsWhatClientsNegotiated(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	addr := fmt.Sprint("127.0.0.1:", port)
	p := h.serve(tlsSites("", port, freePort(t)), "localhost@"+addr, "rsa.localhost@"+addr)
	want := histogram{}
	for _, c := range tlsClients() {
		c.do(t, port, want)
	}
	for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		for _, group := range []string{"X25519", "P-256"} {
			openssl(t, port, suite, group, want)
		}
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	got := h.histogram()
	rows := slices.Sorted(maps.Keys(want))
	for _, row := range rows {
		t.Logf("%4d  %s", want[row], row)
	}
	if !maps.Equal(got, want) {
		t.Errorf("recorded:   %v\nnegotiated: %v", got, want)
	}
	if len(rows) < 40 {
		t.Errorf("only %d kinds of connections", len(rows))
	}
	for _, r := range h.readTLS() {
		if r.TLS.SNI == "" || r.TLS.ECH || len(r.TLS.Below) > 0 {
			t.Fatalf("recorded %+v", r)
		}
	}
	h.verify()
}

// negotiate makes one request over a connection of its own, and returns what that
// negotiated.
func negotiate(t *testing.T, config *tls.Config, port int) *tls.ConnectionState {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://localhost:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // the session's ticket comes with it
	_ = resp.Body.Close()
	return resp.TLS
}

// TestConnectionsThatResumeOrHideTheirNameAreRecordedAsThat has Caddy publish
// nothing: the client takes the keys of Encrypted Client Hello from its storage.
func TestConnectionsThatResumeOrHideTheirNameAreRecordedAsThat(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	addr := fmt.Sprint("127.0.0.1:", port)
	config := strings.Replace(tlsSites("", port, freePort(t)), "\tadmin off\n", "\tadmin off\n\tech public.localhost\n", 1)
	p := h.serve(config, "localhost@"+addr)
	files, err := filepath.Glob(filepath.Join(h.dir, "caddy", "ech", "configs", "*", "config.bin"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	ech, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(ech))), ech...)
	sessions := tls.NewLRUClientSessionCache(4)
	var resumed int
	for _, hidden := range []bool{false, false, true, true} {
		client := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: sessions, MinVersion: tls.VersionTLS13}
		if hidden {
			client.EncryptedClientHelloConfigList = list
		}
		state := negotiate(t, client, port)
		if state.ECHAccepted != hidden {
			t.Errorf("ECH accepted %v, want %v", state.ECHAccepted, hidden)
		}
		if state.DidResume {
			resumed++
		}
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d:\n%s", code, p.text())
	}
	var hiddenSeen, resumedSeen int
	for _, r := range h.readTLS() {
		if r.TLS.ECH {
			hiddenSeen++
		}
		if r.TLS.Resumed {
			resumedSeen++
		}
		if r.TLS.SNI != "localhost" {
			t.Errorf("recorded the name %q", r.TLS.SNI)
		}
	}
	if hiddenSeen != 2 || resumedSeen != resumed || resumed == 0 {
		t.Errorf("%d hidden, %d resumed recorded; the client had 2 and %d", hiddenSeen, resumedSeen, resumed)
	}
	h.verify()
}
