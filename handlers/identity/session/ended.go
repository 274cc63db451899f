package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Ended is what was logged out. A session lies in a cookie, which a browser, or
// who copied it, may go on to send, so the server remembers until the cookie
// would have ended by itself. It lies in a file too, so that a restart logs
// nobody in again.
type Ended struct {
	path string // empty: in memory alone

	mu   sync.Mutex // guards the fields below
	m    map[string]ended
	seen map[string]int64 // what happens once: unix seconds, when it can be forgotten
}

// ended is what was logged out.
type ended struct {
	Before int64 `json:"before,omitempty"` // unix seconds: sessions that began until then; 0: all
	Until  int64 `json:"until"`            // unix seconds: when it can be forgotten

	written bool
}

// maxEnded is how many logouts are remembered, and how much that happens once.
const maxEnded = 50_000

// OpenEnded reads what was logged out from a file, if there is one.
func OpenEnded(path string) (*Ended, error) {
	e := &Ended{path: path, m: map[string]ended{}, seen: map[string]int64{}}
	if path == "" {
		return e, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	data, err := durable.ReadFile(durable.OS{}, path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &e.m); err != nil {
		return nil, fmt.Errorf("%s is damaged: without it sessions that were logged out would come back; mend it, or change the session keys, which ends all sessions, and remove it", path)
	}
	return e, nil
}

// The prefixes of what is logged out.
const (
	bySession  = "session "
	bySid      = "sid "
	bySubject  = "sub "
	byNameless = "nameless " // of a subject, those of which the provider gave no sid
)

// Has reports whether a session was logged out.
func (e *Ended) Has(s *Session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Sid != "" && e.has(bySid+s.Sid, s) || s.Sid == "" && e.has(byNameless+s.Subject, s) {
		return true
	}
	return e.has(bySession+s.ID, s) || e.has(bySubject+s.Subject, s)
}

func (e *Ended) has(key string, s *Session) bool {
	x, there := e.m[key]
	return there && (x.Before == 0 || s.Begun <= x.Before)
}

// Session logs one session out. What it returns is that this could not be
// written down. One that is out already costs nothing: it does not come back, so
// that it need not be remembered for longer.
func (e *Ended) Session(id string, now time.Time, keep time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.m[bySession+id].written {
		return nil
	}
	return e.add(now, map[string]ended{bySession + id: {Until: now.Add(keep).Unix()}})
}

// Provider logs out the sessions of a provider's session, or if that is empty,
// all that a subject has now. Sessions of the subject of which it is not known
// which of the provider's they are of end with any of them.
func (e *Ended) Provider(sid, subject string, now time.Time, keep time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	until := now.Add(keep).Unix()
	if sid == "" {
		return e.add(now, map[string]ended{bySubject + subject: {Before: now.Unix(), Until: until}})
	}
	out := map[string]ended{bySid + sid: {Until: until}}
	if subject != "" {
		out[byNameless+subject] = ended{Before: now.Unix(), Until: until}
	}
	return e.add(now, out)
}

// Once reports whether something is seen for the first time. It is remembered in
// memory alone, as long as it says, and apart from logouts, because anybody can
// begin a login.
func (e *Ended) Once(what string, now time.Time, keep time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if until, there := e.seen[what]; there && now.Unix() < until {
		return false
	}
	room(e.seen, now, func(until int64) int64 { return until })
	e.seen[what] = now.Add(keep).Unix() + 1
	return true
}

// add adds what was logged out. The caller holds the lock.
func (e *Ended) add(now time.Time, out map[string]ended) error {
	for key, x := range out {
		room(e.m, now, func(x ended) int64 { return x.Until })
		e.m[key] = x
	}
	if e.path == "" {
		return nil
	}
	data, err := json.Marshal(e.m)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(durable.OS{}, e.path, data); err != nil {
		return err
	}
	for key, x := range out {
		x.written = true
		e.m[key] = x
	}
	return nil
}

// room makes room in a full map: it forgets what is of no more use, or if nothing
// is, the sixteenth that will be first.
func room[T any](m map[string]T, now time.Time, until func(T) int64) {
	if len(m) < maxEnded {
		return
	}
	maps.DeleteFunc(m, func(_ string, x T) bool { return now.Unix() >= until(x) })
	if len(m) < maxEnded {
		return
	}
	ends := make([]int64, 0, len(m))
	for _, x := range m {
		ends = append(ends, until(x))
	}
	slices.Sort(ends)
	least, left := ends[len(ends)/16], len(ends)/16
	for key, x := range m {
		if left > 0 && until(x) <= least {
			delete(m, key)
			left--
		}
	}
}
