package rules

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What makes a path one that programs read differently, as bits.
const (
	flagUpper     = 1 << iota // capital letters
	flagSlashes               // two slashes in a row
	flagHost                  // two at the beginning, which URL parsers take for a host's
	flagTail                  // a segment that ends in a dot or a space, which Windows drops
	flagText                  // characters other than ASCII
	flagSemicolon             // parameters of a segment, as servlets have them
	flagBackslash             // a slash to Windows
	flagPercent               // what would change if it were decoded again
	flagDelimiter             // a decoded ? or #
	flagEncoded               // an encoded slash
	flagDots                  // a dot segment
	flagControl               // a control character
	flagInvalid               // bytes that are no UTF-8
)

// refused are the flags that no option makes tolerable. A browser resolves dot
// segments before it sends a path, so only a program made to send them does.
const refused = flagDots | flagControl | flagInvalid

// tolerable are the flags by their name in Policy.Tolerate.
var tolerable = map[string]int{
	"encoded_slash": flagEncoded, "backslash": flagBackslash, "semicolon": flagSemicolon,
	"percent": flagPercent, "delimiter": flagDelimiter,
}

// flagReasons are the reasons of a refusal because of a flag, the gravest first.
var flagReasons = []struct {
	flag   int
	reason Reason
}{
	{flagInvalid, PathInvalid},
	{flagControl, PathControl},
	{flagDots, PathDots},
	{flagEncoded, PathEncodedSlash},
	{flagBackslash, PathBackslash},
	{flagPercent, PathPercent},
	{flagSemicolon, PathSemicolon},
	{flagDelimiter, PathDelimiter},
}

// flagOf are the flags of single bytes.
var flagOf = func() (t [256]uint16) {
	for c := range t {
		switch {
		case c < ' ' || c == 0x7f:
			t[c] = flagControl
		case c >= utf8.RuneSelf:
			t[c] = flagText
		case c >= 'A' && c <= 'Z':
			t[c] = flagUpper
		}
	}
	t[';'], t['\\'], t['%'], t['?'], t['#'] = flagSemicolon, flagBackslash, flagPercent, flagDelimiter, flagDelimiter
	return t
}()

// classify finds the flags of a decoded path.
func classify(p string) (flags int) {
	start := 1 // of the segment
	for i := 1; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			flags |= int(flagOf[p[i]])
			continue
		}
		switch seg := p[start:i]; {
		case seg == "":
			if i < len(p) { // else it is the slash at the end
				flags |= flagSlashes
			}
			if i == 1 && len(p) > 2 {
				flags |= flagHost
			}
		case seg == "." || seg == "..":
			flags |= flagDots
		case seg[len(seg)-1] == '.' || seg[len(seg)-1] == ' ':
			flags |= flagTail
		}
		start = i + 1
	}
	if flags&flagPercent != 0 && !decodable(p) {
		flags &^= flagPercent // 100% is only text
	}
	if flags&flagText != 0 && !utf8.ValidString(p) {
		flags |= flagInvalid
	}
	return flags
}

