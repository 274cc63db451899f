package verify

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
)

// keyring follows the keys that sign a log. Each log.open record names all the
// keys that sign from there on, "key" and those in "also", so that a rotation is
// in the log itself: a key is added or retired where the set changes. Keys are
// told apart by their ids, NAME+HASH.
type keyring struct {
	given   []string // by who verifies
	endless []string // of those, that were given without an end
	signed  []string // of those, whose signatures the checkpoint carries
	others  []string // of the other signature lines, which are not verified
	periods []period
}

// period is a run of records over which the same keys signed.
type period struct {
	First int64    `json:"first"` // the log.open record that begins it
	Keys  []string `json:"keys"`  // by their ids
}

// head notes which of the given keys signed the checkpoint, which was opened
// with all of them.
func (r *keyring) head(b []byte, keys []note.Verifier) {
	_, r.others, _ = checkpoint.Open(b, keys...) // it was opened before
	for _, v := range keys {
		id := fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash())
		r.given = append(r.given, id)
		if _, ok := checkpoint.LimitOf(v); !ok {
			r.endless = append(r.endless, id)
		}
		if _, _, err := checkpoint.Open(b, v); err == nil {
			r.signed = append(r.signed, id)
		}
	}
}

// inUse reports a newest checkpoint that only keys with an end have signed,
// though one without was given: a thief of a retired key can write another log
// that is as short as the key is good for.
func (c *check) inUse(b []byte) {
	current := slices.DeleteFunc(slices.Clone(c.keys), func(v note.Verifier) bool { _, ok := checkpoint.LimitOf(v); return ok })
	if len(current) == 0 {
		return
	}
	if _, _, err := checkpoint.Open(b, current...); err != nil {
		c.problem(checkpoint.File, "it is signed by a retired key alone: %v", err)
	}
}

// record takes the keys out of a log.open record.
func (r *keyring) record(seq int64, record []byte) error {
	var opened struct {
		Key  string   `json:"key"`
		Also []string `json:"also"`
	}
	if err := json.Unmarshal(record, &opened); err != nil {
		return fmt.Errorf("its keys cannot be read: %w", err)
	}
	if opened.Key == "" {
		return nil
	}
	var ids []string
	for _, vkey := range append([]string{opened.Key}, opened.Also...) {
		parts := strings.SplitN(vkey, "+", 3)
		if len(parts) != 3 {
			return fmt.Errorf("%q, which it names, is not a verifier key", vkey)
		}
		ids = append(ids, parts[0]+"+"+parts[1])
	}
	if n := len(r.periods); n == 0 || !slices.Equal(r.periods[n-1].Keys, ids) {
		r.periods = append(r.periods, period{seq, ids})
	}
	return nil
}

// keysInUse compares who signed the checkpoint with the keys that the log says
// were in use, and notes the rotations.
func (c *check) keysInUse() {
	r := &c.ring
	if c.signed == nil || len(r.periods) == 0 {
		return
	}
	r.vouched(c)
	r.returned(c)
	given := func(id string) string {
		if slices.Contains(r.given, id) {
			return id
		}
		return id + " (not given)"
	}
	only := r.periods[0].Keys
	if len(r.periods) == 1 && !slices.ContainsFunc(only, func(id string) bool { return !slices.Contains(r.given, id) }) {
		return // nothing that is not known
	}
	for i, p := range r.periods {
		to := c.tree.Size() - 1
		if i+1 < len(r.periods) {
			to = r.periods[i+1].First - 1
		}
		var names []string
		for _, id := range p.Keys {
			names = append(names, given(id))
		}
		c.note("records %d to %d: signed by %s, as log.open record %d says", p.First, to, strings.Join(names, " and "), p.First)
	}
}

// returned notes the keys that came back into use after they were retired. No
// rotation does that, but an operator may put an old key back, and whoever stole
// a retired key can name it in a log.open record of their own.
func (r *keyring) returned(c *check) {
	retired := map[string]int64{} // by which log.open record
	defer func() {
		for _, id := range slices.Sorted(maps.Keys(retired)) {
			if slices.Contains(r.endless, id) {
				c.note("the key %s was given without an end, but log.open record %d retired it: give it as KEY@%d, so that nobody who stole it can sign on", id, retired[id], retired[id])
			}
		}
	}()
	for i, p := range r.periods {
		for _, id := range p.Keys {
			if by, ok := retired[id]; ok {
				delete(retired, id)
				c.note("log.open record %d puts the key %s back into use, which log.open record %d had retired: unless the operator did so, whoever stole that key wrote everything from record %d on", p.First, id, by, p.First)
			}
		}
		if i+1 < len(r.periods) {
			next := r.periods[i+1]
			for _, id := range p.Keys {
				if !slices.Contains(next.Keys, id) {
					retired[id] = next.First
				}
			}
		}
	}
}

// vouched finds a checkpoint that is signed by keys which were not in use. The
// last log.open record under it tells those that were: a retired key that was
// stolen cannot sign for what is there, nor one that was never the log's. It can
// sign for records that its thief adds, which returned notes.
func (r *keyring) vouched(c *check) {
	i := len(r.periods) - 1
	for i >= 0 && r.periods[i].First >= c.signed.Size {
		i--
	}
	if i < 0 {
		return
	}
	p := r.periods[i]
	in := func(list []string) func(string) bool {
		return func(id string) bool { return slices.Contains(list, id) }
	}
	signers, named := strings.Join(r.signed, " and "), strings.Join(p.Keys, " and ")
	switch {
	case slices.ContainsFunc(r.signed, in(p.Keys)):
	case slices.ContainsFunc(r.others, in(p.Keys)):
		// A crash while the log was opened leaves a checkpoint by the new set of
		// keys over records of the old one. What the old key wrote cannot be told.
		c.note("the checkpoint is signed by %s, which no log.open record under it names, and perhaps by %s, which was not given: give it to be sure", signers, named)
	default:
		c.problem(checkpoint.File, "it is signed by %s alone, but the key in use was %s, as log.open record %d says", signers, named, p.First)
	}
	for _, id := range p.Keys {
		if slices.Contains(r.given, id) && !slices.Contains(r.signed, id) && !slices.Contains(r.others, id) {
			c.note("the checkpoint does not have the signature of %s, which log.open record %d names", id, p.First)
		}
	}
}
