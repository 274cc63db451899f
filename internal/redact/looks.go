package redact

import (
	"bytes"
	"encoding/base64"
	"math"
	"regexp"
	"strings"
)

var (
	// pemKey is a private key in PEM, whole or cut off.
	pemKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)

	// userinfo is what a URL has before its host (RFC 3986, section 3.2.1), and
	// what stands there although it should be percent-encoded.
	userinfo = regexp.MustCompile(`://[^\s"'<>@/?#]*@|://[^\s"'<>@/?#:]*:[^\s"'<>]*@`)

	// named is a value that a text gives a name of secrets, as in a query, in a
	// line of a configuration file, or in JSON in a string.
	named = regexp.MustCompile(`(?i)((?:` + namesInText + `)[\w-]*[\]})"'\\]*\s*(?:=>|[=!]=|[=:])\s*)` +
		`(?:(\\*["'](?:(?:bearer|basic|token) )?)([^"'\\]+)|((?:(?:bearer|basic|token) )?)((?:\{[^{}\s]*\}|[^\s"'&;,<>\\})\]])+))`)

	// scheme is a credential as the header Authorization has it.
	scheme = regexp.MustCompile(`(?i)\b(basic|bearer)( +)([A-Za-z0-9+/=_.~-]{6,})`)

	// literal is a text in quotes in an expression.
	literal = regexp.MustCompile(`"[^"]*"|'[^']*'|` + "`[^`]*`")

	// word is a run of what tokens are made of, or one that stands for a secret
	// already.
	word = regexp.MustCompile(`\[secret [0-9a-f]{24}\]|[A-Za-z0-9+/=_.~$:\-]{16,}`)
)

// namesInText are names of secrets as they stand in texts, where names that are
// words too need something before them.
const namesInText = `pass(?:word|wd|phrase|code)|[_-]pass|[_-]key|[?&](?:key|sig|code|auth|pass)|pwd|secret|token|credential|` +
	`(?:api|access|account|shared|private|signing|subscription|license)key|authorization|x-auth|\bcookie[.:]`

// words returns a text without what in it looks like a secret.
func (s *Secrets) words(v string) string {
	if len(v) < minScrubbed {
		return v
	}
	if strings.Contains(v, "PRIVATE KEY-----") {
		v = pemKey.ReplaceAllStringFunc(v, s.hide)
	}
	if strings.Contains(v, "://") {
		v = userinfo.ReplaceAllStringFunc(v, s.userinfo)
	}
	if strings.ContainsAny(v, "=:") {
		v = named.ReplaceAllStringFunc(v, s.named)
	}
	if strings.Contains(v, " ") {
		v = scheme.ReplaceAllStringFunc(v, s.scheme)
	}
	if len(v) < minRun {
		return v
	}
	return word.ReplaceAllStringFunc(v, func(w string) string {
		if w[0] != '[' && random(w) {
			return s.hide(w)
		}
		return w
	})
}

// userinfo hides the password in the user information of a URL, or all of it if
// there is no user's name.
func (s *Secrets) userinfo(match string) string {
	info := match[len("://") : len(match)-1]
	user, password, found := strings.Cut(info, ":")
	switch {
	case !found && shown(user):
		return match
	case !found:
		return "://" + s.hide(user) + "@"
	case shown(password) || afterPort(password):
		return match
	}
	return "://" + user + ":" + s.hide(password) + "@"
}

// afterPort holds for a port and a path that follow a host.
func afterPort(v string) bool {
	end := strings.IndexAny(v, "/?#")
	return end > 0 && isNumber(v[:end])
}

func (s *Secrets) named(match string) string {
	m := named.FindStringSubmatch(match)
	value := m[3] + m[5]
	if shown(value) || value == "{" || value == "[" {
		return match
	}
	return m[1] + m[2] + m[4] + s.hide(value)
}

