package headers

import (
	_ "embed"
	"net/http"
	"strings"
)

//go:embed leaks.txt
var leaksFile string

// leaks maps the canonical name of a field that is removed to the name of the
// rule that a removal is reported under. An empty rule means that nothing
// needs reporting.
type leaks map[string]string

// allLeaks holds every field of the list; unreadLeaks only those that no
// script of the application reads.
var allLeaks, unreadLeaks = parseLeaks(leaksFile)

// quietLeaks are dropped but are no finding. Caddy's own reverse_proxy adds Via
// to each response, where it is optional (RFC 9110 section 7.6.3). Helmet sends
// "0" as X-Xss-Protection by default, and browsers ignore the rest.
var quietLeaks = []string{"Via", "X-Xss-Protection"}

func parseLeaks(list string) (all, unread leaks) {
	all, unread = leaks{}, leaks{}
	for _, name := range quietLeaks {
		all[name], unread[name] = "", ""
	}
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		name, rule := http.CanonicalHeaderKey(words[0]), strings.ToLower(words[0])
		all[name] = rule
		if len(words) == 1 {
			unread[name] = rule
		}
	}
	return all, unread
}
