package controls

import (
	"fmt"
	"regexp"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// secret is what is a secret beyond doubt, or was meant to be one: keys, tokens
// of known services, and values by the name of one.
var secret = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|\b(?:ghp|gho|ghs|ghu)_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{15,}|\bxox[bp]-[\w-]{10,}|\bsk_live_\w{10,}|\bAKIA[0-9A-Z]{16}\b|(?i:\b(?:bearer|basic)\s+[\w+/=.~-]{12,})|(?i:\b(?:password|passwd|secret|api[_-]?key|access[_-]?token)=[^&\s*]{4,})`)

// Look searches a record for what looks like a secret. It never keeps what it
// found, only where.
func (s *Sample) Look(seq int64, ev *audit.Event) {
	s.Records++
	check := func(member, value string) {
		if len(s.Found) < maxEvidence && secret.MatchString(value) {
			s.Found = append(s.Found, Evidence{Where: fmt.Sprintf("record %d %s", seq, member), What: "has what looks like a secret", Time: ev.Start})
		}
	}
	check("request.path", ev.Path)
	check("request.query", ev.Query)
	check("request.agent", ev.Agent)
	for _, h := range ev.RequestHeaders {
		check("request.headers", h.Value)
	}
	for _, h := range ev.ResponseHeaders {
		check("response.headers", h.Value)
	}
}
