package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

	mu sync.Mutex // guards the field below
	m  map[string]ended
}

// ended is what was logged out.
type ended struct {
	Before int64 `json:"before,omitempty"` // unix seconds: sessions that began until then; 0: all
	Until  int64 `json:"until"`            // unix seconds: when it can be forgotten
}

// maxEnded is how many logouts are remembered.
const maxEnded = 50_000

// OpenEnded reads what was logged out from a file, if there is one.
func OpenEnded(path string) (*Ended, error) {
	e := &Ended{path: path, m: map[string]ended{}}
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
	bySession = "session "
	bySid     = "sid "
	bySubject = "sub "
)

// Has reports whether a session was logged out.
func (e *Ended) Has(s *Session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.has(bySession+s.ID, s) || s.Sid != "" && e.has(bySid+s.Sid, s) || e.has(bySubject+s.Subject, s)
}

func (e *Ended) has(key string, s *Session) bool {
	x, there := e.m[key]
	return there && (x.Before == 0 || s.Begun <= x.Before)
}

// Session logs one session out. What it returns is that this could not be
// written down.
func (e *Ended) Session(id string, now time.Time, keep time.Duration) error {
	return e.add(bySession+id, ended{Until: now.Add(keep).Unix()}, now)
}

// Provider logs out the sessions of a provider's session, or if that is empty,
// all that a subject has now.
func (e *Ended) Provider(sid, subject string, now time.Time, keep time.Duration) error {
	until := now.Add(keep).Unix()
	if sid != "" {
		return e.add(bySid+sid, ended{Until: until}, now)
	}
	return e.add(bySubject+subject, ended{Before: now.Unix(), Until: until}, now)
}

// Once reports whether something is seen for the first time. It is remembered in
// memory alone, as long as it says.
func (e *Ended) Once(what string, now time.Time, keep time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x, there := e.m["once "+what]; there && now.Unix() < x.Until {
		return false
	}
	e.room(now)
	e.m["once "+what] = ended{Until: now.Add(keep).Unix() + 1}
	return true
}

func (e *Ended) add(key string, x ended, now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.room(now)
	e.m[key] = x
	if e.path == "" {
		return nil
	}
	data, err := json.Marshal(e.m)
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.OS{}, e.path, data)
}

// room forgets what is of no more use, and if that is not enough, what would be
// first.
func (e *Ended) room(now time.Time) {
	if len(e.m) < maxEnded {
		return
	}
	first, at := "", int64(0)
	for key, x := range e.m {
		if now.Unix() >= x.Until {
			delete(e.m, key)
			continue
		}
		if first == "" || x.Until < at {
			first, at = key, x.Until
		}
	}
	if len(e.m) >= maxEnded {
		delete(e.m, first)
	}
}
