package redact

import "strings"

// secretNames are parts of the names of secrets, without what separates words.
var secretNames = []string{
	"password", "passwd", "passphrase", "pwd", "secret", "token", "credential",
	"authorization", "apikey", "accesskey", "privatekey", "mackey", "signingkey",
	"signkey", "encryptionkey", "encryptkey", "sessionkey", "sharedkey", "authkey",
	"accountkey", "hmackey", "masterkey", "licensekey", "presharedkey", "keyid",
	"bearer", "passcode", "jwtkey", "ticketkey", "stek",
}

// exactNames are names of secrets that are parts of other words.
var exactNames = map[string]bool{
	"cookie": true, "setcookie": true, "psk": true, "salt": true, "pin": true, "auth": true, "pass": true, "dsn": true,
}

// plainNames are names that have a part of secretNames in them, and are none.
var plainNames = map[string]bool{
	"insecuresecretslog":   true, // a path
	"shouldlogcredentials": true, "allowcredentials": true,
	"tokenendpoint": true, "tokenurl": true, "tokentype": true, "tokenlookup": true, "passwordpolicy": true,
}

// squeeze returns a name in small letters and without what separates words.
func squeeze(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == '_' || r == '-' || r == '.' || r == ' ':
			return -1
		}
		return r
	}, name)
}

// secretName reports whether what goes by a name is secret.
func secretName(name string) bool {
	plain := squeeze(name)
	if plainNames[plain] {
		return false
	}
	if exactNames[plain] {
		return true
	}
	for _, part := range secretNames {
		if strings.Contains(plain, part) {
			return true
		}
	}
	return false
}

// keyName reports whether a name may be that of a key: of one that opens
// something, or of one by which something is sorted.
func keyName(name string) bool {
	plain := squeeze(name)
	return plain == "key" || plain == "keys"
}

// harmlessKey reports whether a value by the name key is the place of a key or
// what a limit counts by, and no key itself.
func harmlessKey(v string) bool {
	switch v {
	case "client_ip", "remote_ip", "user", "host", "path", "method", "global", "static":
		return true
	}
	for _, prefix := range []string{"env:", "credential:", "file:", "{"} {
		if strings.HasPrefix(v, prefix) {
			return true
		}
	}
	for _, suffix := range []string{".pem", ".key", ".crt"} { // of a path: a key has no such end
		if strings.HasSuffix(v, suffix) {
			return true
		}
	}
	return false
}

// onlyPlaceholders reports whether a text has nothing but placeholders of
// Caddy, and words that go before a credential.
func onlyPlaceholders(v string) bool {
	seen := false
	for v != "" {
		begin := strings.IndexByte(v, '{')
		if begin < 0 {
			begin = len(v)
		}
		switch strings.TrimSpace(v[:begin]) {
		case "", "Bearer", "Basic", "Token", ":":
		default:
			return false
		}
		if v = v[begin:]; v == "" {
			break
		}
		end := strings.IndexByte(v, '}')
		if end < 0 || !placeholder(v[1:end]) {
			return false
		}
		seen, v = true, v[end+1:]
	}
	return seen
}

// placeholder reports whether a text between braces names something.
func placeholder(name string) bool {
	for _, prefix := range []string{"env.", "file.", "http.", "system.", "tls.", "time.", "vars.", "$"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && !strings.ContainsAny(rest, "{ \t\n") {
			return true
		}
	}
	return false
}
