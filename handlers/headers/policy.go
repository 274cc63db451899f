package headers

// field is a response header field that a profile governs.
type field int

// The governed fields.
const (
	hsts field = iota
	nosniff
	frameOptions
	crossDomain
	referrer
	csp
	cspReport
	permissions
	opener
	embedder
	resource
	dnsPrefetch
	cacheControl
	fieldCount
)

// fields names each field on the wire and in the audit record. More than one
// line of a field with list set is legitimate (RFC 9110 section 5.3).
var fields = [fieldCount]struct {
	name string
	rule string
	list bool
}{
	hsts:         {"Strict-Transport-Security", "hsts", false},
	nosniff:      {"X-Content-Type-Options", "nosniff", false},
	frameOptions: {"X-Frame-Options", "frame-options", false},
	crossDomain:  {"X-Permitted-Cross-Domain-Policies", "cross-domain-policies", false},
	referrer:     {"Referrer-Policy", "referrer-policy", true},
	csp:          {"Content-Security-Policy", "csp", true},
	cspReport:    {"Content-Security-Policy-Report-Only", "csp-report-only", true},
	permissions:  {"Permissions-Policy", "permissions-policy", true},
	opener:       {"Cross-Origin-Opener-Policy", "coop", false},
	embedder:     {"Cross-Origin-Embedder-Policy", "coep", false},
	resource:     {"Cross-Origin-Resource-Policy", "corp", false},
	dnsPrefetch:  {"X-Dns-Prefetch-Control", "dns-prefetch", false},
	cacheControl: {"Cache-Control", "cache-control", true},
}

// governed maps the names of fields that are judged to themselves, to find
// those that a handler put into the header map in another spelling.
var governed = func() map[string]bool {
	m := map[string]bool{
		"Set-Cookie": true, "Content-Type": true, "Trailer": true, allowOrigin: true, allowCredentials: true,
	}
	for _, f := range fields {
		m[f.name] = true
	}
	return m
}()

// rule says what one field has to be.
type rule struct {
	field field
	scope scope // the content it is for

	value string // over TLS
	plain string // over plaintext; empty: nothing is sent or judged

	// The same in responses that have a nonce; nil if there are none. For
	// documents only.
	nonced, plainNonced template

	// accept tells whether another value is at least as strong as ours and
	// may stay. Nil accepts none.
	accept func(string) bool

	cors   bool // responses that are meant for other origins are left out
	always bool // see policy.always
	report bool // nothing is changed
}

// policy is what the instances of the handler around a request say together,
// made ready for requests. It does not change.
type policy struct {
	profile string

	// The first always rules hold for every final response, 101 and 304
	// included. They are set before the next handler runs, too.
	rules  []rule
	always int

	custom []Rule          // of the site, after those of the profile
	bounds []Bound         // of the outcome
	named  map[string]bool // fields that those are about; nil for none

	leaks   leaks
	cookies cookieRules
	cors    corsRules
	cache   cacheRule

	nonce     nonceRule
	endpoints string // value of Reporting-Endpoints; empty for none

	reports func(rule string) bool // tells whether a rule only reports

	only reportOnly

	layers []*Handler // it was made of, outermost first
}

// reportOnly tells which rules that are no fields only report.
type reportOnly struct{ leaks, cookies, cache, values bool }

// cookieRules says what happens to Set-Cookie.
type cookieRules struct {
	report   bool // a cookie is a finding, and stays as it is
	httpOnly bool // keep cookies from scripts
	prefix   bool // drop cookies that break the rules of their name prefix
	readable []string
	sameSite string // "; SameSite=…" for cookies without
}

// cacheRule says which responses nobody may store.
type cacheRule int

// The cache rules.
const (
	noStoreAuthenticated cacheRule = iota // those to an authenticated client
	noStoreDynamic                        // all but static content with a Cache-Control of its own
	noStoreAll
	noStoreNever
)

// everywhere makes a rule that holds over TLS and over plaintext.
func everywhere(f field, s scope, value string, accept func(string) bool) rule {
	return rule{field: f, scope: s, value: value, plain: value, accept: accept}
}
