package access

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-soc2/caddy-soc2/internal/field"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// Identity is what the upstream is told of the principal. The fields that it
// names are removed from every request, also where they are spelled with other
// separators, before they are set.
type Identity struct {
	// Headers are the fields to set and what to put into each: user, roles (all
	// sources, separated by commas), method, mfa, issued_at, or claim:NAME. A field
	// without a value is not set.
	Headers map[string]string `json:"headers,omitempty"`

	// Strip are further fields to remove from requests.
	Strip []string `json:"strip,omitempty"`

	// Assertion is a signed statement for the upstream. Default: none.
	Assertion *Assertion `json:"assertion,omitempty"`
}

// names are all fields that only this handler may set.
func (id *Identity) names() (list []string) {
	if id == nil {
		return nil
	}
	for name := range id.Headers {
		list = append(list, name)
	}
	list = append(list, id.Strip...)
	if id.Assertion != nil {
		list = append(list, id.Assertion.Header)
	}
	return list
}

// needed are fields that a request cannot do without.
var needed = []string{"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "content-type"}

func (id *Identity) check() error {
	if id == nil {
		return nil
	}
	if err := id.Assertion.check(); err != nil {
		return err
	}
	for _, name := range id.names() {
		if !httpguts.ValidHeaderFieldName(name) || field.IsOneOf(name, needed) {
			return fmt.Errorf("identity: %q is no name of a field that can be set", name)
		}
	}
	if err := id.checkOnce(); err != nil {
		return err
	}
	for name, what := range id.Headers {
		claim, isClaim := strings.CutPrefix(what, "claim:")
		switch {
		case isClaim && claim != "":
		case what == "user" || what == "roles" || what == "method" || what == "mfa" || what == "issued_at":
		default:
			return fmt.Errorf("identity: header %s: %q: choose user, roles, method, mfa, issued_at or claim:NAME", name, what)
		}
	}
	return nil
}

// checkOnce checks that no field is set twice, of which either could win.
func (id *Identity) checkOnce() error {
	var seen []string
	set := slices.Sorted(maps.Keys(id.Headers))
	if id.Assertion != nil {
		set = append(set, id.Assertion.Header)
	}
	for _, name := range set {
		if field.IsOneOf(name, seen) {
			return fmt.Errorf("identity: %q is the same field as another that is set", name)
		}
		seen = append(seen, field.Normal(name))
	}
	return nil
}

// tell puts into a request who its principal is.
func (id *Identity) tell(r *http.Request, q *rules.Request, e *rules.Engine) error {
	if id == nil || q.Principal == "" {
		return nil
	}
	for name, what := range id.Headers {
		v := valueOf(q, e, what)
		if v == "" {
			continue
		}
		if !sendable(v) {
			return caddyhttp.Error(http.StatusForbidden, fmt.Errorf("the %s of the principal cannot be sent in a header", what))
		}
		r.Header.Set(name, v)
	}
	if id.Assertion == nil {
		return nil
	}
	token, err := id.Assertion.sign(r.Context(), q, e.RolesOf(q))
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, fmt.Errorf("signing who the principal is: %w", err))
	}
	r.Header.Set(id.Assertion.Header, token)
	return nil
}

func sendable(s string) bool { return httpguts.ValidHeaderFieldValue(s) }

func valueOf(q *rules.Request, e *rules.Engine, what string) string {
	switch what {
	case "user":
		return q.Principal
	case "roles":
		return strings.Join(e.RolesOf(q), ",")
	case "method":
		return q.AuthMethod
	case "mfa":
		return strconv.FormatBool(q.MFA)
	case "issued_at":
		if q.IssuedAt.IsZero() {
			return ""
		}
		return strconv.FormatInt(q.IssuedAt.Unix(), 10)
	}
	v, _ := q.Claims.Claim(strings.TrimPrefix(what, "claim:"))
	return v
}
