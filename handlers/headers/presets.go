package headers

// The profiles.
const (
	// Baseline is safe in front of an application that nobody checked.
	Baseline = "baseline"
	// Strict is for a site whose pages load only their own resources.
	Strict = "strict"
	// API is for a service that renders no pages.
	API = "api"
)

// Known tells whether there is a profile of that name.
func Known(profile string) bool {
	return presets[profile] != nil
}

// presets make the policy of each profile around a Content-Security-Policy.
var presets = map[string]func(c policies) *policy{
	Baseline: baseline,
	Strict:   strict,
	API:      api,
}

// Of each profile: its Content-Security-Policy, and the one where nonces are on.
var presetCSP = map[string][2]policyText{
	Baseline: {mustParse(baselineCSP), mustParse(baselineNonceCSP)},
	Strict:   {mustParse(strictCSP), mustParse(strictNonceCSP)},
	API:      {mustParse(apiCSP), mustParse(apiCSP)},
}

func mustParse(s string) policyText {
	p, err := parseCSP(s)
	if err != nil {
		panic(err)
	}
	return p
}

const (
	upgrade = "; upgrade-insecure-requests"

	baselineCSP = "base-uri 'self'; object-src 'none'; frame-ancestors 'self'; form-action 'self'" + upgrade

	// A script that a nonce admits may load others, as unknown applications do.
	// Browsers that know no 'strict-dynamic' use what follows it.
	baselineNonceCSP = "base-uri 'self'; object-src 'none'; frame-ancestors 'self'; form-action 'self'; " +
		"script-src 'nonce' 'strict-dynamic' 'unsafe-inline' https:; worker-src 'self' blob: data:" + upgrade

	strictNonceCSP = "default-src 'none'; script-src 'self' 'nonce'; style-src 'self' 'nonce'; img-src 'self'; font-src 'self'; " +
		"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; " +
		"frame-ancestors 'none'; object-src 'none'" + upgrade

	strictCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
		"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; " +
		"frame-ancestors 'none'; object-src 'none'" + upgrade

	inertCSP = "default-src 'none'; frame-ancestors 'none'"

	apiCSP = inertCSP + "; base-uri 'none'; form-action 'none'"

	baselinePermissions = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

	// strictPermissions is what the OWASP Secure Headers Project proposed on
	// 2026-07-19. Browsers ignore what they do not know.
	strictPermissions = "accelerometer=(), autoplay=(), camera=(), cross-origin-isolated=(), display-capture=(), " +
		"encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), keyboard-map=(), magnetometer=(), " +
		"microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), " +
		"screen-wake-lock=(), sync-xhr=(self), usb=(), web-share=(), xr-spatial-tracking=(), clipboard-read=(), " +
		"clipboard-write=(), gamepad=(), hid=(), idle-detection=(), interest-cohort=(), serial=(), unload=()"

	oneYear  = "max-age=31536000"
	twoYears = "max-age=63072000; includeSubDomains"

	noStore        = "no-store"
	privateNoStore = "private, no-store"

	reportingEndpoints = "Reporting-Endpoints"
)

// policies are the Content-Security-Policies that a profile sends.
type policies struct {
	enforced rule // without field, scope and accept
	report   rule // no value: none
	site     bool // the site gave the enforced one
}

func (c *policies) rule(s scope, accept func(string) bool) rule {
	r := c.enforced
	r.field, r.scope, r.accept = csp, s, accept
	return r
}

// reporting returns the rule for the policy that is only reported on, if any.
func (c *policies) reporting(s scope, accept func(string) bool) []rule {
	if c.report.value == "" {
		return nil
	}
	r := c.report
	r.field, r.scope, r.accept = cspReport, s, accept
	return []rule{r}
}

func baseline(c policies) *policy {
	always := []rule{
		transport(oneYear),
		everywhere(nosniff, anything, "nosniff", oneOf("nosniff")),
		everywhere(frameOptions, anything, "SAMEORIGIN", oneOf("SAMEORIGIN", "DENY")),
		everywhere(crossDomain, anything, "none", oneOf("none")),
		everywhere(referrer, anything, "strict-origin-when-cross-origin",
			referrerOneOf("no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin")),
	}
	accept := whatever
	if c.site {
		accept = nil
	}
	scoped := append([]rule{c.rule(document, accept)}, c.reporting(document, whatever)...)
	scoped = append(scoped,
		everywhere(permissions, document, baselinePermissions, whatever),
		// Popups of an identity provider keep their opener.
		everywhere(opener, document, "same-origin-allow-popups", whatever),
		rule{field: resource, scope: anything, value: "same-origin", plain: "same-origin", accept: whatever, cors: true},
	)
	return newPolicy(Baseline, always, scoped, &policy{
		leaks: unreadLeaks, cache: noStoreAuthenticated, cors: corsRules{report: true},
		cookies: cookieRules{sameSite: sameSiteLax},
	})
}

func strict(c policies) *policy {
	scoped := append([]rule{c.rule(document|script, nil)}, c.reporting(document, nil)...)
	scoped = append(scoped,
		everywhere(csp, other, inertCSP, nil),
		everywhere(permissions, document, strictPermissions, nil),
		everywhere(opener, document, "same-origin", oneOf("same-origin")),
		// A worker is refused unless its script, too, requires CORP.
		everywhere(embedder, document|script, "require-corp", oneOf("require-corp")),
		everywhere(resource, anything, "same-origin", oneOf("same-origin")),
		everywhere(dnsPrefetch, document, "off", oneOf("off")),
	)
	return newPolicy(Strict, unframed(), scoped, &policy{
		leaks:   allLeaks,
		cookies: cookieRules{httpOnly: true, prefix: true, sameSite: sameSiteLax},
		cache:   noStoreDynamic,
	})
}

func api(c policies) *policy {
	scoped := append([]rule{c.rule(anything, nil)}, c.reporting(document, nil)...)
	scoped = append(scoped,
		rule{field: resource, scope: anything, value: "same-origin", plain: "same-origin", accept: oneOf("same-origin"), cors: true},
	)
	return newPolicy(API, unframed(), scoped, &policy{
		leaks:   allLeaks,
		cookies: cookieRules{report: true, sameSite: sameSiteLax},
		cache:   noStoreAll,
		cors:    corsRules{reflect: true},
	})
}

const sameSiteLax = "; SameSite=Lax"

// unframed holds the rules that strict and api apply to every response.
func unframed() []rule {
	return []rule{
		transport(twoYears),
		everywhere(nosniff, anything, "nosniff", oneOf("nosniff")),
		everywhere(frameOptions, anything, "DENY", oneOf("DENY")),
		everywhere(crossDomain, anything, "none", oneOf("none")),
		everywhere(referrer, anything, "no-referrer", referrerOneOf("no-referrer")),
	}
}

func newPolicy(profile string, always, scoped []rule, p *policy) *policy {
	for i := range always {
		always[i].always = true
	}
	p.profile, p.always = profile, len(always)
	p.rules = append(always, scoped...)
	return p
}

// transport makes the rule for Strict-Transport-Security, which is for TLS
// only (RFC 6797 section 7.2). Over plaintext an upstream's own stays:
// browsers ignore it there, and there may be TLS in front of us.
func transport(value string) rule {
	return rule{field: hsts, scope: anything, value: value, accept: atLeastHSTS(value)}
}
