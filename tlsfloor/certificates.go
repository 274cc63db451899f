package tlsfloor

import (
	"fmt"
	"time"
)

// Certificate is a certificate in use.
type Certificate struct {
	Name                string // that it serves
	NotBefore, NotAfter time.Time
	Managed             bool // the server renews it
}

// Expire finds the certificates that have less time left than the rules want.
// What is wanted is cut to a third of a certificate's lifetime, and to a sixth
// for one that the server renews: it does so when a third is left.
//
// It is no part of Findings: it depends on the time, and a configuration is not
// refused for it, since a new one may be what mends it.
func (r *Rules) Expire(list []Certificate, now time.Time) (found []Finding) {
	if r.Expiring <= 0 {
		return nil
	}
	for _, c := range list {
		part, remedy := time.Duration(3), "replace the certificate"
		if c.Managed {
			part, remedy = 6, "find out why it is not renewed: the log has cert.failed records with the issuer's errors"
		}
		want := min(r.Expiring, c.NotAfter.Sub(c.NotBefore)/part)
		left := c.NotAfter.Sub(now)
		if left >= want {
			continue
		}
		have := fmt.Sprintf("%s left for %s", left.Round(time.Second), c.Name)
		if left <= 0 {
			have = fmt.Sprintf("the certificate for %s ended %s ago", c.Name, (-left).Round(time.Second))
		}
		found = append(found, Finding{Kind: Expiring, Policy: -1, Have: have, Want: fmt.Sprintf("%s at least", want.Round(time.Second)), Remedy: remedy})
	}
	return found
}
