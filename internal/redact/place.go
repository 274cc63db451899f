package redact

import (
	"encoding/json"
	"slices"
	"strings"
)

// place says where in the document a value stands.
type place struct {
	secret   bool // below a name of secrets
	dns      bool // in a DNS challenge
	provider bool // in a DNS provider
	mapped   bool // in the mappings of a secret to something else
}

// inside returns the place of the member name of an object at p.
func (p place) inside(name string) place {
	switch plain := squeeze(name); {
	case p.provider:
		p.secret = p.secret || plain != "name"
	case plain == "dns":
		p.dns = true
	case p.dns && plain == "provider":
		p.provider = true
	case p.mapped && strings.HasPrefix(plain, "input"):
		p.secret = true
	}
	p.secret = p.secret || secretName(name)
	return p
}

func (s *Secrets) value(name string, v any, at place) any {
	switch v := v.(type) {
	case map[string]any:
		return s.object(name, v, at)
	case []any:
		return s.list(name, v, at)
	case json.Number:
		if at.secret {
			return s.hide(v.String())
		}
	case string:
		return s.text(name, v, at)
	}
	return v
}

func (s *Secrets) object(name string, v map[string]any, at place) any {
	plain := squeeze(name)
	_, named := v["name"].(string)
	if plain == "dns" && named && v["provider"] == nil {
		at.provider = true // the server's own, of which others take theirs
	}
	if source, ok := v["source"].(string); ok && asksForSecret(source) {
		at.mapped = true
	}
	keyring := (at.secret || keyName(name)) && strings.HasSuffix(plain, "s") && plain != "credentials"
	o := make(map[string]any, len(v))
	for member, value := range v {
		in := at.inside(member)
		in.secret = in.secret || keyring || valueOfSecret(v, member) || partOfKey(v, member)
		if keyring && !onlyPlaceholders(member) {
			member = s.hide(member) // such as keys that are mapped to their users
		}
		o[s.words(member)] = s.value(member, value, in)
	}
	return o
}

// list returns a list without its secrets. One that follows the name of a
// command line's flag, or of a header field in a pair, is that one's value.
func (s *Secrets) list(name string, v []any, at place) any {
	list := make([]any, len(v))
	for i, item := range v {
		in := at
		if i > 0 {
			before, _ := v[i-1].(string)
			flag := strings.HasPrefix(before, "-")
			pair := len(v) == 2 && !nameOfSecret(item)
			in.secret = in.secret || (flag || pair) && nameOfSecret(strings.TrimLeft(before, "-"))
		}
		list[i] = s.value(name, item, in)
	}
	return list
}

// valueOfSecret reports whether a member has the value of a thing that another
// member names, as in {"name": "X-Api-Key", "value": "..."}.
func valueOfSecret(o map[string]any, member string) bool {
	switch squeeze(member) {
	case "value", "values", "content", "default":
	default:
		return false
	}
	for _, name := range []string{"name", "Name", "key", "Key", "header", "field", "param", "variable", "env"} {
		if nameOfSecret(o[name]) {
			return true
		}
	}
	return false
}

// partOfKey reports whether a member is a private part of a JSON Web Key
// (RFC 7518, section 6).
func partOfKey(o map[string]any, member string) bool {
	if _, ok := o["kty"].(string); !ok {
		return false
	}
	switch member {
	case "k", "d", "p", "q", "dp", "dq", "qi", "oth":
		return true
	}
	return false
}

// nameOfSecret reports whether a value is a name, and one of secrets.
func nameOfSecret(v any) bool {
	name, _ := v.(string)
	return name != "" && nameLike.FindString(name) == name && (secretName(name) || keyName(name))
}

// asksForSecret reports whether a placeholder or an expression stands for a secret, such as that
// of a header field.
func asksForSecret(v string) bool {
	return slices.ContainsFunc(nameLike.FindAllString(v, -1), secretName)
}

// text returns a string without its secrets.
func (s *Secrets) text(name, v string, at place) string {
	switch {
	case v == "" || onlyPlaceholders(v):
		return v
	case at.secret, len(v) > maxText:
		return s.hide(v)
	case keyName(name) && !harmlessKey(v):
		return s.hide(v)
	}
	if name == "expression" || name == "expr" {
		v = s.expression(v)
	}
	return s.words(v)
}
