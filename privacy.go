package soc2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/personal/hold"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Privacy says what of a person a record shows, and to whom.
type Privacy struct {
	// Policy says what detail records carry and what is hidden in them.
	Policy policy.Config `json:"policy,omitzero"`

	// Pseudonymize puts keyed pseudonyms in the place of members.
	Pseudonymize *Pseudonymize `json:"pseudonymize,omitempty"`

	// Encrypt seals members so that only the holders of some keys can read them.
	Encrypt *Encrypt `json:"encrypt,omitempty"`
}

// Pseudonymize says which members of records become pseudonyms: the same within
// a period, and not to be joined from one period to the next.
type Pseudonymize struct {
	// Members are of client.ip, client.peer and auth.user. Default: all.
	Members []string `json:"members,omitempty"`

	// Period is how long a key is used: day, week, month or quarter. Default:
	// month.
	Period personal.Unit `json:"period,omitempty"`
}

// Encrypt says which members of records are sealed, under a key of the day that
// is itself encrypted to recipients (age). Destroying a key erases what it
// sealed, and the log still verifies.
type Encrypt struct {
	// Recipients are age recipients, age1…, whose identities open the boxes.
	Recipients []string `json:"recipients"`

	// Members are sealed: client.ip, client.port, client.peer, auth.user,
	// request.agent, request.path, request.query, request.headers, tls.sni,
	// tls.client_cert. Default: the first five.
	Members []string `json:"members,omitempty"`

	// Subjects gives each authenticated user a key of its own every day, so that
	// "forget" can destroy what was sealed about one user.
	Subjects bool `json:"subjects,omitempty"`

	// MaxSubjects is how many users a day get a key of their own. Those after
	// them share the day's. Default: 100000.
	MaxSubjects int `json:"max_subjects,omitempty"`
}

// The names of directories below the data directory. Both kinds of keys have
// directories of their own in that of keys.
const (
	keysFolder  = "keys"
	holdsFolder = "state"
)

// check finds what is wrong with the settings before anything is made.
func (p *Privacy) check() error {
	if _, err := policy.Compile(p.Policy, new(policy.Counters)); err != nil {
		return fmt.Errorf("soc2: %w", err)
	}
	if c := p.Pseudonymize; c != nil {
		if _, err := personal.NewProtector(nil, nil, c.Members); err != nil {
			return fmt.Errorf("soc2: audit pseudonymize: %w", err)
		}
		if _, err := c.unit().At(time.Now()); err != nil {
			return fmt.Errorf("soc2: audit pseudonymize: %w", err)
		}
	}
	if c := p.Encrypt; c != nil {
		sealer, err := c.config()
		if err == nil {
			err = sealer.Check()
		}
		if err != nil {
			return fmt.Errorf("soc2: audit encrypt: %w", err)
		}
	}
	return nil
}

func (c *Pseudonymize) unit() personal.Unit {
	if c.Period == "" {
		return personal.Month
	}
	return c.Period
}

func (c *Encrypt) config() (personal.SealerConfig, error) {
	recipients, err := personal.ParseRecipients(c.Recipients)
	if err != nil {
		return personal.SealerConfig{}, fmt.Errorf("recipients: %w", err)
	}
	return personal.SealerConfig{
		Recipients: recipients, Members: c.Members, Subjects: c.Subjects, MaxSubjects: c.MaxSubjects,
	}, nil
}

// privacy is Privacy at work. Parts of it are shared through reloads.
type privacy struct {
	policy    *policy.Policy
	counters  *policy.Counters
	protector *personal.Protector // nil: nothing is protected
	holds     *hold.Holds

	pseudonyms *kept[*personal.Pseudonyms]
	sealer     *kept[*personal.Sealer]
	changes    []func() error // apply the settings to what is shared
}

// use applies the settings of the configuration that now runs to what it shares
// with the one before.
func (p *privacy) use() error {
	for _, change := range p.changes {
		if err := change(); err != nil {
			return err
		}
	}
	return nil
}

// stores holds what is open once in a process, by directory and kind: keys that
// configurations share through a reload.
var stores = caddy.NewUsagePool()

// kept is something open that configurations share.
type kept[T io.Closer] struct {
	name string
	it   T

	mu       sync.Mutex // guards the field below
	settings []byte
}

// set applies settings, if they are others than it has.
func (k *kept[T]) set(settings any, apply func(T) error) error {
	text, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if bytes.Equal(k.settings, text) {
		return nil
	}
	if err := apply(k.it); err != nil {
		return err
	}
	k.settings = text
	return nil
}

// Destruct implements caddy.Destructor.
func (k *kept[T]) Destruct() error { return k.it.Close() }

// release leaves it. The last to leave closes it.
func (k *kept[T]) release() error {
	if k == nil {
		return nil
	}
	_, err := stores.Delete(k.name)
	return err
}

