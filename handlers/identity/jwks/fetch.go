package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// timeout is how long the issuer may take for one answer.
const timeout = 10 * time.Second

// NewClient returns an HTTP client for an issuer: with TLS 1.2 or later, the
// authorities of a PEM file in place of the system's if it is given, and without
// following redirects, by which the issuer's word could come from elsewhere.
func NewClient(authorities []byte) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if authorities != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, errors.New("no certificate in it (PEM)")
		}
	}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: timeout,
			MaxResponseHeaderBytes: 64 << 10,
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, which is not followed")
		},
	}, nil
}

// CheckURL reports what is wrong with the address of an issuer or of a part of
// it: it must be https, or http on a loopback address, without a fragment and
// without credentials.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("%q is not an address like https://idp.example", text)
	case u.User != nil || u.Fragment != "":
		return fmt.Errorf("the address at %q has credentials or a fragment", u.Host)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not https, which only a loopback address need not be", text)
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Discovery is what an issuer says of itself (OpenID Connect Discovery 1.0,
// section 3).
type Discovery struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	EndSession    string   `json:"end_session_endpoint"`
	TokenAuth     []string `json:"token_endpoint_auth_methods_supported"`
	SendsIssuer   bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// maxDiscovery is the size of the largest discovery document, in bytes.
const maxDiscovery = 256 << 10

// Discover asks an issuer what it is. What it says must be of that very issuer.
func Discover(ctx context.Context, client *http.Client, issuer string) (*Discovery, error) {
	address := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	data, _, err := get(ctx, client, address, maxDiscovery)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var d Discovery
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, errors.New("discovery: the answer is no JSON object")
	}
	if d.Issuer != issuer {
		return nil, fmt.Errorf("discovery: it says to be the issuer %q and not %q", clip(d.Issuer), issuer)
	}
	for _, address := range []string{d.JWKS, d.Authorization, d.Token, d.EndSession} {
		if address == "" {
			continue
		}
		if err := CheckURL(address); err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
	}
	if d.JWKS == "" {
		return nil, errors.New("discovery: there is no jwks_uri in it")
	}
	return &d, nil
}

func clip(text string) string {
	if len(text) > 200 {
		return text[:200] + "…"
	}
	return text
}

// get reads JSON of at most so many bytes, and how long it may be kept.
func get(ctx context.Context, client *http.Client, address string, most int) ([]byte, time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	res, err := client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("%s answered %d", address, res.StatusCode)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if !slices.Contains([]string{"application/json", "application/jwk-set+json", "text/plain", ""}, kind) {
		return nil, 0, fmt.Errorf("%s answered with %q and not with JSON", address, clip(kind))
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, int64(most)+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	if len(data) > most {
		return nil, 0, fmt.Errorf("%s answered with more than %d bytes", address, most)
	}
	return data, maxAge(res.Header.Get("Cache-Control")), nil
}

// maxAge returns what a response's Cache-Control gives it to live, or 0.
func maxAge(control string) time.Duration {
	for part := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(name, "max-age") {
			d, err := time.ParseDuration(value + "s")
			if err == nil {
				return d
			}
		}
	}
	return 0
}
