package headers

import (
	"strconv"
	"strings"
)

// whatever accepts any value: the rule only fills a gap.
func whatever(string) bool { return true }

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

func parseHSTS(v string) (age int64, subDomains, ok bool) {
	for part := range strings.SplitSeq(v, ";") {
		name, arg, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, "max-age"):
			var err error
			age, err = strconv.ParseInt(strings.Trim(strings.TrimSpace(arg), `"`), 10, 64)
			// No directive may appear twice (RFC 6797 section 6.1).
			if err != nil || ok {
				return 0, false, false
			}
			ok = true
		case strings.EqualFold(name, "includeSubDomains"):
			subDomains = true
		}
	}
	return age, subDomains, ok
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
