package access

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/rules"
)

// BreakGlass says who can be let in past the rules in an emergency. Somebody has
// to open it on the admin API, for one principal, with a reason and for a time;
// that is a record, and so is each request that it lets in.
type BreakGlass struct {
	// Principals are those for whom it can be opened.
	Principals []string `json:"principals,omitempty"`

	// MaxTTL is how long it can stay open. Default: 1h. Maximum: 24h.
	MaxTTL caddy.Duration `json:"max_ttl,omitempty"`
}

const (
	defaultGlass = caddy.Duration(time.Hour)
	maxGlass     = caddy.Duration(24 * time.Hour)
)

func (b *BreakGlass) check() error {
	if b == nil {
		return nil
	}
	if b.MaxTTL == 0 {
		b.MaxTTL = defaultGlass
	}
	if b.MaxTTL < 0 || b.MaxTTL > maxGlass {
		return fmt.Errorf("break_glass: max_ttl %s: it must be at most 24h", time.Duration(b.MaxTTL))
	}
	if len(b.Principals) == 0 || slices.Contains(b.Principals, "") {
		return errors.New("break_glass: name the principals for whom it can be opened")
	}
	return nil
}

// grant is a principal that is let in.
type grant struct {
	id, policy, principal, reason, by string
	until                             time.Time
	used                              atomic.Int64
}

// grants are all that are open in this process. They survive a reload, and end
// with the process. Readers take the list as it is; writers replace it.
var grants struct {
	mu   sync.Mutex // of writers
	list atomic.Pointer[[]*grant]
}

func openGrants(now time.Time) (list []*grant) {
	if p := grants.list.Load(); p != nil {
		for _, g := range *p {
			if now.Before(g.until) {
				list = append(list, g)
			}
		}
	}
	return list
}

// maxGrants bounds how many can be open.
const maxGrants = 100

// open lets a principal in, once the log has the record of it.
func (g *grant) open(record *audit.BreakGlass) error {
	grants.mu.Lock()
	defer grants.mu.Unlock()
	list := openGrants(record.Time)
	if len(list) >= maxGrants {
		return fmt.Errorf("%d are open: close one first", len(list))
	}
	if err := write(record); err != nil {
		return err
	}
	list = append(list, g)
	grants.list.Store(&list)
	return nil
}

// end takes the principal out again.
func (g *grant) end(record *audit.BreakGlass) error {
	grants.mu.Lock()
	defer grants.mu.Unlock()
	list := slices.DeleteFunc(openGrants(record.Time), func(o *grant) bool { return o == g })
	grants.list.Store(&list)
	return write(record) // ended all the same
}

var errNoLog = errors.New("there is no audit log to record it in: configure the app soc2")

// write appends a record and waits until it is on disk.
func write(r audit.Body) error {
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return errNoLog
	}
	defer book.Release()
	return book.Write(r, true)
}

func newGrantID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return "bg-" + hex.EncodeToString(b)
}

// pastRules reports whether a request that the rules refuse is let in, and notes
// by what. A path that cannot be judged stays refused.
func (h *Handler) pastRules(q *rules.Request, d rules.Decision, note *audit.Decision) bool {
	p := grants.list.Load()
	if p == nil || len(*p) == 0 || q.Principal == "" || d.Rule == "" && d.Reason != rules.NoRule ||
		h.BreakGlass == nil || !slices.Contains(h.BreakGlass.Principals, q.Principal) {
		return false
	}
	for _, g := range *p {
		if g.policy == h.Name && g.principal == q.Principal && q.Now.Before(g.until) {
			g.used.Add(1)
			note.Outcome, note.Reason = glassOpen, g.id
			return true
		}
	}
	return false
}
