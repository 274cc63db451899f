package soc2

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
)

// askAdmin asks the admin API at an address: HOST:PORT, or unix//PATH and
// soc2unix//PATH for a socket, with or without its mode.
func askAdmin(ctx context.Context, address, method, path string, body []byte) (*http.Response, error) {
	host, transport := address, &http.Transport{DisableKeepAlives: true}
	network, socket, found := strings.Cut(address, "/")
	unix := found && (network == "unix" || network == "soc2unix")
	if unix {
		socket, _, _ = strings.Cut(socket, "|")
		host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+"/soc2/v1"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if !unix && onThisHost(req.URL.Hostname()) { // enforce_origin asks for it; elsewhere Caddy would not expect it
		req.Header.Set("Origin", "http://"+host)
	}
	return (&http.Client{Transport: transport}).Do(req)
}
