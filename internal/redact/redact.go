// Package redact takes the secrets out of a server's configuration and of texts
// that quote it.
//
// A secret is replaced by a keyed token: the same secret has the same token, so
// that one sees whether it changed and where else it is used, and nobody
// without the key can try out guesses. What is a secret is told by the name it
// goes by (password, api_token, Authorization, …), by the place where it stands
// (everything in a DNS provider) and, for fields of modules that nobody knows,
// by its looks: private keys, password hashes, tokens of known services, long
// random strings, passwords in URLs. Placeholders such as {env.TOKEN} are no
// secrets.
//
// The rules err on the side of hiding. A short secret under a name that says
// nothing, say {"greeting": "hunter2"}, cannot be told from other words.
package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Key makes tokens. It is itself a secret: who has it can try out guesses.
type Key []byte

// tokenBytes is the size of a token's keyed hash: two secrets with one token
// are not to be expected.
const tokenBytes = 12

// Token returns what stands for a secret.
func (k Key) Token(secret string) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(secret))
	return "[secret " + hex.EncodeToString(mac.Sum(nil)[:tokenBytes]) + "]"
}

// Secrets are the secrets that were found, to take them out of other texts.
type Secrets struct {
	key   Key
	found map[string]string // token by secret
}

// NewSecrets returns an empty set.
func (k Key) NewSecrets() *Secrets { return &Secrets{k, map[string]string{}} }

// hide returns the token of a secret and remembers the secret.
func (s *Secrets) hide(secret string) string {
	token, ok := s.found[secret]
	if !ok {
		token = s.key.Token(secret)
		s.found[secret] = token
	}
	return token
}

// Add adds the secrets of another set with the same key. It may be nil.
func (s *Secrets) Add(other *Secrets) {
	if other != nil {
		maps.Copy(s.found, other.found)
	}
}

// Len is how many different secrets were found.
func (s *Secrets) Len() int { return len(s.found) }

// Document returns a copy of a JSON document (nil, bool, json.Number, string,
// []any, map[string]any) without its secrets, which it adds to s. The copy
// depends on the document and the key alone.
func (s *Secrets) Document(doc any) any {
	own := s.key.NewSecrets()
	out := own.repeated(own.value("", doc, place{}))
	maps.Copy(s.found, own.found)
	return out
}

// The secrets that are looked for in the rest of a document: those that are too
// long to be words, and not more than can be looked for.
const (
	minRepeated = 6
	maxRepeated = 1000
)

// repeated returns a document without the secrets that stand in it once more
// under a name that says nothing.
func (s *Secrets) repeated(doc any) any {
	var pairs []string
	for _, secret := range s.longestFirst() {
		if len(secret) >= minRepeated && len(secret) <= maxText && len(pairs) < 2*maxRepeated && !isNumber(secret) {
			pairs = append(pairs, secret, s.found[secret])
		}
	}
	if len(pairs) == 0 {
		return doc
	}
	return replaceAll(doc, strings.NewReplacer(pairs...))
}

func isNumber(v string) bool {
	return !strings.ContainsFunc(v, func(r rune) bool { return r < '0' || r > '9' })
}

func replaceAll(v any, r *strings.Replacer) any {
	switch v := v.(type) {
	case map[string]any:
		o := make(map[string]any, len(v))
		for name, value := range v {
			o[r.Replace(name)] = replaceAll(value, r)
		}
		return o
	case []any:
		for i, item := range v { // a copy already
			v[i] = replaceAll(item, r)
		}
		return v
	case string:
		return r.Replace(v)
	}
	return v
}

// longestFirst returns the secrets in an order in which one that is part of
// another comes after it.
func (s *Secrets) longestFirst() []string {
	return slices.SortedFunc(maps.Keys(s.found), func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
}

// maxText is the length of the longest text in a document that is looked
// through. A longer one, such as a page that is built in, is replaced whole.
const maxText = 64 << 10

// place says where in the document a value stands.
type place struct {
	secret   bool // below a name of secrets
	dns      bool // in a DNS challenge
	provider bool // in a DNS provider
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
	}
	p.secret = p.secret || secretName(name)
	return p
}

func (s *Secrets) value(name string, v any, at place) any {
	switch v := v.(type) {
	case map[string]any:
		o := make(map[string]any, len(v))
		for member, value := range v {
			o[s.words(member)] = s.value(member, value, at.inside(member))
		}
		return o
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = s.value(name, item, at)
		}
		return list
	case json.Number:
		if at.secret {
			return s.hide(v.String())
		}
	case string:
		return s.text(name, v, at)
	}
	return v
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
	return s.words(v)
}

// minScrubbed is the length of the shortest secret that is looked for in texts:
// shorter ones are in too many words.
const minScrubbed = 3

// Scrub returns a text without the secrets that were found so far, as they are
// and as JSON and Go write them in quotes, and without what looks like one.
func (s *Secrets) Scrub(text string) string {
	for _, secret := range s.longestFirst() {
		if len(secret) < minScrubbed || len(secret) > len(text) {
			continue
		}
		for _, spelled := range spellings(secret) {
			text = strings.ReplaceAll(text, spelled, s.found[secret])
		}
	}
	return s.words(text)
}

// spellings are the ways in which messages quote a string.
func spellings(secret string) []string {
	list := []string{secret}
	if b, err := json.Marshal(secret); err == nil {
		list = append(list, string(b[1:len(b)-1]))
	}
	quoted := strconv.Quote(secret)
	list = append(list, quoted[1:len(quoted)-1])
	slices.Sort(list)
	return slices.Compact(list)
}

// Quoted returns a message about a text that could not be read, so that nobody
// knows what in it is secret: words that the message has from it are replaced,
// unless they are known to be harmless.
func (s *Secrets) Quoted(message, source string, harmless func(word string) bool) string {
	var b strings.Builder
	for message != "" {
		n := strings.IndexFunc(message, wordBreak)
		if n < 0 {
			n = len(message)
		}
		word := message[:n]
		if n >= minScrubbed && !harmless(word) && strings.Contains(source, word) {
			word = s.hide(word)
		}
		b.WriteString(word)
		message = message[n:]
		if n = strings.IndexFunc(message, func(r rune) bool { return !wordBreak(r) }); n < 0 {
			n = len(message)
		}
		b.WriteString(message[:n])
		message = message[n:]
	}
	return s.Scrub(b.String())
}

// wordBreak holds for what stands between the words of a message.
func wordBreak(r rune) bool { return r <= ' ' || strings.ContainsRune("\"'`,;()[]{}<>", r) }
