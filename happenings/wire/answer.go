package wire

import (
	"crypto/tls"
	"net/http"
	"strconv"
	"strings"
)

// minAnswer is less than any response takes, and more than a TLS alert or key
// update does.
const minAnswer = 64

// peekStatus returns the status of a response whose first bytes are b, or 0 if
// they are not the head of an HTTP/1 response.
func peekStatus(b []byte) int {
	const at = len("HTTP/1.x ")
	if len(b) < at+3 || string(b[:7]) != "HTTP/1." || b[at-1] != ' ' {
		return 0
	}
	status := 0
	for _, d := range b[at : at+3] {
		if d < '0' || d > '9' {
			return 0
		}
		status = status*10 + int(d-'0')
	}
	return status
}

// answer is a response that net/http makes by itself.
type answer struct {
	status int
	text   string // that tells apart what has the same status
	size   int    // bytes
}

// versionRefused is net/http's answer to another version of HTTP.
const versionRefused = "HTTP/1.1 505 HTTP Version Not Supported: unsupported protocol version\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"505 HTTP Version Not Supported: unsupported protocol version"

// answers are the responses that net/http's server writes without a handler.
// Beneath TLS nothing shows but how long a record is: their sizes tell them
// apart. A test gets each of them from a server.
var answers = func() []answer {
	const plain = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
	var list []answer
	add := func(status int, text, whole string) {
		list = append(list, answer{status, text, len(whole)})
	}
	short := func(status int, line string) { add(status, "", "HTTP/1.1 "+line+plain+line) }
	short(http.StatusBadRequest, "400 Bad Request")
	short(http.StatusRequestHeaderFieldsTooLarge, "431 Request Header Fields Too Large")
	add(http.StatusNotImplemented, "", "HTTP/1.1 501 Not Implemented"+plain+"Unsupported transfer encoding")
	for _, text := range []string{
		"missing required Host header", "malformed Host header", "invalid header name", "invalid header value",
	} {
		line := "400 Bad Request: " + text
		add(http.StatusBadRequest, text, "HTTP/1.1 "+line+plain+line)
	}
	add(http.StatusHTTPVersionNotSupported, "", versionRefused)
	const empty = "\r\nDate: " + http.TimeFormat + "\r\nContent-Length: 0\r\n"
	for _, conn := range []string{"", "Connection: close\r\n", "Connection: keep-alive\r\n"} {
		add(http.StatusOK, "", "HTTP/1.1 200 OK"+empty+conn+"\r\n")
	}
	add(http.StatusExpectationFailed, "", "HTTP/1.1 417 Expectation Failed"+empty+"Connection: close\r\n\r\n")
	return list
}()

// bySize finds a response by the size of the first record or segment that has
// it. Of a response that none is like it returns the zero answer.
func bySize(size int, overhead func(size int) int) answer {
	for _, a := range answers {
		if a.size+overhead(a.size) == size {
			return a
		}
	}
	return answer{}
}

func noOverhead(int) int { return 0 }

// overheadOf returns how much longer a TLS record is than what it holds.
func overheadOf(version, suite uint16) func(size int) int {
	const mac = 16
	switch {
	case version == tls.VersionTLS13: // RFC 8446, section 5.2: a byte for the type
		return func(int) int { return recordHead + 1 + mac }
	case suite == tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 || suite == tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return func(int) int { return recordHead + mac }
	case strings.Contains(tls.CipherSuiteName(suite), "_GCM_"): // RFC 5288, section 3: an explicit nonce
		return func(int) int { return recordHead + 8 + mac }
	}
	return func(int) int { return -1 << 20 } // block ciphers: no size tells
}

// reasonFor is the reason that a response of net/http or of Caddy, made before
// any handler, is counted under.
func reasonFor(status int, known bool) Reason {
	switch {
	case status == http.StatusBadRequest:
		return Malformed
	case status == http.StatusExpectationFailed:
		return ExpectationFailed
	case status == http.StatusRequestHeaderFieldsTooLarge:
		return HeadTooLarge
	case status == http.StatusNotImplemented:
		return TransferEncoding
	case status == http.StatusHTTPVersionNotSupported:
		return Version
	case status == http.StatusOK && known:
		return OptionsAsterisk
	}
	return AnsweredBeforeHandler
}

// describe is the example of a response.
func (a answer) describe() string {
	if a.status == 0 {
		return ""
	}
	s := strconv.Itoa(a.status) + " " + http.StatusText(a.status)
	if a.text != "" {
		s += ": " + a.text
	}
	return s
}
