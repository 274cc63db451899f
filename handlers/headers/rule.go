package headers

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Rule is what a site says about one response header field.
type Rule struct {
	// Field is the name of the field.
	Field string `json:"field"`

	// Action is set, which replaces what handlers inside send, default, which
	// adds the field where they send none, or remove. Default: set.
	Action string `json:"action,omitempty"`

	// Value to send. No placeholders.
	Value string `json:"value,omitempty"`

	// When limits the rule to some responses. Default: all.
	When When `json:"when,omitzero"`

	name   string // canonical
	field  field  // or fieldCount
	rule   string // name in records
	report bool
}

// When says which responses a rule is for: those that fit each list that is
// not empty.
type When struct {
	// Types of content: media types like text/html, or image/* for all of a
	// kind, or document, for what a browser may render, script, static, for
	// what static files usually are, and other.
	Types []string `json:"types,omitempty"`

	// Status codes: 404, or 2xx for a class.
	Status []string `json:"status,omitempty"`

	// Methods of the request.
	Methods []string `json:"methods,omitempty"`

	scopes scope
	static bool
	media  []string
	ranges [][2]int
}

// The actions of a rule.
const (
	actionSet     = "set"
	actionDefault = "default"
	actionRemove  = "remove"
)

// framing are fields that belong to the server, not to a policy.
var framing = []string{
	"Connection", "Content-Encoding", "Content-Length", "Content-Range", "Date", "Keep-Alive", "Set-Cookie", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Access-Control-Allow-Credentials", "Access-Control-Allow-Origin",
}

// provision prepares r and finds mistakes in it.
func (r *Rule) provision() error {
	r.name, r.field = http.CanonicalHeaderKey(r.Field), fieldCount
	if !isFieldName(r.Field) {
		return fmt.Errorf("%q is no name of a header field", r.Field)
	}
	for i := range fields {
		if fields[i].name == r.name {
			r.field = field(i)
		}
	}
	r.rule = boundRule(r.name)
	if r.Action == "" {
		r.Action = actionSet
	}
	if (r.field == csp || r.field == cspReport) && r.Action != actionRemove {
		return fmt.Errorf("%s %s: csp is for it", r.Action, r.name)
	}
	if slices.Contains(framing, r.name) {
		return fmt.Errorf("%s %s: the field is not for rules: it says how the response is sent, or cookies and cors are for it", r.Action, r.name)
	}
	switch r.Action {
	case actionSet, actionDefault:
		if err := checkValue(r.name, r.Value); err != nil {
			return fmt.Errorf("%s %s: %w", r.Action, r.name, err)
		}
		if _, leak := allLeaks[r.name]; leak {
			return fmt.Errorf("%s %s: the profiles remove this field", r.Action, r.name)
		}
	case actionRemove:
		if r.Value != "" {
			return fmt.Errorf("remove %s takes no value", r.name)
		}
	default:
		return fmt.Errorf("unknown action %q: there are set, default and remove", r.Action)
	}
	if err := r.When.provision(); err != nil {
		return fmt.Errorf("%s %s: %w", r.Action, r.name, err)
	}
	return nil
}

func (w *When) provision() error {
	w.scopes, w.static, w.media, w.ranges = 0, false, nil, nil
	for _, t := range w.Types {
		switch t = strings.ToLower(t); t {
		case "document":
			w.scopes |= document
		case "script":
			w.scopes |= script
		case "other":
			w.scopes |= other
		case "static":
			w.static = true
		default:
			kind, sub, ok := strings.Cut(t, "/")
			if !ok || !isFieldName(kind) || !isFieldName(sub) {
				return fmt.Errorf("type %q: it is no media type like text/html, nor document, script, static or other", t)
			}
			w.media = append(w.media, t)
		}
	}
	for _, s := range w.Status {
		lo, hi := s, s
		if class, ok := strings.CutSuffix(strings.ToLower(s), "xx"); ok {
			lo, hi = class+"00", class+"99"
		}
		from, err := strconv.Atoi(lo)
		to, err2 := strconv.Atoi(hi)
		if err != nil || err2 != nil || from < 100 || to > 599 {
			return fmt.Errorf("status %q: it is no status like 404, and no class like 2xx", s)
		}
		w.ranges = append(w.ranges, [2]int{from, to})
	}
	for _, m := range w.Methods {
		if !isFieldName(m) {
			return fmt.Errorf("%q is no method", m)
		}
	}
	return nil
}

// always tells whether w is no limit.
func (w *When) always() bool {
	return len(w.Types) == 0 && len(w.Status) == 0 && len(w.Methods) == 0
}

// fits tells whether a response is one of those.
func (w *When) fits(method string, status int, c content, contentType []string) bool {
	if len(w.Methods) > 0 && !slices.Contains(w.Methods, method) {
		return false
	}
	if len(w.ranges) > 0 && !slices.ContainsFunc(w.ranges, func(r [2]int) bool { return status >= r[0] && status <= r[1] }) {
		return false
	}
	if len(w.Types) == 0 || w.scopes&c.scope != 0 || w.static && c.static {
		return true
	}
	if len(w.media) == 0 || len(contentType) != 1 {
		return false
	}
	media, _, _ := strings.Cut(contentType[0], ";")
	media = strings.TrimSpace(media)
	return slices.ContainsFunc(w.media, func(m string) bool {
		if kind, all := strings.CutSuffix(m, "*"); all {
			return hasPrefixFold(media, kind)
		}
		return strings.EqualFold(m, media)
	})
}

