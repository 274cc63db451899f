// Package registry asks image registries what a tag stands for now.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

// Client asks registries over HTTP (OCI distribution specification 1.1), without
// credentials. The zero value asks the real ones.
type Client struct {
	HTTP *http.Client                 // nil: http.DefaultClient
	URL  func(registry string) string // base of a registry's URLs; nil: https
}

// accept is the forms of manifests, those of many platforms first: their digest
// is the one that holds on every machine.
const accept = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"

// Digest returns the digest of an image, such as sha256:….
func (c *Client) Digest(ctx context.Context, m dockerfile.Image) (string, error) {
	if m.Repository == "" || m.Tag == "" {
		return "", fmt.Errorf("%q names no image with a tag", m.Name)
	}
	target := c.base(m.Registry) + "/v2/" + m.Repository + "/manifests/" + m.Tag
	a, err := c.head(ctx, target, "")
	if err == nil && a.code == http.StatusUnauthorized {
		var token string
		if token, err = c.token(ctx, a.header.Get("WWW-Authenticate")); err == nil {
			a, err = c.head(ctx, target, token)
		}
	}
	if err != nil {
		return "", fmt.Errorf("asking %s for the digest of %s: %w", m.Registry, m.Name, err)
	}
	if a.code != http.StatusOK {
		return "", fmt.Errorf("asking %s for the digest of %s: it answers %s", m.Registry, m.Name, a.status)
	}
	digest := a.header.Get("Docker-Content-Digest")
	if dockerfile.ParseImage(m.Name+"@"+digest).Repository == "" {
		return "", fmt.Errorf("asking %s for the digest of %s: it answers %q, which is none", m.Registry, m.Name, digest)
	}
	return digest, nil
}

func (c *Client) base(name string) string {
	if c.URL != nil {
		return c.URL(name)
	}
	if name == "docker.io" {
		name = "registry-1.docker.io"
	}
	return "https://" + name
}

func (c *Client) do(req *http.Request) (*http.Response, error) {
	if c.HTTP != nil {
		return c.HTTP.Do(req)
	}
	return http.DefaultClient.Do(req)
}

// answer is a response without its body.
type answer struct {
	code   int
	status string
	header http.Header
}

func (c *Client) head(ctx context.Context, target, token string) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, target, nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", accept)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.do(req)
	if err != nil {
		return a, err
	}
	return answer{resp.StatusCode, resp.Status, resp.Header}, resp.Body.Close()
}

var challenge = regexp.MustCompile(`([a-z]+)="([^"]*)"`)

// token asks for the token that a registry wants to see, which everybody gets
// for public images.
func (c *Client) token(ctx context.Context, header string) (string, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	fields := map[string]string{}
	for _, f := range challenge.FindAllStringSubmatch(rest, -1) {
		fields[f[1]] = f[2]
	}
	realm, err := url.Parse(fields["realm"])
	if !strings.EqualFold(scheme, "Bearer") || err != nil || realm.Host == "" {
		return "", fmt.Errorf("it wants %q, which is not known here", header)
	}
	query := realm.Query()
	for _, name := range []string{"service", "scope"} {
		if fields[name] != "" {
			query.Set(name, fields[name])
		}
	}
	realm.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return "", err
	}
	resp, err := c.do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s gives no token: %s", realm.Host, resp.Status)
	}
	if answer.Token == "" {
		answer.Token = answer.AccessToken
	}
	if answer.Token == "" {
		return "", errors.New(realm.Host + " gives no token")
	}
	return answer.Token, nil
}
