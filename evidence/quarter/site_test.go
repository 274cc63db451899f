package quarter_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/personal/hold"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

const (
	origin   = "edge-1/soc2"
	instance = "edge-1"
	stamp    = "2006-01-02T15:04:05.000000000Z"

	segmentAge = 24 * time.Hour
	keep       = 62 * 24 * time.Hour
)

// fact is what the script knows of a record: nothing of it was read from the
// log.
type fact struct {
	at   int64 // member time
	took int64 // until it was appended
	n    int32 // number of the request, or place in others
	kind uint8 // place in kinds
	mood mood
	veil bool // its personal members are sealed and have pseudonyms
}

// other is a record that is of no request: the cells that its row has.
type other struct {
	cells map[string]string
	body  audit.Body // nil: the log wrote it itself
	keys  []string   // of a log.open
	clean bool
}

// piece is a segment.
type piece struct {
	first int64
	at    time.Time // its first record was appended
	until int64     // the first record behind it, once it has ended
}

// site is a real log on a simulated clock, and the script's account of it.
type site struct {
	t        testing.TB
	root     string
	dir      string
	log      *audit.Log
	clock    atomic.Int64
	now      time.Time
	gate     atomic.Bool // retention removes what it may
	holds    *hold.Holds
	keyFile  string
	identity *age.X25519Identity
	sealer   *personal.Sealer
	names    *personal.Pseudonyms
	veil     *personal.Protector

	facts   []fact
	others  []other
	kinds   []string
	kindOf  map[string]uint8
	stands  map[string]string // month, member and value: its pseudonym
	pieces  []piece
	gone    int       // pieces that retention removed
	began   time.Time // the present piece
	rolling bool      // the next record begins a piece
	sealing bool      // the rollup record of the one before is to come
	signed  int64     // records under the newest checkpoint
	boxed   [2]boxed  // of somebody before and after being forgotten
	mood    mood
	sent    int // requests
	ev      audit.Event
	buf     []byte
	keys    []string // verifier keys that ever signed
}

// boxed is a sealed record.
type boxed struct {
	id  audit.ID
	ref string
	box []byte
}

func newSite(t testing.TB, begin time.Time) *site {
	t.Helper()
	s := &site{t: t, root: t.TempDir(), now: begin, kindOf: map[string]uint8{}, stands: map[string]string{}}
	s.dir, s.keyFile = filepath.Join(s.root, "log"), filepath.Join(s.root, "keys", "log.key")
	s.clock.Store(begin.UnixNano())
	key, err := audit.NewKey(origin)
	s.must(err)
	s.must(os.MkdirAll(filepath.Dir(s.keyFile), 0o700))
	s.must(key.Save(durable.OS{}, s.keyFile))
	s.holds, err = hold.Open(durable.OS{}, filepath.Join(s.root, "state"))
	s.must(err)
	s.holds.Now = s.time
	s.identity, err = age.GenerateX25519Identity()
	s.must(err)
	return s
}

func (s *site) must(err error) {
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
}

func (s *site) time() time.Time { return time.Unix(0, s.clock.Load()).UTC() }

// keySet is what a start of the program loads.
func (s *site) keySet() audit.KeySet {
	s.t.Helper()
	src, err := audit.ParseSource(s.keyFile)
	s.must(err)
	set, err := src.LoadSet()
	s.must(err)
	return set
}

// open opens the log. unsigned and torn are what a crash left.
func (s *site) open(clean bool, torn int64) {
	s.t.Helper()
	set := s.keySet()
	unsigned := int64(len(s.facts)) - s.signed
	var err error
	s.log, err = audit.Open(audit.Config{
		FS: disk{}, Dir: s.dir, Key: set.Key, Cosigners: set.Cosigners(), Instance: instance, Now: s.time,
		CheckpointEvery: 24 * time.Hour, SegmentAge: segmentAge, SegmentBytes: 1 << 40, Deadline: 10 * time.Minute,
		Retention: audit.Retention{Keep: keep, Held: func(until time.Time) (bool, error) { return !s.gate.Load() || s.holds.Blocks(until), nil }},
	})
	s.must(err)
	keys := []string{set.Key.Public()}
	if set.Next != nil {
		keys = append(keys, set.Next.Public())
	}
	cells := map[string]string{"clean": strconv.FormatBool(clean)}
	if !clean {
		cells["unsigned_records"], cells["torn_bytes"] = strconv.FormatInt(unsigned, 10), strconv.FormatInt(torn, 10)
	}
	if len(s.facts) == 0 {
		s.pieces = []piece{{first: 0, at: s.now}}
	}
	s.own("log.open", s.now, other{cells: cells, keys: keys, clean: clean})
	for _, k := range keys {
		if !strings.Contains(strings.Join(s.keys, "\n"), k) {
			s.keys = append(s.keys, k)
		}
	}
	s.signed, s.began, s.rolling = int64(len(s.facts)), s.now, false
}

