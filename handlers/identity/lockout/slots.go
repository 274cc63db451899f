package lockout

import "time"

// get returns the entry of a key, or nil.
func (t *Table) get(key Key) *entry {
	i, ok := t.index[key]
	if !ok {
		return nil
	}
	return &t.slots[i]
}

// put returns the entry of a key, which is made if there is none.
func (t *Table) put(key Key, now time.Time, events *[]Event) *entry {
	if e := t.get(key); e != nil {
		return e
	}
	var i int32
	if len(t.slots) < t.size {
		i = int32(len(t.slots))
		t.slots = append(t.slots, entry{})
	} else {
		i = t.victim(now)
		old := &t.slots[i]
		if old.key != (Key{}) {
			if old.told {
				t.end(old, "expire", now, events)
			}
			delete(t.index, old.key)
		}
	}
	t.slots[i] = entry{key: key, since: now, seen: now}
	t.index[key] = i
	return &t.slots[i]
}

// drop empties the slot of a key. It is the next to be taken.
func (t *Table) drop(key Key) {
	i := t.index[key]
	delete(t.index, key)
	t.slots[i] = entry{}
}

// looks is how many slots are looked at to find one to empty. Who floods the
// table with made-up names gets rid of others' made-up names, hardly of a lock.
const looks = 16

// victim chooses the slot that is worth least of those that are next in turn.
func (t *Table) victim(now time.Time) int32 {
	best, least := int32(0), int64(-1)
	for range looks {
		i := int32(t.next % uint32(len(t.slots)))
		t.next++
		w := worth(&t.slots[i], now)
		if least < 0 || w < least {
			best, least = i, w
		}
		if w == 0 {
			return i
		}
	}
	if least > 1 {
		t.evicted++
	}
	return best
}

// worth says how much is lost with a slot.
func worth(e *entry, now time.Time) int64 {
	switch {
	case e.key == (Key{}):
		return 0
	case now.Before(e.until):
		return 1<<40 + int64(e.until.Sub(now)/time.Second)
	case e.key.What != trust && e.count > 0 && now.Sub(e.since) <= memory:
		return 1<<35 + e.count // or who has an account and many networks could have guesses forgotten
	case e.key.What == trust && now.Sub(e.seen) < trusted:
		return 1<<30 - int64(now.Sub(e.seen)/time.Second)
	case now.Sub(e.since) > memory:
		return 1
	}
	return 1 + e.count
}
