package soc2

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
)

// UnmatchedStatus is the status of requests that no route answers, on servers
// with the listener wrapper.
func (a *App) UnmatchedStatus() int {
	switch {
	case a.Unmatched != 0:
		return a.Unmatched
	case a.ProfileName == headers.Strict:
		return http.StatusNotFound
	}
	return http.StatusOK
}

func (a *App) checkUnmatched() error {
	if s := a.Unmatched; s != 0 && s != http.StatusOK && (s < 400 || s > 599) {
		return fmt.Errorf("soc2: unmatched %d: choose 200, or a status from 400 to 599", s)
	}
	return nil
}

// unmatched reads the option's one argument, a status.
func (a *App) unmatched(d *caddyfile.Dispenser) error {
	var arg string
	if err := text(d, &arg); err != nil {
		return err
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n == 0 {
		return d.Errf("unmatched %q: it is not a status like 404", arg)
	}
	a.Unmatched = n
	return nil
}
