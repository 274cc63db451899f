package redact

import (
	"math"
	"regexp"
	"strings"
)

var (
	// pemKey is a private key in PEM, whole or cut off.
	pemKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)

	// userinfo is the password in a URL (RFC 3986, section 3.2.1).
	userinfo = regexp.MustCompile(`(://[^/?#\s:@]*:)([^/?#\s]+)(@)`)

	// named is a value that a text gives a name of secrets, as in a query or a
	// line of a configuration file.
	named = regexp.MustCompile(`(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|authorization|x-api-key)["']?\s*[=:]\s*["']?(?:bearer |basic |token )?)([^\s"'&;,<>]+)`)

	// word is a run of what tokens are made of, or one that stands for a secret
	// already.
	word = regexp.MustCompile(`\[secret [0-9a-f]{24}\]|[A-Za-z0-9+/=_.~$:\-]{16,}`)
)

// words returns a text without what in it looks like a secret.
func (s *Secrets) words(v string) string {
	if len(v) < minScrubbed {
		return v
	}
	if strings.Contains(v, "PRIVATE KEY-----") {
		v = pemKey.ReplaceAllStringFunc(v, s.hide)
	}
	if strings.Contains(v, "://") {
		v = s.groups(userinfo, v)
	}
	if strings.ContainsAny(v, "=:") {
		v = s.groups(named, v)
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

// groups hides what the second group of an expression matches.
func (s *Secrets) groups(re *regexp.Regexp, v string) string {
	return re.ReplaceAllStringFunc(v, func(match string) string {
		m := re.FindStringSubmatch(match)
		if onlyPlaceholders(m[2]) || strings.HasPrefix(m[2], "[secret") || strings.HasPrefix(m[2], "{") {
			return match
		}
		tail := ""
		if len(m) > 3 {
			tail = m[3]
		}
		return m[1] + s.hide(m[2]) + tail
	})
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