// close ends the log in order.
func (s *site) close() {
	s.t.Helper()
	if s.rolling {
		s.t.Fatal("the script closes the log where a segment ends")
	}
	s.settle()
	s.must(s.log.Close())
	s.own("log.close", s.now, other{})
	s.signed = int64(len(s.facts))
}

// pass moves the clock forward. Before a segment ends, all is on disk, so that
// it ends where the script says.
func (s *site) pass(to time.Time) {
	if to.Before(s.now) {
		s.t.Fatalf("the script goes back from %s to %s", s.now, to)
	}
	if s.sealing && to.Day() != s.now.Day() {
		s.settle() // nobody knows the very time of a rollup record, but its day
	}
	if !s.rolling && to.Sub(s.began) >= segmentAge {
		s.settle()
		s.flush()
		s.rolling = true
	}
	s.now = to
	s.clock.Store(to.UnixNano())
}

// flush waits until all records are on disk.
func (s *site) flush() {
	s.t.Helper()
	_, err := s.log.Wait(context.Background(), int64(len(s.facts))-1)
	s.must(err)
}

// note takes a record into the account.
func (s *site) note(kind string, at time.Time, f fact) {
	k, ok := s.kindOf[kind]
	if !ok {
		k = uint8(len(s.kinds))
		s.kinds, s.kindOf[kind] = append(s.kinds, kind), k
	}
	f.kind, f.at = k, at.UnixNano()
	s.facts = append(s.facts, f)
}

// own notes a record that the log writes itself.
func (s *site) own(kind string, at time.Time, o other) {
	s.others = append(s.others, o)
	s.note(kind, at, fact{n: int32(len(s.others) - 1)})
}

// put appends a record that the script has noted, and checks that it is the next
// one: no record comes that the script does not know of. The rollup record of a
// segment that is being sealed may come before any.
func (s *site) put(body []byte, wait bool) {
	add := s.log.Enqueue
	if wait || s.rolling {
		add = s.log.Append
	}
	seq, err := add(context.Background(), body)
	if err != nil {
		s.t.Fatal(err)
	}
	want := int64(len(s.facts)) - 1
	if s.sealing && seq == want+1 {
		this := s.facts[want]
		s.facts = s.facts[:want]
		s.own("rollup", s.now, other{})
		s.facts = append(s.facts, this)
		s.ended()
	} else if seq != want {
		s.t.Fatalf("at %s a record got the number %d, and by the script's account it is %d", s.now, seq, want)
	}
	if !s.rolling {
		return
	}
	s.pieces[len(s.pieces)-1].until = seq
	s.pieces = append(s.pieces, piece{first: seq, at: s.now})
	s.signed, s.began, s.rolling, s.sealing = seq, s.now, false, true
}

// settle waits until the segment before is sealed.
func (s *site) settle() {
	s.t.Helper()
	if !s.sealing {
		return
	}
	s.sealed()
	s.own("rollup", s.now, other{})
	s.ended()
}

// ended notes what the log does when a segment was sealed: retention removes
// what it may.
func (s *site) ended() {
	s.t.Helper()
	s.sealing = false
	s.sealed()
	s.prune()
}

// sealed waits until all segments but the newest are sealed.
func (s *site) sealed() {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(time.Millisecond) {
		open, err := filepath.Glob(filepath.Join(s.dir, "segments", "*.log"))
		if err != nil || time.Now().After(deadline) {
			s.t.Fatalf("segments are not sealed: %v %v", open, err)
		}
		if len(open) == 1 {
			return
		}
	}
}

