package policy

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzWildcard compares with a regular expression that means the same.
func FuzzWildcard(f *testing.F) {
	f.Add("/a*b*", "/axxbyy")
	f.Add("*a*a*", "bab")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		re, err := regexp.Compile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `\z`)
		if err != nil || strings.ContainsRune(s, 0xfffd) || strings.ToValidUTF8(s, "") != s || strings.ToValidUTF8(pattern, "") != pattern {
			return // the expression reads characters, a wildcard bytes
		}
		if want := re.MatchString(s); wildcard(pattern, s, false) != want {
			t.Errorf("%q, %q: want %v", pattern, s, want)
		}
	})
}

// FuzzPlainPaths: a plain path means itself.
func FuzzPlainPaths(f *testing.F) {
	f.Add("/a/b/")
	f.Add("/a/../b")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.HasPrefix(s, "/") && isPlain(s) && cleanPath(s) != s {
			t.Errorf("%q is taken for plain, but means %q", s, cleanPath(s))
		}
	})
}
