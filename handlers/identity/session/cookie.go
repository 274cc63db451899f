package session

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A browser takes a cookie of 4,096 bytes with its name and attributes, so a long
// one is cut into pieces.
const (
	pieceBytes = 3800
	maxPieces  = 4

	// MaxSealed is the length of the longest sealed text that cookies hold.
	MaxSealed = pieceBytes * maxPieces
)

// cookie makes a cookie that only this host gets, only over TLS, and no script.
func cookie(name, value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(age / time.Second),
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

func pieceName(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + "." + strconv.Itoa(i)
}

// SetCookie sends a sealed text, in as many cookies as it needs, and takes back
// those that the request has beyond them. It reports false if it is too long.
func SetCookie(w http.ResponseWriter, r *http.Request, name, sealed string, age time.Duration) bool {
	if len(sealed) > MaxSealed {
		return false
	}
	for i := range maxPieces {
		piece := sealed[:min(len(sealed), pieceBytes)]
		sealed = sealed[len(piece):]
		if piece == "" {
			if _, err := r.Cookie(pieceName(name, i)); err != nil {
				continue
			}
		}
		http.SetCookie(w, cookie(pieceName(name, i), piece, age))
	}
	return true
}

// Cookie returns the sealed text of a request, or nothing. A name that comes
// twice is not believed: which of the two is ours cannot be told.
func Cookie(r *http.Request, name string) string {
	var b strings.Builder
	for i := range maxPieces {
		list := r.CookiesNamed(pieceName(name, i))
		if len(list) == 0 {
			break
		}
		if len(list) > 1 {
			return ""
		}
		b.WriteString(list[0].Value)
		if len(list[0].Value) < pieceBytes {
			break
		}
	}
	return b.String()
}

// Strip takes the cookies of a name out of a request, so that no upstream gets
// them.
func Strip(r *http.Request, prefix string) {
	cookies := r.Cookies()
	ours := false
	for _, c := range cookies {
		ours = ours || strings.HasPrefix(c.Name, prefix)
	}
	if !ours {
		return
	}
	var rest []string
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			if part != "" && !strings.HasPrefix(part, prefix) {
				rest = append(rest, part)
			}
		}
	}
	if len(rest) == 0 {
		r.Header.Del("Cookie")
		return
	}
	r.Header.Set("Cookie", strings.Join(rest, "; "))
}
