package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// clockSlack is how far the clock may have gone back without Find missing a
// record.
const clockSlack = time.Minute

// Find returns the record of a request. It searches from the newest record
// back to the time that is in the id; a request recorded long ago is found as
// surely as a new one, but later.
func Find(dir records.Dir, id ID) (seq int64, record []byte, err error) {
	needle := append([]byte(`"id":"`), id.String()...)
	began := id.Time().Add(-clockSlack)
	var failed error
	err = dir.Newest(func(n int64, r []byte) bool {
		if bytes.Contains(r, needle) {
			if h, err := ParseHeader(r); err == nil && h.ID == id.String() {
				seq, record = n, r
				return false
			}
		}
		if n%64 != 0 { // looking at some of the times is enough
			return true
		}
		var appended time.Time
		appended, failed = appendedAt(r)
		return failed == nil && appended.After(began)
	})
	switch {
	case err != nil:
		return 0, nil, err
	case failed != nil:
		return 0, nil, failed
	case record == nil:
		return 0, nil, fmt.Errorf("request %s: %w", id, records.ErrNotFound)
	}
	return seq, record, nil
}

// appendedAt is about when a record was appended: a request's record has the
// time at which it began and is appended when it has ended.
func appendedAt(record []byte) (time.Time, error) {
	var r struct {
		Time     time.Time     `json:"time"`
		Duration time.Duration `json:"duration_ns"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return time.Time{}, fmt.Errorf("reading record: %w", err)
	}
	return r.Time.Add(r.Duration), nil
}