// decodable reports whether a decoded path holds another escape, of a byte or, as
// %u002f, of a character, which some servers decode.
func decodable(p string) bool {
	for i := 0; i+2 < len(p); i++ {
		if p[i] == '%' && (isHex(p[i+1]) && isHex(p[i+2]) || p[i+1]|0x20 == 'u') {
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// hasEncodedSlash reports whether an escaped path has a %2f.
func hasEncodedSlash(raw string) bool {
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] == '%' && raw[i+1] == '2' && raw[i+2]|0x20 == 'f' {
			return true
		}
	}
	return false
}

// maxReadings bounds the ways to read one path. A path with more is refused.
const maxReadings = 32

// Reading is the form in which paths are compared with patterns: decoded once,
// without empty segments and without a slash at the end, in small letters.
//
// readings appends the readings of a path to dst, or says why it has none that
// can be judged. escaped is the path as it was escaped, if that differs from
// what escaping it would give (url.URL.RawPath).
func readings(dst []string, path, escaped string, tolerate int) ([]string, Reason) {
	if path == "" || path[0] != '/' {
		return dst, PathForm
	}
	flags := classify(path)
	if escaped != "" && hasEncodedSlash(escaped) {
		flags |= flagEncoded
	}
	if flags == 0 {
		return append(dst, trimSlash(path)), ""
	}
	if bad := flags & (refused | allTolerable&^tolerate); bad != 0 {
		return dst, reasonOf(bad)
	}
	if flags&^(flagUpper|flagSlashes) == 0 {
		return append(dst, clean(path)), ""
	}
	return variants(dst, path, escaped, flags, tolerate)
}

// Readings are the ways to read a path of which nothing odd is tolerated, in the
// form in which paths are compared; there are none if it cannot be judged.
func Readings(path, escaped string) ([]string, bool) {
	list, reason := readings(nil, path, escaped, 0)
	return list, reason == ""
}

var allTolerable = func() (all int) {
	for _, f := range tolerable {
		all |= f
	}
	return all
}()

func reasonOf(flags int) Reason {
	for _, r := range flagReasons {
		if flags&r.flag != 0 {
			return r.reason
		}
	}
	return PathForm
}

// variants finds all ways to read a path.
func variants(dst []string, path, escaped string, flags, tolerate int) ([]string, Reason) {
	raw := []string{path}
	if flags&flagEncoded != 0 {
		raw = append(raw, keepSlashes(escaped))
	}
	for i := 0; i < len(raw); i++ {
		p := raw[i]
		f := classify(p)
		if bad := f & (refused | allTolerable&^tolerate); bad != 0 {
			return dst, reasonOf(bad)
		}
		for _, q := range others(p, f) {
			if !slices.Contains(raw, q) {
				raw = append(raw, q)
			}
		}
		if len(raw) > maxReadings {
			return dst, PathForm
		}
	}
	for _, p := range raw {
		if p = clean(p); !slices.Contains(dst, p) {
			dst = append(dst, p)
		}
	}
	return dst, ""
}

// others are what a path becomes where one thing in it is read otherwise.
func others(p string, flags int) (list []string) {
	if flags&flagPercent != 0 {
		if q, err := url.PathUnescape(p); err == nil {
			list = append(list, rooted(q))
		}
	}
	if flags&flagBackslash != 0 {
		list = append(list, strings.ReplaceAll(p, `\`, "/"))
	}
	if flags&flagSemicolon != 0 {
		list = append(list, eachSegment(p, func(s string) string { s, _, _ = strings.Cut(s, ";"); return s }))
		list = append(list, rooted(p[:strings.IndexByte(p, ';')]))
	}
	if flags&flagDelimiter != 0 {
		list = append(list, rooted(p[:strings.IndexAny(p, "?#")]))
	}
	if flags&flagHost != 0 {
		_, rest, _ := strings.Cut(strings.TrimLeft(p, "/"), "/")
		list = append(list, rooted(rest))
	}
	if flags&flagTail != 0 {
		list = append(list, eachSegment(p, func(s string) string { return strings.TrimRight(s, ". ") }))
	}
	if flags&flagText != 0 {
		list = append(list, norm.NFKC.String(p))
	}
	return list
}

func rooted(p string) string {
	if p == "" || p[0] != '/' {
		return "/" + p
	}
	return p
}

func eachSegment(p string, change func(string) string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i] = change(s)
	}
	return rooted(strings.Join(segments, "/"))
}

// kept stands for an encoded slash that is read as no slash. It is a character
// for private use, which no pattern is expected to have.
const kept = "\ue02f"

// keepSlashes decodes an escaped path but for its slashes.
func keepSlashes(escaped string) string {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) || !isHex(escaped[i+1]) || !isHex(escaped[i+2]) {
			b.WriteByte(escaped[i])
			continue
		}
		c := unhex(escaped[i+1])<<4 | unhex(escaped[i+2])
		if i += 2; c == '/' {
			b.WriteString(kept)
		} else {
			b.WriteByte(c)
		}
	}
	return rooted(b.String())
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// clean makes one slash of several, and small letters of capitals.
func clean(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return fold(trimSlash(p))
}

func trimSlash(p string) string {
	if len(p) > 1 && p[len(p)-1] == '/' {
		return p[:len(p)-1]
	}
	return p
}

// fold makes small letters, and ASCII ones of the two characters beyond ASCII
// that are equal to one but for case (U+017F and U+212A).
func fold(s string) string {
	s = strings.ToLower(s)
	if strings.Contains(s, "ſ") {
		s = strings.ReplaceAll(s, "ſ", "s")
	}
	return s
}
