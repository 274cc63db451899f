// Package jwt verifies signed JSON Web Tokens (RFC 7519, RFC 7515) of one issuer
// as the best current practice asks (RFC 8725): pinned asymmetric algorithms,
// keys only from the issuer's key set, and one way to write a token.
package jwt

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// MaxBytes is the size of the largest token that is looked at. It is less than
// what Caddy's server takes as a header by default (16 KiB), so that a token that
// is too large has a record that says so.
const MaxBytes = 12 << 10

// maxHeader is the size of the largest protected header, in bytes of base64.
const maxHeader = 2 << 10

// Token is a token that was parsed and not verified.
type Token struct {
	Alg  string
	Kid  string // empty if there is none
	Typ  string
	Body map[string]any // the claims

	input     string // what is signed: header and claims in base64, with the dot
	signature []byte
}

var canonical = base64.RawURLEncoding.Strict()

// Parse reads a token in compact form. It looks at nothing but the form.
func Parse(text string) (*Token, principal.Reason) {
	if len(text) > MaxBytes {
		return nil, TooLarge
	}
	switch strings.Count(text, ".") {
	case 2:
	case 4:
		return nil, Encrypted
	default:
		return nil, Malformed
	}
	head, rest, _ := strings.Cut(text, ".")
	body, sig, _ := strings.Cut(rest, ".")
	if len(head) > maxHeader {
		return nil, TooLarge
	}
	header, why := parsePart(head)
	if why != "" {
		return nil, why
	}
	t := &Token{input: text[:len(head)+1+len(body)]}
	if why := t.header(header); why != "" {
		return nil, why
	}
	if t.Body, why = parsePart(body); why != "" {
		return nil, why
	}
	var err error
	if t.signature, err = decode(sig); err != nil {
		return nil, Base64
	}
	return t, ""
}

func parsePart(text string) (map[string]any, principal.Reason) {
	data, err := decode(text)
	if err != nil {
		return nil, Base64
	}
	object, err := parseObject(data)
	switch {
	case errors.Is(err, errDuplicate):
		return nil, Duplicate
	case err != nil:
		return nil, Malformed
	}
	return object, ""
}

// decode reads base64url without padding, in the one way to write it. The
// decoder itself leaves out line breaks.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return canonical.DecodeString(text)
}

// foreign are members of a header by which a token would bring its own key, or
// change what a signature means.
var foreign = []struct {
	name string
	why  principal.Reason
}{
	{"jwk", HeaderJWK},
	{"jku", HeaderJKU},
	{"x5u", HeaderX5U},
	{"x5c", HeaderX5C},
	{"crit", HeaderCrit},
	{"b64", HeaderCrit},
	{"zip", HeaderCrit},
}

func (t *Token) header(h map[string]any) principal.Reason {
	alg, ok := h["alg"].(string)
	if !ok {
		return Malformed
	}
	switch {
	case strings.EqualFold(alg, "none"):
		return AlgNone
	case strings.HasPrefix(strings.ToUpper(alg), "HS"):
		return AlgSymmetric
	}
	for _, f := range foreign {
		if _, there := h[f.name]; there {
			return f.why
		}
	}
	t.Alg = alg
	if kid, there := h["kid"]; there {
		if t.Kid, ok = kid.(string); !ok || t.Kid == "" {
			return KidMalformed
		}
	}
	if typ, there := h["typ"]; there {
		if t.Typ, ok = typ.(string); !ok {
			return Malformed
		}
	}
	return ""
}

// maxKid is the longest name of a key, in bytes.
const maxKid = 256

// odd reports whether a key's name looks like something to open or to run. It is
// never opened: names are only compared with those in the key set. Such a name
// is not worth asking the issuer for.
func odd(kid string) bool {
	if len(kid) > maxKid || strings.Contains(kid, "..") || strings.Contains(kid, "//") || kid[0] == '/' {
		return true
	}
	for i := range len(kid) {
		if c := kid[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\\'\"`;|<>$&(){}*?%", c) >= 0 {
			return true
		}
	}
	return false
}
