package population

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// The sources of principals.
const (
	sourceActor   = "actor"   // verified actor of something that was done
	sourceRequest = "request" // user of a request
)

// held is how many names are in memory. If there are more the log is read again
// for the next ones.
var held = 1 << 16

// principal is a name and what it did. Its times and texts are as records have
// them, with JSON's escapes.
type principal struct {
	key                                string // source and name: see keyOf
	method                             string
	firstSeq, lastSeq                  int64
	firstTime, lastTime                string
	requests, denied, limited, actions int64
}

// keyOf makes a key that sorts by source and name: no text of a record has a
// line feed.
func keyOf(source string, name []byte) string { return source + "\n" + string(name) }

// people reads a run of principals: of those whose keys are greater than after,
// the smallest.
type people struct {
	after string
	most  int
	all   map[string]*principal
	more  bool // there are others

	top     string // a bound of the keys that are still wanted, if bounded
	bounded bool

	period          *Selector
	denied, limited *Selector
	values          [][]byte
}

// Members of the records that name somebody.
const (
	userAt = iota
	methodAt
	nameAt
	knownAt
	howAt
)

var namePaths = func() (p paths) {
	for _, path := range []string{"auth.user", "auth.method", "actor.name", "actor.known", "actor.how"} {
		p.add(path)
	}
	return p
}()

func newPeople(p *Population, period Period, after string) (*people, error) {
	denials, err := Find("denials")
	if err != nil {
		return nil, err
	}
	limited, err := Find("limited")
	if err != nil {
		return nil, err
	}
	return &people{
		after: after, most: held, all: map[string]*principal{},
		period: p.Selector(period), denied: denials.Selector(Period{}), limited: limited.Selector(Period{}),
	}, nil
}

// add counts a record.
func (p *people) add(seq int64, record []byte) error {
	ok, err := p.period.Has(record)
	if !ok || err != nil {
		return err
	}
	if p.values, err = namePaths.read(p.values, record); err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	if user := inside(p.values[userAt]); len(user) > 0 {
		if who := p.find(keyOf(sourceRequest, user), seq, record, inside(p.values[methodAt])); who != nil {
			return p.request(who, record)
		}
	}
	name := inside(p.values[nameAt])
	if len(name) > 0 && string(inside(p.values[knownAt])) == "verified" {
		if who := p.find(keyOf(sourceActor, name), seq, record, inside(p.values[howAt])); who != nil {
			who.actions++
		}
	}
	return nil
}

func (p *people) request(who *principal, record []byte) error {
	who.requests++
	denied, err := p.denied.Has(record)
	if err == nil && denied {
		who.denied++
	}
	limited, lerr := p.limited.Has(record)
	if lerr == nil && limited {
		who.limited++
	}
	return errors.Join(err, lerr)
}

// find returns a principal whom a record names, or nil if it is not of the run.
func (p *people) find(key string, seq int64, record, method []byte) *principal {
	if key <= p.after && p.after != "" || p.bounded && key > p.top {
		return nil
	}
	at := records.Time(record)
	who := p.all[key]
	if who == nil {
		p.room()
		if p.bounded && key > p.top {
			return nil
		}
		who = &principal{key: key, method: string(method), firstSeq: seq, firstTime: string(at)}
		p.all[key] = who
	}
	who.lastSeq = seq
	if string(at) < who.firstTime {
		who.firstTime = string(at)
	}
	if string(at) > who.lastTime {
		who.lastTime = string(at)
	}
	return who
}

// room drops the greater half of the names when there are too many: they are for
// the next run.
func (p *people) room() {
	if len(p.all) < p.most {
		return
	}
	keys := p.keys()
	for _, key := range keys[len(keys)/2:] {
		delete(p.all, key)
	}
	p.more, p.bounded, p.top = true, true, keys[len(keys)/2-1]
}

func (p *people) keys() []string {
	keys := make([]string, 0, len(p.all))
	for key := range p.all {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// row makes the row of a principal.
func (w *principal) row(row *Row) error {
	source, name, _ := strings.Cut(w.key, "\n")
	row.Seq, row.key, row.Cells = w.firstSeq, w.key, row.Cells[:0]
	for _, text := range []string{source, name, w.method} {
		c, err := cell([]byte(`"`+text+`"`), Text)
		if err != nil {
			return err
		}
		row.Cells = append(row.Cells, c)
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	row.Cells = append(row.Cells, n(w.firstSeq), w.firstTime, n(w.lastSeq), w.lastTime, n(w.requests), n(w.denied), n(w.limited), n(w.actions))
	return nil
}

// principals is Rows for the population of that name.
func principals(ctx context.Context, log *Log, opt Options, fn func(*Row) error) (Result, error) {
	r := Result{First: -1, Last: -1}
	after := opt.After
	if after != "" && strings.Count(after, "\n") != 1 {
		return r, fmt.Errorf("%w: %q is not the key of a row", ErrOption, after)
	}
	var row Row
	for {
		p, err := newPeople(opt.Population, opt.Period, after)
		if err != nil {
			return r, err
		}
		r.Coverage, err = log.Scan(ctx, opt.Period, opt.now(), opt.Tolerant, func(seq int64, record []byte) error {
			opt.progress(seq, log)
			return p.add(seq, record)
		})
		if err != nil {
			return r, err
		}
		for _, key := range p.keys() {
			who := p.all[key]
			if err := who.row(&row); err != nil {
				return r, err
			}
			if err := fn(&row); err != nil {
				r.empty()
				return r, stopped(err)
			}
			r.add(who.firstSeq, who.lastSeq)
			after = key
		}
		if !p.more {
			r.empty()
			return r, nil
		}
	}
}
