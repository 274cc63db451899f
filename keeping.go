package soc2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/personal/hold"
	"github.com/caddy-soc2/caddy-soc2/handlers/evidence"
)

// refused says that an order cannot be carried out.
func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", evidence.ErrOrder, fmt.Errorf(format, args...))
}

// inscribe appends a record that must not be lost.
func (a *App) inscribe(r audit.Body) error {
	if err := a.log.appendNow(r, a.InstanceName, true); err != nil {
		return fmt.Errorf("it was done, but it could not be recorded: %w", err)
	}
	return nil
}

// erased records an erasure. One that failed in the middle destroyed something
// too.
func (a *App) erased(e personal.Erasure, o evidence.Order, err error) (any, error) {
	if err != nil && e.Keys == 0 {
		if errors.Is(err, hold.ErrHeld) || errors.Is(err, personal.ErrPeriod) {
			return nil, refused("%w", err)
		}
		return nil, err
	}
	return e, errors.Join(err, a.inscribe(&audit.LogErase{
		Time: time.Now(), What: e.What, Subject: e.Subject, Period: e.Period,
		KeysDestroyed: int64(e.Keys), By: o.By, Reason: o.Reason,
	}))
}

// Forget destroys the keys under which a user's members were sealed. It
// implements evidence.Keeper, as do the following.
func (a *App) Forget(o evidence.Order) (any, error) {
	switch {
	case o.Subject == "":
		return nil, refused(`"subject" is needed: the user to be forgotten`)
	case a.privacy.sealer == nil:
		return nil, refused("nothing is sealed: only what \"encrypt\" seals with \"subjects\" can be forgotten")
	}
	e, err := a.privacy.sealer.it.Forget(o.Subject)
	return a.erased(e, o, err)
}

// Destroy destroys the keys of a period.
func (a *App) Destroy(o evidence.Order) (any, error) {
	var e personal.Erasure
	var err error
	switch {
	case o.Period == "":
		return nil, refused(`"period" is needed: that of pseudonyms, such as 2026-11, or the day of sealed members`)
	case o.What == "pseudonyms" && a.privacy.pseudonyms != nil:
		e, err = a.privacy.pseudonyms.it.Destroy(o.Period)
	case o.What == "personal" && a.privacy.sealer != nil:
		e, err = a.privacy.sealer.it.Destroy(o.Period)
	default:
		return nil, refused(`"what" is %q: it must be pseudonyms or personal, and in use`, o.What)
	}
	return a.erased(e, o, err)
}

// Hold sets a legal hold.
func (a *App) Hold(o evidence.Order) (any, error) {
	order := hold.Hold{Name: o.Name, Reason: o.Reason, By: o.By, From: o.From, To: o.To}
	if err := a.privacy.holds.Set(order); err != nil {
		return nil, refused("%w", err)
	}
	return map[string]string{"set": o.Name}, a.inscribe(&audit.LogHold{Time: time.Now(), Action: "set", Name: o.Name, Reason: o.Reason, By: o.By})
}

// Release ends a legal hold.
func (a *App) Release(o evidence.Order) (any, error) {
	if err := a.privacy.holds.Release(o.Name, o.Reason, o.By); err != nil {
		return nil, refused("%w", err)
	}
	return map[string]string{"released": o.Name}, a.inscribe(&audit.LogHold{Time: time.Now(), Action: "release", Name: o.Name, Reason: o.Reason, By: o.By})
}

// Holds lists the legal holds, also those that were released.
func (a *App) Holds() (any, error) {
	list, err := a.privacy.holds.List()
	if list == nil {
		list = []hold.Hold{}
	}
	return list, err
}

// Prune removes now what is over its retention.
func (a *App) Prune(ctx context.Context, _ evidence.Order) (any, error) {
	upto, before, err := a.log.get().Prune(ctx)
	if errors.Is(err, audit.ErrHeld) {
		return nil, refused("%w", err)
	}
	return map[string]int64{"removed_from": before, "removed_before": upto}, err
}

// Verify has the log verify itself now.
func (a *App) Verify(ctx context.Context, _ evidence.Order) (any, error) {
	log := a.log.get()
	if err := log.Scrub(ctx); err != nil {
		return nil, err
	}
	r := log.Scrubbed()
	if r == nil {
		return nil, errors.New("the verification left no result")
	}
	return verification{r.Time, r.Outcome, r.First, r.Records, r.Bytes, r.Problems, int64(r.Duration)}, nil
}

// verification is the log.verify record of a verification, as it is answered:
// its members have the same names.
type verification struct {
	Time     time.Time `json:"time"`
	Outcome  string    `json:"outcome"`
	First    int64     `json:"first"`
	Records  int64     `json:"records"`
	Bytes    int64     `json:"bytes"`
	Problems []string  `json:"problems,omitempty"`
	Duration int64     `json:"duration_ns"`
}

var _ evidence.Keeper = (*App)(nil)