func (s *Secrets) scheme(match string) string {
	m := scheme.FindStringSubmatch(match)
	if strings.EqualFold(m[1], "basic") {
		plain, err := base64.StdEncoding.DecodeString(m[3])
		if err != nil || !bytes.Contains(plain, []byte(":")) {
			return match
		}
	} else if len(m[3]) < minRun && !strings.ContainsAny(m[3], "0123456789") {
		return match // a word
	}
	return m[1] + m[2] + s.hide(m[3])
}

// expression hides all texts in an expression that asks for something by a name
// of secrets.
func (s *Secrets) expression(v string) string {
	if !asksForSecret(v) {
		return v
	}
	return literal.ReplaceAllStringFunc(v, func(match string) string {
		inner := match[1 : len(match)-1]
		if shown(inner) || secretName(inner) {
			return match
		}
		return match[:1] + s.hide(inner) + match[len(match)-1:]
	})
}

// nameLike is what may be a name in an expression: placeholders have names with
// dots, of which the last part is that of a field.
var nameLike = regexp.MustCompile(`[A-Za-z][\w-]*`)

// token is what stands for a secret, and tokenCut what is left of it where a text
// is cut at spaces.
var token = regexp.MustCompile(`^\[secret [0-9a-f]{24}\]$`)

const tokenCut = "[secret"

// shown reports whether a value may be shown: it is a placeholder, or was hidden
// before.
func shown(v string) bool {
	return v == "" || v == tokenCut || onlyPlaceholders(v) || token.MatchString(v)
}

// prefixes begin the tokens of well-known services, password hashes and keys.
var prefixes = []string{
	"ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xapp-", "sk-", "sk_live_", "sk_test_", "rk_live_",
	"AKIA", "ASIA", "AIza", "ya29.", "AGE-SECRET-KEY-", "PRIVATE+KEY+", "hvs.", "npm_", "SG.", "dop_v1_", "eyJ",
	"$2a$", "$2b$", "$2y$", "$argon2", "$scrypt", "$pbkdf2", "$5$", "$6$",
}

const (
	minRun     = 16  // letters and digits without a break
	minEntropy = 3.0 // bits a character: words have less
	minHex     = 32  // digits of a hash or a UUID
)

// random reports whether a word looks made by a machine: not a path, not the
// name of a host, not words put together.
func random(w string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(w, p) {
			return true
		}
	}
	if onlyHex(w) {
		return true
	}
	for run := range strings.FieldsFuncSeq(w, func(r rune) bool { return strings.ContainsRune("/_.~$:-", r) }) {
		if len(run) >= minRun && mixed(run) && entropy(run) >= minEntropy {
			return true
		}
	}
	return jumbled(w)
}

// onlyHex holds for a hash in hex and for a UUID.
func onlyHex(w string) bool {
	n := 0
	for _, r := range w {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'f', r >= 'A' && r <= 'F':
			n++
		case r != '-':
			return false
		}
	}
	return n >= minHex
}

// mixed holds for letters with digits among them, or of both cases in disorder.
func mixed(run string) bool {
	letters, digits, changes := 0, 0, 0
	var last byte
	for i := range len(run) {
		c := class(run[i])
		if c != last && i > 0 {
			changes++
		}
		last = c
		switch c {
		case 'a', 'A':
			letters++
		case '0':
			digits++
		}
	}
	return letters > 0 && digits >= 2 && changes >= 4 || changes >= len(run)/3
}

// jumbled holds for a long word whose characters change kind again and again
// although it has separators in it: base64 with - and _.
func jumbled(w string) bool {
	changes := 0
	for i := 1; i < len(w); i++ {
		if class(w[i]) != class(w[i-1]) {
			changes++
		}
	}
	return len(w) >= 24 && !strings.Contains(w, "://") && changes*2 >= len(w) && entropy(w) >= minEntropy+1
}

func class(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z':
		return 'a'
	case c >= 'A' && c <= 'Z':
		return 'A'
	case c >= '0' && c <= '9':
		return '0'
	}
	return '-'
}

// entropy is Shannon's, in bits a character.
func entropy(s string) (bits float64) {
	var counts [256]int
	for i := range len(s) {
		counts[s[i]]++
	}
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits
}
