package headers

// advice says for each rule what is at stake and what to do.
var advice = map[string]string{
	"hsts":                  "Without it, or while it is short, a browser may be led to plaintext. Serve it over TLS on every response; add includeSubDomains once all hosts below have TLS.",
	"nosniff":               "Browsers may take a file for a script or a page, whatever its Content-Type says. Send nosniff everywhere.",
	"frame-options":         "Other sites may show the page in a frame and have users click in it. Send DENY, or SAMEORIGIN if the site frames itself.",
	"cross-domain-policies": "Old plugins look for policies of the site. Send none.",
	"referrer-policy":       "Addresses of pages, with what is in them, reach other sites. Send no-referrer or strict-origin-when-cross-origin.",
	"csp":                   "Injected scripts may run, load and send what they like. Name the sources that the pages need; try a stricter policy with csp report_only and reports_to before it is enforced; inline scripts can be given nonces with soc2_nonces.",
	"csp-report-only":       "The policy that is only reported on is another one than the profile's.",
	"permissions-policy":    "Scripts, also those in frames, may ask for devices and features that the page does not use. Switch those off.",
	"coop":                  "A page that opens this one, or that it opens, keeps a handle of its window. Send same-origin, or same-origin-allow-popups where users log in through a popup.",
	"coep":                  "Without it the page is not isolated from what it loads. Send require-corp once all that it loads allows that.",
	"corp":                  "Other sites may load the resource into their pages. Send same-origin, or cross-origin for what is meant for them.",
	"dns-prefetch":          "Browsers may ask for the addresses of links before users follow them. Send off.",
	"cache-control":         "Caches may keep what is for one client. Send no-store on what is not a static file.",
	cookieRule:              "Cookies can be read on plaintext connections, by scripts, or sent along with requests of other sites. Set Secure, HttpOnly unless a script needs it, and SameSite; a name with __Host- needs Path=/ and no Domain.",
	"cors:origin":           "Scripts of other origins may read the response. Name the origins with cors instead of repeating what a request says.",
	"cors:credentials":      "Scripts of other origins may read the response to a logged-in user. Name the origins with cors and allow credentials to those alone.",
	leaksRule:               "It tells which programs and versions serve the site. The profile removes it; better still, switch it off where it is made.",
	valuesRule:              "The value has control characters, is too long, or the field is sent more than once. Mend it where it is made.",
}
