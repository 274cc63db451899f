package population

import (
	"bytes"

	"github.com/caddy-soc2/caddy-soc2/audit/member"
)

// Matcher finds which populations records belong to. It reads what a
// member.Record has found already, and the record itself only if a condition
// wants more of it. It belongs to one goroutine.
type Matcher struct {
	list   []*Population
	kinds  map[string]*matches
	values [][]byte
	found  []int
}

// matches are the populations that records of a kind may belong to.
type matches struct {
	sure  []int // whatever the record is
	maybe []candidate
}

// candidate is a population with conditions.
type candidate struct {
	index int
	p     *Population
	conds []probe
}

// probe is a condition that is looked up quickly.
type probe struct {
	*cond
	field member.Field // that has the member
	known bool         // there is a field
	name  []byte       // else: what a record must have in it for the member to be there
}

// fieldOf are the fields of members that conditions may name.
var fieldOf = map[string]member.Field{
	"kind": member.Kind, "cache": member.Cache, "tls.version": member.TLSVersion, "auth.user": member.User,
	"access.outcome": member.Access, "limit.outcome": member.Limit, "upstream.address": member.Upstream,
	"response.status": member.Status, "response.end": member.End,
}

// NewMatcher returns a matcher of populations, none of which is derived.
func NewMatcher(list []*Population) *Matcher {
	return &Matcher{list: list, kinds: map[string]*matches{}}
}

// Of returns the populations, by their places in the list, that a record belongs
// to, whatever its time. The list is valid until the next call.
func (m *Matcher) Of(r *member.Record) ([]int, error) {
	kind := r.Text(member.Kind)
	k := m.kinds[string(kind)]
	if k == nil {
		k = m.kind(kind)
	}
	m.found = append(m.found[:0], k.sure...)
	for i := range k.maybe {
		c := &k.maybe[i]
		ok, err := m.holds(c, r)
		if err != nil {
			return nil, err
		}
		if ok {
			m.found = append(m.found, c.index)
		}
	}
	return m.found, nil
}

// maxKinds is how many kinds are remembered. Logs have fewer.
const maxKinds = 1000

func (m *Matcher) kind(kind []byte) *matches {
	k := new(matches)
	for i, p := range m.list {
		if !p.hasKind(kind) {
			continue
		}
		if !p.conditional() {
			k.sure = append(k.sure, i)
			continue
		}
		c := candidate{index: i, p: p}
		for j := range p.conds {
			q := probe{cond: &p.conds[j]}
			if q.field, q.known = fieldOf[q.Member]; !q.known {
				_, last, _ := cutLast(q.Member)
				q.name = []byte(`"` + last + `":`)
			}
			c.conds = append(c.conds, q)
		}
		k.maybe = append(k.maybe, c)
	}
	if len(m.kinds) < maxKinds {
		m.kinds[string(kind)] = k
	}
	return k
}

func cutLast(path string) (before, last string, deep bool) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '.' {
			return path[:i], path[i+1:], true
		}
	}
	return "", path, false
}

// holds judges a record as Selector.holds does.
func (m *Matcher) holds(c *candidate, r *member.Record) (bool, error) {
	read := false
	one := c.p.anys == 0
	for i := range c.conds {
		q := &c.conds[i]
		if i < c.p.anys && one {
			continue
		}
		var text []byte
		switch {
		case q.known:
			text = inside(r.Value(q.field))
		case bytes.Contains(r.Bytes(), q.name):
			if !read {
				read = true
				var err error
				if m.values, err = c.p.paths.read(m.values, r.Bytes()); err != nil {
					return false, err
				}
			}
			text = inside(m.values[q.at])
		}
		ok := q.holds(text)
		if i < c.p.anys {
			one = ok
		} else if !ok {
			return false, nil
		}
	}
	return one, nil
}
