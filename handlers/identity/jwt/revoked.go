package jwt

import (
	"fmt"
	"strings"
	"time"
)

// Revoked is a list of tokens that are no longer believed, although they are not
// out of date.
type Revoked struct {
	ids      map[string]bool
	subjects map[string]time.Time // tokens issued before are revoked; the zero time: all
}

// ParseRevoked reads a list, in lines:
//
//	jti ID                     one token
//	sub SUBJECT                all tokens of a subject
//	sub SUBJECT before TIME    those issued before (RFC 3339), or without iat
//
// Empty lines and those that begin with # say nothing.
func ParseRevoked(data []byte) (*Revoked, error) {
	r := &Revoked{ids: map[string]bool{}, subjects: map[string]time.Time{}}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch {
		case len(words) == 2 && words[0] == "jti":
			r.ids[words[1]] = true
		case len(words) == 2 && words[0] == "sub":
			r.revoke(words[1], time.Time{})
		case len(words) == 4 && words[0] == "sub" && words[2] == "before":
			at, err := time.Parse(time.RFC3339, words[3])
			if err != nil {
				return nil, fmt.Errorf("line %d: the time is not one like 2027-01-31T08:00:00Z", n)
			}
			r.revoke(words[1], at)
		default:
			return nil, fmt.Errorf("line %d: it is not written: jti ID, or sub SUBJECT, or sub SUBJECT before TIME", n)
		}
	}
	return r, nil
}

// revoke adds a subject. Of several times the strictest counts, whatever the order
// of the lines.
func (r *Revoked) revoke(subject string, before time.Time) {
	if old, there := r.subjects[subject]; !there || !old.IsZero() && (before.IsZero() || before.After(old)) {
		r.subjects[subject] = before
	}
}

// has reports whether a token is on the list.
func (r *Revoked) has(c Claims) bool {
	if r == nil {
		return false
	}
	if id := c.Text("jti"); id != "" && r.ids[id] {
		return true
	}
	before, there := r.subjects[c.Text("sub")]
	if !there {
		return false
	}
	if before.IsZero() {
		return true
	}
	issued, _, _ := c.Time("iat")
	return issued.Before(before)
}
