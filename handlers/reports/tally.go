package reports

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// tally counts reports that are alike. It has room for a number of them; what
// comes when it is full is counted together, under the name other.
type tally struct {
	room int

	mu     sync.Mutex
	groups map[key]*group
}

// group is a count.
type group struct {
	page     string
	n        int64
	from, to time.Time
}

func newTally(room int) *tally { return &tally{room: room, groups: map[key]*group{}} }

// add counts a report, and tells whether it is told apart.
func (t *tally) add(k key, page string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, apart := t.groups[k], true
	if g == nil && len(t.groups) >= t.room {
		k, page, apart = key{kind: "other"}, "", false
		g = t.groups[k]
	}
	if g == nil {
		g = &group{page: page, from: now}
		t.groups[k] = g
	}
	g.n++
	g.to = now
	return apart
}

// take returns a record for each count, and begins anew.
func (t *tally) take(now time.Time) []*audit.BrowserReport {
	t.mu.Lock()
	groups := t.groups
	if len(groups) == 0 {
		t.mu.Unlock()
		return nil
	}
	t.groups = map[key]*group{}
	t.mu.Unlock()
	list := make([]*audit.BrowserReport, 0, len(groups))
	for k, g := range groups {
		list = append(list, &audit.BrowserReport{
			Time: now, Host: k.host, Type: k.kind, Directive: k.directive, Blocked: k.blocked, Disposition: k.disposition,
			Page: g.page, Count: g.n, From: g.from, To: g.to,
		})
	}
	slices.SortFunc(list, func(a, b *audit.BrowserReport) int { return cmp.Compare(b.Count, a.Count) })
	return list
}
