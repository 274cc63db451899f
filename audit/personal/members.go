package personal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// The other members of a record that can be sealed.
const (
	ClientPort = "client.port"
	SNI        = "tls.sni"
	ClientCert = "tls.client_cert"
	Path       = "request.path"
	Query      = "request.query"
	Agent      = "request.agent"
	Headers    = "request.headers"
)

// DefaultMembers are sealed if nothing else is said.
var DefaultMembers = []string{ClientIP, ClientPort, Peer, User, Agent}

// memberSet has a bit for each member, in the order of members.
type memberSet uint16

// members are those that can be sealed, in the order of a box.
var members = [...]struct {
	name  string
	limit int // most bytes that a box keeps
	at    func(*audit.Event) *string
}{
	{ClientIP, maxText, func(e *audit.Event) *string { return &e.ClientIP }},
	{ClientPort, maxText, func(e *audit.Event) *string { return &e.ClientPort }},
	{Peer, maxText, func(e *audit.Event) *string { return &e.Peer }},
	{SNI, maxText, func(e *audit.Event) *string { return &e.TLS.ServerName }},
	{ClientCert, maxText, func(e *audit.Event) *string { return &e.TLS.ClientCert }},
	{Path, 4096, func(e *audit.Event) *string { return &e.Path }},
	{Query, 1024, func(e *audit.Event) *string { return &e.Query }},
	{Agent, maxText, func(e *audit.Event) *string { return &e.Agent }},
	{Headers, 0, nil},
	{User, maxText, func(e *audit.Event) *string { return &e.User }},
}

const maxText = 256

func parseMembers(names []string) (set memberSet, err error) {
	for _, name := range names {
		i := memberIndex(name)
		if i < 0 {
			var known []string
			for _, m := range members {
				known = append(known, m.name)
			}
			return 0, fmt.Errorf("member %q cannot be sealed: it must be one of %s", name, strings.Join(known, ", "))
		}
		set |= 1 << i
	}
	return set, nil
}

func memberIndex(name string) int {
	for i := range members {
		if members[i].name == name {
			return i
		}
	}
	return -1
}

func (s memberSet) has(i int) bool { return s>>i&1 == 1 }

// remove takes the members out of an event, and what of them header fields
// show.
func (s memberSet) remove(ev *audit.Event) {
	for i := range members {
		if !s.has(i) {
			continue
		}
		if members[i].at == nil {
			ev.RequestHeaders = nil
			continue
		}
		*members[i].at(ev) = ""
		maskHeaders(ev, members[i].name)
	}
}

// telling are header fields, in lower case, that show a member of the record.
var telling = map[string][]string{
	ClientIP: {
		"forwarded", "x-forwarded-for", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip",
		"cf-connecting-ip", "fastly-client-ip", "x-envoy-external-address", "x-original-forwarded-for", "via",
	},
	User: {
		"remote-user", "x-remote-user", "x-forwarded-user", "x-forwarded-email", "x-forwarded-preferred-username",
		"x-webauth-user", "x-user", "x-username", "x-user-id", "x-email", "from",
	},
	Agent:      {"user-agent"},
	ClientCert: {"x-forwarded-client-cert", "x-ssl-client-cert", "client-cert", "client-cert-chain"},
	Path:       {"referer", "location", "content-location", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-original-uri"},
	Query:      {"referer", "location", "content-location", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-original-uri"},
}

// maskHeaders puts a star for the values of header fields that show a member.
func maskHeaders(ev *audit.Event, member string) {
	names := telling[member]
	if len(names) == 0 {
		return
	}
	mask := func(list []audit.Header, prefix string) {
		for i := range list {
			if list[i].Value == "*" {
				continue
			}
			if lowered := strings.ToLower(list[i].Name); slices.Contains(names, lowered) {
				list[i].Value = "*"
				if name := prefix + lowered; !slices.Contains(ev.Redacted, name) {
					ev.Redacted = append(ev.Redacted, name)
				}
			}
		}
	}
	mask(ev.RequestHeaders, "request.headers.")
	mask(ev.ResponseHeaders, "response.headers.")
}
