package jwt

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// Claims are the claims of a token, by name.
type Claims map[string]any

// find returns a claim. A name with dots leads into objects (realm_access.roles)
// unless a claim has that very name.
func (c Claims) find(name string) (any, bool) {
	if v, ok := c[name]; ok {
		return v, true
	}
	first, rest, dotted := strings.Cut(name, ".")
	inner, ok := c[first].(map[string]any)
	if !dotted || !ok {
		return nil, false
	}
	return Claims(inner).find(rest)
}

// Text returns a claim that is a text, or nothing.
func (c Claims) Text(name string) string {
	v, _ := c.find(name)
	s, _ := v.(string)
	return s
}

// Texts returns a claim that is a text, a number, a truth value, or a list of
// texts, as a list. It reports whether it is of that form, also if it is not
// there.
func (c Claims) Texts(name string) ([]string, bool) {
	v, there := c.find(name)
	if !there {
		return nil, true
	}
	list, ok := v.([]any)
	if !ok {
		text, ok := plain(v)
		return []string{text}, ok
	}
	texts := make([]string, 0, len(list))
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

func plain(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// latest is the last second of the year 9999.
const latest = 253402300799

// Time returns a claim that is a NumericDate (RFC 7519, section 2). It reports
// whether it is there, and whether it is of that form if it is.
func (c Claims) Time(name string) (at time.Time, there, ok bool) {
	v, there := c[name]
	if !there {
		return time.Time{}, false, true
	}
	number, ok := v.(json.Number)
	if !ok {
		return time.Time{}, true, false
	}
	seconds, err := number.Float64()
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > latest {
		return time.Time{}, true, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true, true
}

// Names says which claims make up a principal.
type Names struct {
	User    string   // its name; default: sub
	Roles   string   // its roles, a list, or a text with spaces or commas; empty: it has none
	Show    []string // that are passed on as claim.NAME
	Unicode bool     // its name may have letters that are not ASCII: see principal.Name

	MFA map[string][]string // claims by whose values the issuer says that there was more than one factor, besides amr
}

// maxShown is the longest claim that is passed on, in bytes.
const maxShown = 1 << 10

// Principal makes a principal of claims.
func (n Names) Principal(c Claims, method principal.Method) (*principal.Principal, principal.Reason) {
	name := n.User
	if name == "" {
		name = "sub"
	}
	p := &principal.Principal{ID: c.Text(name), Method: method, Claims: map[string]string{}}
	switch {
	case p.ID == "":
		return nil, NoSubject
	case !principal.Name(p.ID, n.Unicode):
		return nil, SubjectName
	case name == "email" && c.refuted("email_verified"):
		return nil, EmailUnverified
	}
	p.Roles = n.roles(c)
	for _, claim := range n.Show {
		if texts, ok := c.Texts(claim); ok && len(texts) > 0 {
			if text := strings.Join(texts, ","); len(text) <= maxShown {
				p.Claims[claim] = text
			}
		}
	}
	p.IssuedAt, _, _ = c.Time("iat")
	p.AMR, _ = c.Texts("amr")
	p.AMR = slices.DeleteFunc(p.AMR, func(m string) bool { return !principal.Role(m) })
	p.MFA = principal.Several(p.AMR) || n.several(c)
	return p, ""
}

// several reports whether a claim says that there was more than one factor.
func (n Names) several(c Claims) bool {
	for name, values := range n.MFA {
		if has, ok := c.Texts(name); ok && slices.ContainsFunc(has, func(h string) bool { return slices.Contains(values, h) }) {
			return true
		}
	}
	return false
}

// refuted reports whether a claim is there and not true.
func (c Claims) refuted(name string) bool {
	v, there := c[name]
	text, _ := plain(v)
	return there && text != "true"
}

func (n Names) roles(c Claims) []string {
	if n.Roles == "" {
		return nil
	}
	roles, _ := c.Texts(n.Roles)
	if v, _ := c.find(n.Roles); len(roles) == 1 {
		if text, ok := v.(string); ok {
			roles = strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
		}
	}
	return principal.Clean(roles)
}