// prune has retention remove what it may, and compares with what the script
// means by that: pieces go when the one after them was begun long enough ago.
func (s *site) prune() {
	s.t.Helper()
	cutoff, n := s.now.Add(-keep), s.gone
	for n+2 < len(s.pieces) && s.pieces[n+1].at.Before(cutoff) {
		n++
	}
	s.gate.Store(true)
	held := s.holds.Blocks(cutoff)
	upto, before, err := s.log.Prune(context.Background())
	s.gate.Store(false)
	want := s.pieces[s.gone].first
	switch {
	case n > s.gone && held:
		if !errors.Is(err, audit.ErrHeld) {
			s.t.Fatalf("at %s a hold is in force, and pruning says %v", s.now, err)
		}
		return
	case err != nil:
		s.t.Fatal(err)
	case n == s.gone:
	default:
		want = s.pieces[n].first
		s.own("log.erase", s.now, other{cells: map[string]string{
			"what": "retention", "upto": strconv.FormatInt(want, 10), "segments": strconv.Itoa(n - s.gone), "by": "retention", "reason": "kept for 1488h0m0s",
		}})
		s.signed, s.gone = int64(len(s.facts)), n
	}
	if upto != want && before != want {
		s.t.Fatalf("at %s pruning removed the records before %d (before: %d), and by the script's account it is %d", s.now, upto, before, want)
	}
}

// add appends a record that is of no request.
func (s *site) add(b audit.Body) {
	kind, at, took, cells := cellsOf(b)
	s.others = append(s.others, other{cells: cells, body: b})
	s.note(kind, at, fact{n: int32(len(s.others) - 1), took: int64(took)})
	s.put(b.AppendBody(nil, instance), false)
}

// request sends a request that ends now.
func (s *site) request(took time.Duration, ahead string) {
	s.sent++
	r := draw(s.sent, s.mood, s.now.Add(-took), took)
	if ahead != "" {
		s.ahead(&r, ahead)
	}
	r.event(&s.ev)
	if s.veil != nil {
		s.must(s.veil.Apply(&s.ev))
		s.stand(&r, "client.ip", r.client, s.ev.ClientIP)
		s.stand(&r, "auth.user", r.user, s.ev.User)
		if r.user == forgotten {
			s.boxed[1] = boxed{r.id, s.ev.PersonalKey, bytes.Clone(s.ev.Personal)}
			if s.boxed[0].box == nil {
				s.boxed[0] = s.boxed[1]
			}
		}
	}
	s.note("request", r.at, fact{took: int64(took), n: int32(s.sent), mood: s.mood, veil: s.veil != nil})
	s.buf = s.ev.AppendBody(s.buf[:0], instance)
	s.put(s.buf, s.sent%4096 == 0)
}

// ahead appends what a request has before its own record: an intent in mode
// strict, an opening when a connection is taken over.
func (s *site) ahead(r *request, kind string) {
	s.t.Helper()
	var ev audit.Event
	r.event(&ev)
	ev.Duration, ev.User, ev.AuthMethod = 0, "", ""
	if s.veil != nil {
		s.must(s.veil.Ahead(&ev))
	}
	ev.Start = s.now
	s.note(kind, s.now, fact{n: int32(s.sent), veil: s.veil != nil})
	if kind == "request.intent" {
		s.put((*audit.Intent)(&ev).AppendBody(nil, instance), false)
		return
	}
	s.put((*audit.Opening)(&ev).AppendBody(nil, instance), false)
}

// stand notes which pseudonym stands for a value: it is one and the same for a
// month, and no other value's.
func (s *site) stand(r *request, member, value, shown string) {
	key := r.at.Format("2006-01 ") + member + " " + value
	was, ok := s.stands[key]
	switch {
	case value == "" && shown != "", value != "" && (shown == "" || shown == value), ok && was != shown:
		s.t.Fatalf("%s is shown as %q, and was as %q", key, shown, was)
	case !ok:
		s.stands[key] = shown
	}
}

// shown is how a value stands in the record of a request.
func (s *site) shown(f fact, r *request, member, value string) string {
	if !f.veil {
		return value
	}
	return s.stands[r.at.Format("2006-01 ")+member+" "+value]
}