// follow applies a site's rule to a response.
func (e *enforcement) follow(h http.Header, i int, status int, c content) {
	r := &e.policy.custom[i]
	if !r.When.always() && !r.When.fits(e.method, status, c, h["Content-Type"]) {
		return
	}
	sent := h[r.name]
	e.stored = e.stored || r.field == cacheControl && !r.report
	switch r.Action {
	case actionRemove:
		if len(sent) > 0 {
			e.find(r.rule, r.report, r.name, sent[0])
			if !r.report {
				delete(h, r.name)
			}
		}
	case actionDefault:
		if len(sent) == 0 && !c.bare && e.adds(r) {
			e.place(h, r, i)
		}
	default:
		if len(sent) == 1 && sent[0] == r.Value || len(sent) == 0 && (c.bare || !e.adds(r)) {
			return
		}
		if len(sent) > 0 {
			e.find(r.rule, r.report, r.name, sent[0])
		}
		if !r.report {
			e.place(h, r, i)
		}
	}
}

// removed removes a field, which is sent as key, from what is not the header of the
// response if the site removes it from all responses.
func (e *enforcement) removed(h http.Header, key, name string) bool {
	for i := range e.policy.custom {
		r := &e.policy.custom[i]
		if r.name == name && r.Action == actionRemove && !r.report && r.When.always() {
			e.find(r.rule, false, name, first(h[key]))
			delete(h, key)
			return true
		}
	}
	return false
}

// adds tells whether a missing field is added, and reports it otherwise.
func (e *enforcement) adds(r *Rule) bool {
	if r.report {
		e.find(r.rule, true, "", "")
	}
	return !r.report
}

// place puts the value of the i-th rule of the site into the header.
func (e *enforcement) place(h http.Header, r *Rule, i int) {
	if i < 64 {
		e.placed |= 1 << i
	}
	if r.field < fieldCount {
		e.set(h, r.field, r.Value)
		return
	}
	h[r.name] = []string{r.Value}
}

// checkValue finds mistakes in the value of a field.
func checkValue(name, value string) error {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			return fmt.Errorf("byte %#02x at position %d cannot be sent in a header", c, i)
		}
	}
	if value == "" || strings.TrimSpace(value) != value {
		return errors.New("the value is empty, or begins or ends with a space")
	}
	if known := values[name]; known != nil {
		if !containsFold(known, value) {
			return fmt.Errorf("unknown value %q: there are %s", value, strings.Join(known, ", "))
		}
		return nil
	}
	switch name {
	case fields[hsts].name:
		return checkHSTS(value)
	case fields[referrer].name:
		for policy := range strings.SplitSeq(value, ",") {
			if !containsFold(referrerPolicies, strings.TrimSpace(policy)) {
				return fmt.Errorf("unknown policy %q: there are %s", strings.TrimSpace(policy), strings.Join(referrerPolicies, ", "))
			}
		}
	case fields[csp].name, fields[cspReport].name:
		_, err := parseCSP(value)
		return err
	case fields[permissions].name:
		return checkPermissions(value)
	}
	return nil
}

// values are those that fields with a fixed list may have.
var values = map[string][]string{
	fields[nosniff].name:      {"nosniff"},
	fields[frameOptions].name: {"DENY", "SAMEORIGIN"},
	fields[crossDomain].name:  {"none", "master-only", "by-content-type", "by-ftp-filename", "all", "none-this-response"},
	fields[opener].name:       {"unsafe-none", "same-origin-allow-popups", "same-origin", "noopener-allow-popups"},
	fields[embedder].name:     {"unsafe-none", "require-corp", "credentialless"},
	fields[resource].name:     {"same-site", "same-origin", "cross-origin"},
	fields[dnsPrefetch].name:  {"on", "off"},
	"Origin-Agent-Cluster":    {"?0", "?1"},
	"X-Download-Options":      {"noopen"},
}

var referrerPolicies = []string{
	"no-referrer", "no-referrer-when-downgrade", "same-origin", "origin", "strict-origin", "origin-when-cross-origin",
	"strict-origin-when-cross-origin", "unsafe-url",
}

// checkHSTS wants what RFC 6797 does, and for preload what the list of
// browsers asks for.
func checkHSTS(value string) error {
	age, subs, ok := parseHSTS(value)
	if !ok || age < 0 {
		return errors.New("it needs one max-age in seconds")
	}
	for part := range strings.SplitSeq(value, ";") {
		name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !containsFold([]string{"max-age", "includeSubDomains", "preload"}, name) {
			return fmt.Errorf("unknown directive %q", name)
		}
		if strings.EqualFold(name, "preload") && (!subs || age < 31536000) {
			return errors.New("preload needs includeSubDomains and a max-age of at least 31536000")
		}
	}
	return nil
}

// checkPermissions wants a list of feature=(allowlist).
func checkPermissions(value string) error {
	for part := range strings.SplitSeq(value, ",") {
		name, list, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || !isFieldName(name) {
			return fmt.Errorf("%q is no feature=(allowlist)", strings.TrimSpace(part))
		}
		if list == "*" || list == "self" {
			continue
		}
		inner, ok := strings.CutPrefix(list, "(")
		inner, ok2 := strings.CutSuffix(inner, ")")
		if !ok || !ok2 {
			return fmt.Errorf("%s: the allowlist %q is not in brackets", name, list)
		}
		for origin := range strings.FieldsSeq(inner) {
			if origin != "self" && origin != "src" && origin != "*" && (len(origin) < 3 || origin[0] != '"' || origin[len(origin)-1] != '"') {
				return fmt.Errorf("%s: %s is neither self nor an origin in double quotes", name, origin)
			}
		}
	}
	return nil
}
