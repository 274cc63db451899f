package controls

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// Acceptance is a risk that was accepted by a record review.exception, and not
// in the configuration. It does what an Exception does, until it expires or is
// withdrawn. Of the acceptances of one check only the newest counts.
type Acceptance struct {
	Record   int64     `json:"record_seq"` // index of its record, by which it is named
	Check    string    `json:"check"`
	Reason   string    `json:"reason"`
	Owner    string    `json:"owner"`       // who bears the risk
	Approver string    `json:"approved_by"` // as stated
	Actor    string    `json:"actor,omitempty"`
	Known    string    `json:"actor_known"` // how good the actor's name is: verified, asserted, none
	Ticket   string    `json:"ticket,omitempty"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`

	Withdrawn *Withdrawal `json:"withdrawn,omitempty"`
}

// Withdrawal is the end of an acceptance before its time.
type Withdrawal struct {
	Record int64     `json:"record_seq"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Actor  string    `json:"actor,omitempty"`
}

// The verdicts of records review.exception.
const (
	VerdictAccepted  = "accepted"
	VerdictWithdrawn = "withdrawn"
)

// The states of an acceptance.
const (
	StateInForce    = "in_force"
	StateExpired    = "expired"
	StateWithdrawn  = "withdrawn"
	StateSuperseded = "superseded" // by a newer one of the check
)

// AcceptedState is an acceptance as it is at one time.
type AcceptedState struct {
	Acceptance
	State string `json:"state"`
}

// maxAccepted bounds how many acceptances are kept. Those that do not count any
// more go first.
const maxAccepted = 1024

// accepted is what the records review.exception of a log say. It is the same
// when a record is seen again.
type accepted struct {
	mu   sync.Mutex // guards the fields below
	list map[int64]*Acceptance
	from int64 // what records before this one accept does not count
}

// Decided takes up a record of what a person decided, which has an index in the
// log. Records of the past come with old set; of a check they come in their
// order.
func (t *Tally) Decided(seq int64, r *audit.Review, old bool) {
	switch {
	case r.Kind != audit.KindReviewException:
		t.happened.review(seq, r)
	case seq > 0: // the first record is another
		t.accepted.take(seq, r)
	}
	if !old {
		t.wake()
	}
}

// ForgetAccepted forgets all acceptances: those of another log are read.
func (t *Tally) ForgetAccepted() {
	a := &t.accepted
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list, a.from = nil, 0
}

// ForgetAcceptedBefore forgets what records before an index accept, for good: part
// of the log before it cannot be read, and may have withdrawn it.
func (t *Tally) ForgetAcceptedBefore(seq int64) {
	a := &t.accepted
	a.mu.Lock()
	defer a.mu.Unlock()
	a.from = max(a.from, seq)
	maps.DeleteFunc(a.list, func(record int64, _ *Acceptance) bool { return record < a.from })
}

func (a *accepted) take(seq int64, r *audit.Review) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.list == nil {
		a.list = map[int64]*Acceptance{}
	}
	switch d := Checks().Check(r.Subject); {
	case r.Verdict == VerdictWithdrawn:
		if x := a.list[r.Seq]; x != nil && x.Withdrawn == nil && seq > x.Record {
			x.Withdrawn = &Withdrawal{Record: seq, Time: r.Time.UTC(), Reason: r.Reason, Actor: nameOf(&r.Actor)}
		}
	case seq < a.from, a.list[seq] != nil: // it may have been withdrawn, or was seen already
	case r.Verdict == VerdictAccepted && d != nil && !r.Until.IsZero():
		a.room(d.ID)
		a.list[seq] = &Acceptance{
			Record: seq, Check: d.ID, Reason: r.Reason, Owner: r.Owner, Approver: r.Approver, Actor: nameOf(&r.Actor), Known: r.Actor.Known,
			Ticket: r.Ticket, From: r.Time.UTC(), Until: r.Until.UTC(),
		}
	}
}

// nameOf is the best name that is known of an actor.
func nameOf(a *audit.Actor) string { return cmp.Or(a.Name, a.Claim) }

// room makes room for an acceptance of a check: the oldest goes that a newer one
// of its check supersedes. There are more of them than checks.
func (a *accepted) room(check string) {
	if len(a.list) < maxAccepted {
		return
	}
	counted := map[string]int{check: 1}
	for _, x := range a.list {
		counted[x.Check]++
	}
	for _, seq := range slices.Sorted(maps.Keys(a.list)) {
		if counted[a.list[seq].Check] > 1 {
			delete(a.list, seq)
			return
		}
	}
}

// all returns the acceptances, oldest first, with their withdrawals.
func (a *accepted) all() (list []Acceptance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, seq := range slices.Sorted(maps.Keys(a.list)) {
		list = append(list, *a.list[seq]) // a withdrawal does not change any more
	}
	return list
}

// newest returns the acceptance of each check that counts, in the order of their
// records. One that was withdrawn does not.
func newest(all []Acceptance) (list []Acceptance) {
	last := map[string]int64{}
	for _, x := range all {
		last[x.Check] = x.Record
	}
	for _, x := range all {
		if last[x.Check] == x.Record && x.Withdrawn == nil {
			list = append(list, x)
		}
	}
	return list
}

// Accepted lists the acceptances that are known with their state at a time,
// newest first.
func (t *Tally) Accepted(now time.Time) []AcceptedState {
	all := t.accepted.all()
	last := map[string]int64{}
	list := make([]AcceptedState, 0, len(all))
	for _, x := range slices.Backward(all) {
		s := AcceptedState{Acceptance: x, State: StateInForce}
		_, superseded := last[x.Check]
		last[x.Check] = x.Record
		switch {
		case x.Withdrawn != nil:
			s.State = StateWithdrawn
		case superseded:
			s.State = StateSuperseded
		case !now.Before(x.Until):
			s.State = StateExpired
		}
		list = append(list, s)
	}
	return list
}

// waiver returns what accepts a check: the exception of the configuration, or an
// acceptance of the log. Of two that which is in force is taken, and if both are
// or none is, that of the configuration. It is nil if there is none.
func (s *Snapshot) waiver(settings *Settings, id string) *Waiver {
	var w *Waiver
	if x := settings.exception(id); x != nil {
		w = &Waiver{Reason: x.Reason, Approver: x.Approver, Until: x.Until.UTC(), Expired: !s.Time.Before(x.Until)}
	}
	if s.Server == nil || w != nil && !w.Expired {
		return w
	}
	for _, x := range s.Server.Accepted {
		if x.Check == id && (w == nil || s.Time.Before(x.Until)) {
			w = &Waiver{Reason: x.Reason, Owner: x.Owner, Approver: x.Approver, Until: x.Until, Expired: !s.Time.Before(x.Until), Record: x.Record}
		}
	}
	return w
}
