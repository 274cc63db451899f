package principal

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

// Reason says in one word why a credential was not believed. It is from a fixed
// list for each source and has nothing of the credential in it, so that it can
// be recorded.
type Reason string

// The reasons that no source has for itself.
const (
	NoCredentials Reason = "no_credentials"
	LockedOut     Reason = "locked_out"
)

// Refusal is a credential that was presented and not believed.
type Refusal struct {
	Reason    Reason
	Status    int           // of the answer; 0 means 401
	Retry     time.Duration // when to come back; 0 means that there is no such time
	Candidate string        // principal that the request claims, if there is one by that name; empty otherwise
	Cause     error         // technical one, for the server's log; has no secret in it
}

// Refuse makes a refusal that is answered 401.
func Refuse(reason Reason) *Refusal { return &Refusal{Reason: reason} }

// Error implements error. It says the reason alone.
func (r *Refusal) Error() string { return string(r.Reason) }

// Code is the status of the answer.
func (r *Refusal) Code() int {
	if r.Status == 0 {
		return http.StatusUnauthorized
	}
	return r.Status
}

// Source looks for one kind of credential in a request. It returns nothing at
// all if the request has none of its kind. The user may be shared between
// requests: nobody changes it.
type Source interface {
	Authenticate(w http.ResponseWriter, r *http.Request) (*caddyauth.User, *Refusal)
}
