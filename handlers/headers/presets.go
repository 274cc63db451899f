package headers

import "strings"

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

// presets make the policy of each profile. A policy given for the site takes
// the place of the profile's Content-Security-Policy.
var presets = map[string]func(site string) *policy{
	Baseline: baseline,
	Strict:   strict,
	API:      api,
}

const (
	upgrade = "; upgrade-insecure-requests"

	baselineCSP = "base-uri 'self'; object-src 'none'; frame-ancestors 'self'; form-action 'self'" + upgrade

	strictCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
		"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; " +
		"frame-ancestors 'none'; object-src 'none'" + upgrade

	inertCSP = "default-src 'none'; frame-ancestors 'none'"

	apiCSP = inertCSP + "; base-uri 'none'; form-action 'none'"

	baselinePermissions = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

	// strictPermissions is what the OWASP Secure Headers Project proposed on
	// 2026-07-19, without interest-cohort, which no browser knows any more.
	strictPermissions = "accelerometer=(), autoplay=(), camera=(), cross-origin-isolated=(), display-capture=(), " +
		"encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), keyboard-map=(), magnetometer=(), " +
		"microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), " +
		"screen-wake-lock=(), sync-xhr=(self), usb=(), web-share=(), xr-spatial-tracking=(), clipboard-read=(), " +
		"clipboard-write=(), gamepad=(), hid=(), idle-detection=(), serial=(), unload=()"

	oneYear  = "max-age=31536000"
	twoYears = "max-age=63072000; includeSubDomains"

	noStore = "no-store"
)

func baseline(site string) *policy {
	always := []rule{
		transport(oneYear),
		everywhere(nosniff, anything, "nosniff", oneOf("nosniff")),
		everywhere(frameOptions, anything, "SAMEORIGIN", oneOf("SAMEORIGIN", "DENY")),
		everywhere(crossDomain, anything, "none", oneOf("none")),
		everywhere(referrer, anything, "strict-origin-when-cross-origin",
			referrerOneOf("no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin")),
	}
	scoped := []rule{
		contentSecurity(csp, document, baselineCSP, whatever),
		contentSecurity(cspReport, document, strictReport, whatever),
		everywhere(permissions, document, baselinePermissions, whatever),
		// Popups of an identity provider keep their opener.
		everywhere(opener, document, "same-origin-allow-popups", whatever),
		{field: resource, scope: anything, value: "same-origin", plain: "same-origin", accept: whatever, cors: true},
	}
	if site != "" {
		scoped = append([]rule{everywhere(csp, document, site, nil)}, scoped[2:]...)
	}
	return newPolicy(Baseline, always, scoped, &policy{leaks: unreadLeaks, cache: noStoreAuthenticated})
}

func strict(site string) *policy {
	scoped := []rule{
		contentSecurity(csp, document|script, strictCSP, nil),
		everywhere(csp, other, inertCSP, nil),
		everywhere(permissions, document, strictPermissions, nil),
		everywhere(opener, document, "same-origin", oneOf("same-origin")),
		// A worker is refused unless its script, too, requires CORP.
		everywhere(embedder, document|script, "require-corp", oneOf("require-corp")),
		everywhere(resource, anything, "same-origin", oneOf("same-origin")),
	}
	if site != "" {
		scoped[0] = everywhere(csp, document|script, site, nil)
	}
	return newPolicy(Strict, unframed(), scoped, &policy{
		leaks:   allLeaks,
		cookies: cookieRules{httpOnly: true, prefix: true},
		cache:   noStoreDynamic,
	})
}

func api(site string) *policy {
	if site == "" {
		site = apiCSP
	}
	scoped := []rule{
		everywhere(csp, anything, site, nil),
		{field: resource, scope: anything, value: "same-origin", plain: "same-origin", accept: oneOf("same-origin"), cors: true},
	}
	return newPolicy(API, unframed(), scoped, &policy{
		leaks:   allLeaks,
		cookies: cookieRules{report: true},
		cache:   noStoreAll,
	})
}

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

// contentSecurity makes the rule for a Content-Security-Policy. Over
// plaintext it does not have the browser ask for https, where a site that is
// served only over plaintext has nothing.
func contentSecurity(f field, s scope, value string, accept func(string) bool) rule {
	return rule{field: f, scope: s, value: value, plain: strings.TrimSuffix(value, upgrade), accept: accept}
}

// strictReport is the policy that baseline only reports on: upgrading is
// not possible there (Upgrade Insecure Requests section 3.1).
var strictReport = strings.TrimSuffix(strictCSP, upgrade)
