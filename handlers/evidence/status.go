package evidence

import (
	"strings"
	"time"
)

// notice is said wherever the state is shown.
const notice = "This is evidence for the examination of controls. It is not, and makes nothing else, compliant, certified or approved: " +
	"whether controls meet the criteria is an independent auditor's opinion."

// The states of the log.
const (
	accepting = "accepting"
	failing   = "failing"
)

// Status is the state of the log.
type Status struct {
	Instance string `json:"instance"`
	Profile  string `json:"profile"`

	State  string `json:"state"`            // accepting or failing
	Detail string `json:"detail,omitempty"` // why it is failing

	Origin     string    `json:"origin"`
	Key        string    `json:"key"`  // verifier key
	Size       int64     `json:"size"` // of the tree that the checkpoint signs
	Root       string    `json:"root"`
	Signed     time.Time `json:"checkpoint_time"`
	AgeSeconds int64     `json:"checkpoint_age_seconds"`
	Unsigned   int64     `json:"unsigned_records"` // taken since the checkpoint

	Limits []Limit `json:"limits,omitempty"` // zones of the rate limiter

	Changes any `json:"changes,omitempty"` // how the configuration is guarded, and where the admin API listens

	TLS any `json:"tls,omitempty"` // floor, what is below it, and the module of the cryptography

	Verify string `json:"verify"` // command
	Notice string `json:"notice"`
}

// Limit is what a zone of the rate limiter decided since the process began.
type Limit struct {
	Zone        string `json:"zone"`
	Limit       string `json:"limit"`
	Mode        string `json:"mode"` // shadow: it refuses nothing
	Allowed     int64  `json:"allowed"`
	Refused     int64  `json:"refused"`
	WouldRefuse int64  `json:"would_refuse"` // while it was a shadow
	LostKeys    int64  `json:"lost_keys"`    // for want of capacity
}

// limiter is an app that knows the zones of the rate limiter.
type limiter interface{ Limits() []Limit }

// changer is an app that knows how changes of the configuration are guarded.
type changer interface{ ChangeState() any }

// floored is an app that knows what of TLS is below its floor.
type floored interface{ TLSState() any }

// statusOf reads the state of a log.
func statusOf(src Source, now time.Time) Status {
	log := src.Log()
	_, head, signed := log.Checkpoint() // before Next, which it never exceeds
	s := Status{
		Instance: src.Instance(), Profile: src.Profile(), State: accepting,
		Origin: head.Origin, Key: log.Key().Public(),
		Size: head.Size, Root: head.Root.String(), Signed: signed.UTC(),
		AgeSeconds: max(0, int64(now.Sub(signed)/time.Second)),
		Unsigned:   log.Next() - head.Size,
		Verify:     "soc2-verify " + quote(log.Dir()) + " --key " + quote(log.Key().Public()),
		Notice:     notice,
	}
	if c, ok := src.(changer); ok {
		s.Changes = c.ChangeState()
	}
	if l, ok := src.(limiter); ok {
		s.Limits = l.Limits()
	}
	if f, ok := src.(floored); ok {
		s.TLS = f.TLSState()
	}
	if err := log.Err(); err != nil {
		s.State, s.Detail = failing, err.Error()
	}
	return s
}

// quote writes an argument of a POSIX shell's command.
func quote(s string) string {
	special := func(r rune) bool { return notInPrefix(r) && !strings.ContainsRune("+=:@", r) }
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
