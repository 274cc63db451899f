package identity

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/lockout"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/password"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
)

// Admin lists on the admin API who is locked out, and lets in again:
//
//	GET  /soc2/v1/lockouts
//	POST /soc2/v1/lockouts/unlock  {"what": "principal", "subject": "alice", "reason": "…"}
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.soc2_lockouts",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	return append(changes.Routes(locks, "/soc2/v1/lockouts"), changes.Routes(unlock, "/soc2/v1/lockouts/unlock")...)
}

func locks(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return wrong(w, http.StatusMethodNotAllowed, "The locks are read with GET; POST /soc2/v1/lockouts/unlock ends one.")
	}
	return answer(w, http.StatusOK, table().State())
}

// maxCall is the size of the largest call that is read, in bytes.
const maxCall = 16 << 10

func unlock(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrong(w, http.StatusMethodNotAllowed, "A lock is ended with POST.")
	}
	var call struct {
		What    string `json:"what"`
		Subject string `json:"subject"`
		Reason  string `json:"reason"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCall))
	d.DisallowUnknownFields()
	if err := d.Decode(&call); err != nil || call.What != lockout.Principal && call.What != lockout.Network || call.Subject == "" || call.Reason == "" {
		return wrong(w, http.StatusBadRequest, `Say whom to let in: {"what": "principal" or "network", "subject": "…", "reason": "…"}.`)
	}
	n := table().Unlock(call.What, call.Subject)
	if n == 0 {
		return wrong(w, http.StatusNotFound, "Nobody of that name is locked out. GET /soc2/v1/lockouts lists who is.")
	}
	record(&audit.Lockout{
		Time: time.Now(), Action: "unlock", What: call.What, Subject: call.Subject, Provider: "soc2",
		Actor: changes.ActorOf(r), Reason: call.Reason, Pseudo: strings.HasPrefix(call.Subject, password.UnknownPrefix),
	}, true)
	return answer(w, http.StatusOK, map[string]int{"unlocked": n})
}

func answer(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(v)
}

// wrong answers with a problem (RFC 9457).
func wrong(w http.ResponseWriter, status int, detail string) error {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
}

// Interface guards
var (
	_ caddy.Module      = (*Admin)(nil)
	_ caddy.AdminRouter = (*Admin)(nil)
)
