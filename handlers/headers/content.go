package headers

import (
	"net/http"
	"strings"
)

// scope is a set of kinds of content.
type scope uint8

// The kinds of content.
const (
	document scope = 1 << iota // a browser may render it: HTML, SVG, XML, PDF, unknown
	script                     // a browser may run it as a worker, under its own policy
	other

	anything = document | script | other
)

// content is what a response is, as far as rules depend on it.
type content struct {
	scope  scope
	static bool // a type that static files have: style, script, font, image, …

	// bare is a response whose header is not that of a representation: 101,
	// or 304, which updates what the client stored (RFC 9111 section 4.3.4).
	// What is missing was sent before, or is not wanted.
	bare bool
}

// classify tells what is sent from its status and Content-Type.
func classify(status int, types []string) content {
	switch status {
	case http.StatusSwitchingProtocols:
		return content{bare: true}
	case http.StatusNotModified:
		return content{scope: document | script, bare: true}
	}
	// Without a type net/http or the browser will guess. Of several, in one
	// line as well, browsers take the last that they know (Fetch section 2.2.2).
	if len(types) != 1 || strings.IndexByte(types[0], ',') >= 0 {
		return content{scope: document}
	}
	media, _, _ := strings.Cut(types[0], ";")
	media = strings.ToLower(strings.TrimSpace(media))
	kind, sub, ok := strings.Cut(media, "/")
	if !ok {
		return content{scope: document}
	}
	return content{scope: scopeOf(kind, sub, media), static: isStatic(kind, sub)}
}

// retype follows the rules of the site about the type, and tells what is sent.
func (e *enforcement) retype(h http.Header, status int) content {
	c := classify(status, h[contentType])
	if !e.policy.named[contentType] {
		return c
	}
	for i := range e.policy.custom {
		if e.policy.custom[i].name == contentType {
			e.follow(h, i, status, c)
		}
	}
	return classify(status, h[contentType])
}

const contentType = "Content-Type"

func scopeOf(kind, sub, media string) scope {
	if isScript(sub) {
		return script
	}
	if sub == "xml" || strings.HasSuffix(sub, "+xml") { // XHTML, SVG, feeds with a style sheet
		return document
	}
	switch media {
	case "text/html", "application/pdf", "multipart/x-mixed-replace",
		"text/xsl", // XML, to Chromium
		// These ask the browser to guess (MIME Sniffing section 7).
		"unknown/unknown", "application/unknown", "*/*":
		return document
	}
	return other
}

// isScript tells whether sub is a JavaScript subtype (RFC 9239), under text/
// or application/.
func isScript(sub string) bool {
	switch sub {
	case "javascript", "x-javascript", "ecmascript", "x-ecmascript":
		return true
	}
	return false
}

func isStatic(kind, sub string) bool {
	switch kind {
	case "font", "image", "video", "audio":
		return true
	}
	switch sub {
	case "css", "wasm", "font-woff", "font-woff2", "x-font-ttf", "x-font-otf", "vnd.ms-fontobject":
		return true
	}
	return isScript(sub)
}
