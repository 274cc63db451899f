// Package tsa gets RFC 3161 time stamps over the checkpoints of a log from a
// time-stamping authority, over HTTP, and keeps them beside the log in the form
// that package timestamp defines.
package tsa

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"net/http"
	"net/url"
	"time"

	rfc3161 "github.com/digitorus/timestamp"

	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
)

// Media types of RFC 3161 section 3.4.
const (
	typeQuery = "application/timestamp-query"
	typeReply = "application/timestamp-reply"
)

// Client asks one authority for time stamps. URL and Roots are needed, the rest
// has defaults. It is safe for concurrent use.
type Client struct {
	URL     string                // http or https; the token is signed, so http is no weaker
	Roots   *x509.CertPool        // whom to trust
	Policy  asn1.ObjectIdentifier // the policy to ask for; default: the authority's own
	Timeout time.Duration         // of one request; default 30 s
	HTTP    *http.Client          // default: http.DefaultTransport; redirects are never followed
}

// Token is a time stamp as it came and what it says.
type Token struct {
	timestamp.Stamp
	Response []byte // TimeStampResp in DER
}

// Stamp has the SHA-256 of a note, the exact bytes of a signed checkpoint,
// stamped. The answer must be verified in all that timestamp.Want asks for, and
// carry the random nonce of this request. Nothing but the hash leaves the host.
func (c *Client) Stamp(ctx context.Context, note []byte) (Token, error) {
	t, err := c.stamp(ctx, note)
	if err != nil {
		return Token{}, fmt.Errorf("getting a time stamp from %s: %w", c.host(), err)
	}
	return t, nil
}

func (c *Client) stamp(ctx context.Context, note []byte) (Token, error) {
	if c.Roots == nil {
		return Token{}, errors.New("no root certificate is given: give that of the authority")
	}
	nonce, err := newNonce()
	if err != nil {
		return Token{}, err
	}
	sum := sha256.Sum256(note)
	query, err := (&rfc3161.Request{
		HashAlgorithm: crypto.SHA256, HashedMessage: sum[:],
		Certificates: true, TSAPolicyOID: c.Policy, Nonce: nonce,
	}).Marshal()
	if err != nil {
		return Token{}, err
	}
	response, err := c.ask(ctx, query)
	if err != nil {
		return Token{}, err
	}
	s, err := timestamp.Want{Note: note, Roots: c.Roots, Policy: c.Policy, Nonce: nonce}.Verify(response)
	return Token{s, response}, err
}

// newNonce makes a random positive number of 64 bits, which every authority
// takes.
func newNonce() (*big.Int, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // the same length each time
	return new(big.Int).SetBytes(b[:]), nil
}

// ask sends a query and returns the body of the answer.
func (c *Client) ask(ctx context.Context, query []byte) ([]byte, error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", typeQuery)
	req.Header.Set("Accept", typeReply)
	resp, err := c.client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		if to := resp.Header.Get("Location"); to != "" {
			return nil, fmt.Errorf("it answers %s with a redirect to %q, which is not followed: configure the authority's own URL", resp.Status, to)
		}
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	if got, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || got != typeReply {
		return nil, fmt.Errorf("it answers with %q, not with %s: this is not the URL of a time-stamping authority", resp.Header.Get("Content-Type"), typeReply)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, timestamp.MaxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > timestamp.MaxResponse {
		return nil, fmt.Errorf("%w: the answer is longer than %d bytes", timestamp.ErrMalformed, timestamp.MaxResponse)
	}
	return body, nil
}

// client is the HTTP client without redirects.
func (c *Client) client() *http.Client {
	h := http.Client{}
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &h
}

// host is the URL without what is secret in it.
func (c *Client) host() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "the authority"
	}
	return u.Redacted()
}
