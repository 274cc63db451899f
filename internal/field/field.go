// Package field compares names of header fields as servers see them that turn
// fields into variables of an environment, for which X_User, X.User and X-User are
// one.
package field

// Normal is a name in small letters, with hyphens for all but letters and digits.
func Normal(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = normal(c)
	}
	return string(b)
}

func normal(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c | 0x20
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return c
	}
	return '-'
}

// IsOneOf reports whether a name is one of some that Normal wrote.
func IsOneOf(name string, list []string) bool {
	for _, n := range list {
		if len(n) != len(name) {
			continue
		}
		i := 0
		for i < len(n) && normal(name[i]) == n[i] {
			i++
		}
		if i == len(n) {
			return true
		}
	}
	return false
}