// keep opens something with some settings or joins it as it is, by its directory
// and its kind.
func keep[T io.Closer](name string, settings any, open func() (T, error)) (*kept[T], error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	v, _, err := stores.LoadOrNew(name, func() (caddy.Destructor, error) {
		it, err := open()
		return &kept[T]{name: name, it: it, settings: text}, err
	})
	if err != nil {
		return nil, err
	}
	k, ok := v.(*kept[T])
	if !ok {
		_, _ = stores.Delete(name)
		return nil, fmt.Errorf("%s is in use for something else", name)
	}
	return k, nil
}

// openPrivacy makes the app's privacy ready.
func (a *App) openPrivacy() (err error) {
	p := &a.privacy
	p.counters = &a.log.counters
	if p.policy, err = policy.Compile(a.Audit.Policy, p.counters); err != nil {
		return fmt.Errorf("soc2: %w", err)
	}
	if p.holds, err = hold.Open(durable.OS{}, filepath.Join(a.DataDir, holdsFolder)); err != nil {
		return fmt.Errorf("soc2: legal holds: %w", err)
	}
	var members []string
	if c := a.Audit.Pseudonymize; c != nil {
		members = c.Members
		if p.pseudonyms, err = a.openPseudonyms(c); err != nil {
			return fmt.Errorf("soc2: audit pseudonymize: %w", err)
		}
	}
	if c := a.Audit.Encrypt; c != nil {
		if p.sealer, err = a.openSealer(c); err != nil {
			return fmt.Errorf("soc2: audit encrypt: %w", err)
		}
	}
	if p.pseudonyms == nil && p.sealer == nil {
		return nil
	}
	var pseudonyms *personal.Pseudonyms
	var sealer *personal.Sealer
	if p.pseudonyms != nil {
		pseudonyms = p.pseudonyms.it
	}
	if p.sealer != nil {
		sealer = p.sealer.it
	}
	if p.protector, err = personal.NewProtector(sealer, pseudonyms, members); err != nil {
		return fmt.Errorf("soc2: audit pseudonymize: %w", err)
	}
	p.policy.KeepClient = p.protector.ClientPseudonym()
	return nil
}

func (a *App) openPseudonyms(c *Pseudonymize) (*kept[*personal.Pseudonyms], error) {
	dir, unit := filepath.Join(a.DataDir, keysFolder), c.unit()
	k, err := keep(dir+"#pseudonyms", unit, func() (*personal.Pseudonyms, error) {
		return personal.OpenPseudonyms(personal.PseudonymConfig{Dir: dir, Unit: unit, Hold: a.privacy.holds.Check})
	})
	a.privacy.changes = append(a.privacy.changes, func() error {
		return k.set(unit, func(p *personal.Pseudonyms) error { return p.Use(unit) })
	})
	return k, err
}

func (a *App) openSealer(c *Encrypt) (*kept[*personal.Sealer], error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	config.Dir, config.Hold = filepath.Join(a.DataDir, keysFolder), a.privacy.holds.Check
	k, err := keep(config.Dir+"#personal", c, func() (*personal.Sealer, error) { return personal.OpenSealer(config) })
	a.privacy.changes = append(a.privacy.changes, func() error {
		return k.set(c, func(s *personal.Sealer) error { return s.Use(config) })
	})
	return k, err
}

// release gives up what is shared.
func (p *privacy) release() error {
	return errors.Join(p.pseudonyms.release(), p.sealer.release())
}

// apply brings an event to what may be recorded of it. It reports whether the
// request has a record.
func (p *privacy) apply(ev *audit.Event, request, response http.Header) (recorded bool, err error) {
	if p.policy.Apply(ev, request, response) == policy.None {
		return false, nil
	}
	if p.protector == nil {
		return true, nil
	}
	return true, unprotected(p.protector.Apply(ev))
}

// ahead is apply for a record that precedes the request's own, which needs the
// event as it is.
func (p *privacy) ahead(ev audit.Event) (audit.Event, error) {
	p.policy.Ahead(&ev)
	if p.protector == nil {
		return ev, nil
	}
	return ev, unprotected(p.protector.Ahead(&ev))
}

// unprotected says what an error is about.
func unprotected(err error) error {
	if err != nil {
		return fmt.Errorf("protecting personal data: %w", err)
	}
	return nil
}

// Pseudonym implements identity.Namer.
func (a *App) Pseudonym(member, value string) (string, bool) {
	c, p := a.Audit.Pseudonymize, a.privacy.pseudonyms
	if c == nil || p == nil || len(c.Members) > 0 && !slices.Contains(c.Members, member) {
		return "", false
	}
	name, err := p.it.Pseudonym(member, value, time.Now())
	if err != nil {
		return "(not available)", true // better than the name itself
	}
	return name, true
}

// held tells the retention whether a legal hold covers records until a time.
func (p *privacy) held(until time.Time) (bool, error) {
	return p.holds.Check(time.Time{}, until) != nil, nil
}
