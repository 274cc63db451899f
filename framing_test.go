package soc2_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// TestFramingIsJudgedOnEveryListener asks Caddy with and without TLS, where
// nothing but the listener wrapper is configured. Requests over TLS are known to
// be so.
func TestFramingIsJudgedOnEveryListener(t *testing.T) {
	s := newSite(t)
	if err := s.load(`
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	respond "{http.request.scheme} {http.request.tls.version}"
}
`); err != nil {
		t.Fatal(err)
	}
	dial := map[string]func() (net.Conn, error){
		"http": func() (net.Conn, error) {
			return new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(s.http))
		},
		"https": func() (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}}}
			return d.DialContext(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(s.https))
		},
	}
	const good = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	const bad = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	for scheme, dial := range dial {
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		r := bufio.NewReader(conn)
		if scheme == "https" { // the redirect on the other port closes its connection
			_, _ = io.WriteString(conn, good)
			if status, body := response(t, r); status != http.StatusOK || body != "https tls1.3" {
				t.Errorf("%s: the answer is %d %q", scheme, status, body)
			}
		}
		_, _ = io.WriteString(conn, bad)
		if status, _ := response(t, r); status != http.StatusBadRequest {
			t.Errorf("%s: two framings are answered %d", scheme, status)
		}
		_ = conn.Close()
	}
}

func response(t *testing.T, r *bufio.Reader) (int, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, string(body)
}
