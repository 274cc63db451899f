package soc2

import (
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
	"github.com/caddy-soc2/caddy-soc2/handlers/ratelimit"
)

// Limits are the zones of the rate limiter, for the status.
func (a *App) Limits() []evidence.Limit {
	var list []evidence.Limit
	for _, z := range ratelimit.Zones() {
		list = append(list, evidence.Limit(z))
	}
	return list
}
