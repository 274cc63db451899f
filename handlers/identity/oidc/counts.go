package oidc

import (
	"sync/atomic"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/session"
)

// happening is what happens to sessions.
type happening int

const (
	sessionBegun happening = iota
	refreshed
	outlived
	refreshRefused
	loggedOut
	loggedOutByProvider
	idle
	expired
	ended
	forged
	happeningsCount
)

var happeningNames = [happeningsCount]string{
	"begun", "refreshed", "outlived", "refresh_refused", "logged_out", "logged_out_by_provider", "idle", "expired", "ended", "forged",
}

var counts [happeningsCount]atomic.Int64

func count(h happening) { counts[h].Add(1) }

// countOver counts a request whose session is over.
func countOver(why principal.Reason) {
	switch why {
	case session.Idle:
		count(idle)
	case session.TooOld:
		count(expired)
	case session.LoggedOut:
		count(ended)
	case session.Forged:
		count(forged)
	default:
		count(refreshRefused)
	}
}

// Counts tells what happened to sessions since the process began.
func Counts(tell func(event string, n int64)) {
	for h, name := range happeningNames {
		tell(name, counts[h].Load())
	}
}
