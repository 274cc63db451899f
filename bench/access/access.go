// Package access measures what it costs a server to know who asks and what they
// may do, and what those who try out passwords cost everybody else.
package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-soc2/caddy-soc2/bench/measure"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/apikey"
)

// Bench says how to measure.
type Bench struct {
	Rounds   int
	Each     time.Duration
	Progress io.Writer
	Dir      string // for files
	Self     string // this program
}

func (b *Bench) plan() measure.Plan {
	return measure.Plan{Rounds: b.Rounds, Each: b.Each, Progress: b.Progress}
}

// credentials are what the site takes, in files, and what clients show.
type credentials struct {
	dir                     string
	token, apiKey, password string
}

const (
	issuer   = "https://idp.example"
	audience = "bench"

	// bcryptCost is that of the accounts' hashes: a quarter of a second a password
	// or more.
	bcryptCost = 12
)

func newCredentials(dir string) (*credentials, error) {
	c := &credentials{dir: dir, password: rand.Text()}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if c.token, err = sign(private); err != nil {
		return nil, err
	}
	key, sum, err := apikey.New("robot")
	if err != nil {
		return nil, err
	}
	c.apiKey = key
	hash, err := bcrypt.GenerateFromPassword([]byte(c.password), bcryptCost)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"jwks.json": keySet(private),
		"keys.json": fmt.Sprintf(`[{"id":"robot","hash":%q,"roles":["role99"],"expires":"2100-01-01T00:00:00Z"}]`, sum),
		"accounts":  "alice:" + string(hash) + ":role99\n",
	} {
		if err := os.WriteFile(c.file(name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *credentials) file(name string) string { return filepath.Join(c.dir, name) }

var base64url = base64.RawURLEncoding

// keySet is a set of one key (RFC 7517).
func keySet(private *ecdsa.PrivateKey) string {
	point, _ := private.PublicKey.Bytes() // never fails for a key of P-256: 4, x, y
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","x":%q,"y":%q}]}`,
		base64url.EncodeToString(point[1:33]), base64url.EncodeToString(point[33:]))
}

// sign makes a token that is good for a day.
func sign(private *ecdsa.PrivateKey) (string, error) {
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"iss": issuer, "aud": audience, "sub": "bob@example.com", "groups": []string{"everyone", "role99"}, "iat": now, "exp": now + 86400,
		"jti": rand.Text(), "auth_time": now, "amr": []string{"pwd", "otp"}, "tenant": "t-4711",
	})
	if err != nil {
		return "", err
	}
	input := base64url.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"k1"}`)) + "." + base64url.EncodeToString(claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64url.EncodeToString(signature), nil
}
