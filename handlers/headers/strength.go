package headers

import (
	"strconv"
	"strings"
)

// whatever accepts any value: the rule only fills a gap.
func whatever(v string) bool { return strings.TrimSpace(v) != "" }

// oneOf accepts the given values.
func oneOf(values ...string) func(string) bool {
	return func(v string) bool {
		v = strings.TrimSpace(v)
		for _, accepted := range values {
			if strings.EqualFold(v, accepted) {
				return true
			}
		}
		return false
	}
}

// referrerOneOf accepts the given policies. Of a list browsers take the last
// policy that they know (Referrer Policy section 8.1).
func referrerOneOf(policies ...string) func(string) bool {
	accept := oneOf(policies...)
	return func(v string) bool {
		return accept(v[strings.LastIndexByte(v, ',')+1:])
	}
}

// atLeastHSTS accepts a Strict-Transport-Security that lasts as long as want
// and covers as many hosts (RFC 6797 section 6.1).
func atLeastHSTS(want string) func(string) bool {
	wantAge, wantSubs, _ := parseHSTS(want)
	return func(v string) bool {
		age, subs, ok := parseHSTS(v)
		return ok && age >= wantAge && (subs || !wantSubs)
	}
}

// parseHSTS reads a Strict-Transport-Security. It is ok if every browser takes
// it: they ignore the whole field for a directive that is there twice, a sign
// before the number or a value where there is none, and what stands in a quoted
// string is no directive.
func parseHSTS(v string) (age int64, subDomains, ok bool) {
	for part := range strings.SplitSeq(v, ";") {
		name, arg, valued := strings.Cut(part, "=")
		name, arg = strings.TrimSpace(name), strings.TrimSpace(arg)
		switch {
		case name == "" && !valued:
		case strings.EqualFold(name, "max-age"):
			n, digits := number(arg)
			if !digits || ok {
				return 0, false, false
			}
			age, ok = n, true
		case strings.EqualFold(name, "includeSubDomains"):
			if valued || subDomains {
				return 0, false, false
			}
			subDomains = true
		case !isFieldName(name) || valued && !isFieldName(arg):
			return 0, false, false
		}
	}
	return age, subDomains, ok
}

// number reads the digits that a parameter has, in quotes or not.
func number(s string) (int64, bool) {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if s == "" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// hasDirective tells whether a Cache-Control has the directive (RFC 9111
// section 5.2).
func hasDirective(values []string, directive string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(part, "=")
			if strings.EqualFold(strings.TrimSpace(name), directive) {
				return true
			}
		}
	}
	return false
}
