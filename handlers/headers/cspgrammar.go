package headers

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// takes is what a directive takes.
type takes int

const (
	fetching   takes = iota + 1 // sources, with all keywords
	places                      // sources, with 'self' and 'none' alone
	nothing                     // no value
	flags                       // flags of a sandbox
	oneName                     // the name of an endpoint
	urls                        // URL references
	sinks                       // 'script'
	policyList                  // names of trusted types policies
)

// directives are those of CSP level 3, Upgrade Insecure Requests and Trusted
// Types. The names that no browser acts on any more are not among them.
var directives = map[string]takes{
	"default-src": fetching, "script-src": fetching, "script-src-elem": fetching, "script-src-attr": fetching,
	"style-src": fetching, "style-src-elem": fetching, "style-src-attr": fetching, "img-src": fetching,
	"font-src": fetching, "connect-src": fetching, "media-src": fetching, "object-src": fetching,
	"child-src": fetching, "frame-src": fetching, "worker-src": fetching, "manifest-src": fetching,
	"fenced-frame-src": fetching,
	"base-uri":         places, "form-action": places, "frame-ancestors": places,
	"sandbox": flags, "upgrade-insecure-requests": nothing,
	"report-to": oneName, "report-uri": urls,
	"require-trusted-types-for": sinks, "trusted-types": policyList,
}

// keywords may stand in quotes in a list of sources (CSP level 3, section 2.3.1).
var keywords = []string{
	"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "'unsafe-hashes'", "'strict-dynamic'",
	"'report-sample'", "'wasm-unsafe-eval'", "'inline-speculation-rules'", "'trusted-types-eval'", nonceSource,
}

var sandboxFlags = []string{
	"allow-downloads", "allow-forms", "allow-modals", "allow-orientation-lock", "allow-pointer-lock", "allow-popups",
	"allow-popups-to-escape-sandbox", "allow-presentation", "allow-same-origin", "allow-scripts",
	"allow-storage-access-by-user-activation", "allow-top-navigation", "allow-top-navigation-by-user-activation",
	"allow-top-navigation-to-custom-protocols",
}

func unknownDirective(name string) error {
	return fmt.Errorf("csp: there is no directive %q", name)
}

// checkDirective finds mistakes in a directive.
func checkDirective(name string, values []string) error {
	kind := directives[name]
	if kind == 0 {
		return unknownDirective(name)
	}
	for _, v := range values {
		if i := strings.IndexFunc(v, func(c rune) bool { return c <= ' ' || c > '~' || c == ';' || c == ',' }); i >= 0 || v == "" {
			return fmt.Errorf("csp: %s: %q has a character that cannot stand in a policy", name, v)
		}
	}
	switch kind {
	case fetching, places:
		return checkSources(name, kind, values)
	case nothing:
		if len(values) > 0 {
			return fmt.Errorf("csp: %s takes no value, but has %q", name, values[0])
		}
	case flags:
		for _, v := range values {
			if !slices.Contains(sandboxFlags, v) {
				return fmt.Errorf("csp: %s: unknown flag %q", name, v)
			}
		}
	case oneName:
		if len(values) != 1 {
			return fmt.Errorf("csp: %s takes the name of one endpoint", name)
		}
	case urls:
		if len(values) == 0 {
			return fmt.Errorf("csp: %s takes a URL", name)
		}
	case sinks:
		if len(values) != 1 || values[0] != "'script'" {
			return fmt.Errorf("csp: %s takes 'script', in quotes", name)
		}
	}
	return nil
}

func checkSources(name string, kind takes, sources []string) error {
	if len(sources) == 0 {
		return fmt.Errorf("csp: %s has no source: 'none', in quotes, allows nothing", name)
	}
	for _, s := range sources {
		if strings.EqualFold(s, noSource) && len(sources) > 1 {
			return fmt.Errorf("csp: %s: 'none' contradicts the other sources", name)
		}
		if err := checkSource(name, kind, s); err != nil {
			return err
		}
	}
	return nil
}

func checkSource(name string, kind takes, s string) error {
	lower := strings.ToLower(s)
	switch {
	case !strings.HasPrefix(s, "'"):
		if slices.Contains(keywords, "'"+lower+"'") {
			return fmt.Errorf("csp: %s: the keyword %s stands in quotes: '%[2]s'", name, lower)
		}
		if !isHostSource(s) {
			return fmt.Errorf("csp: %s: %q is no keyword in quotes, scheme or host", name, s)
		}
		return nil
	case kind == places:
		if lower != "'self'" && lower != "'none'" {
			return fmt.Errorf("csp: %s takes hosts, schemes, 'self' and 'none', but has %s", name, s)
		}
		return nil
	case lower == nonceSource && s != nonceSource:
		return fmt.Errorf("csp: %s: write 'nonce', in small letters, for one of each response", name)
	case slices.Contains(keywords, lower):
		return nil
	case strings.HasPrefix(lower, "'nonce-"):
		return fmt.Errorf("csp: %s: a nonce that stays the same protects from nothing: write 'nonce' for one of each response", name)
	case isHash(s):
		return nil
	}
	return fmt.Errorf("csp: %s: unknown keyword %s", name, s)
}

// isHash tells whether s is 'sha256-…' or a longer one with a digest of its size.
func isHash(s string) bool {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(s, "'"), "'")
	algorithm, digest, found := strings.Cut(inner, "-")
	size := map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}[strings.ToLower(algorithm)]
	if !ok || !found || size == 0 {
		return false
	}
	digest = strings.NewReplacer("-", "+", "_", "/").Replace(digest)
	b, err := base64.StdEncoding.DecodeString(digest)
	return err == nil && len(b) == size
}

// isHostSource tells whether s is a scheme source or a host source (CSP level
// 3, section 2.3.1).
func isHostSource(s string) bool {
	if scheme, ok := strings.CutSuffix(s, ":"); ok {
		return isScheme(scheme)
	}
	host := s
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if !isScheme(scheme) {
			return false
		}
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		if port := host[i+1:]; port != "*" && (port == "" || strings.Trim(port, "0123456789") != "") {
			return false
		}
		host = host[:i]
	}
	return isHostPattern(host)
}

func isScheme(s string) bool {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (s[i] >= '0' && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.'):
		default:
			return false
		}
	}
	return s != ""
}

func isHostPattern(host string) bool {
	if host == "*" {
		return true
	}
	host = strings.TrimPrefix(host, "*.")
	if host == "" || strings.HasPrefix(host, ".") || strings.HasSuffix(host, ".") || strings.Contains(host, "..") {
		return false
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return strings.Trim(host[1:len(host)-1], "0123456789abcdefABCDEF:.") == ""
	}
	for i := range len(host) {
		c := host[i]
		if c|0x20 < 'a' || c|0x20 > 'z' {
			if (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
				return false
			}
		}
	}
	return true
}
