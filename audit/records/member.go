package records

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Kind reads the kind of a record without decoding it: its place in the record
// is fixed.
func Kind(record []byte) []byte { return member(record, `","kind":"`) }

// Time reads the time of a record, likewise: RFC 3339 in UTC with nine digits
// of a second, so that times sort as text.
func Time(record []byte) []byte { return member(record, `,"time":"`) }

func member(record []byte, name string) []byte {
	_, rest, _ := bytes.Cut(record, []byte(name))
	value, _, _ := bytes.Cut(rest, []byte{'"'})
	return value
}

// Appended is about when a record was appended: the record of a request has the
// time at which the request began and is appended when it has ended.
func Appended(record []byte) (time.Time, error) {
	var r struct {
		Time     time.Time     `json:"time"`
		Duration time.Duration `json:"duration_ns"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return time.Time{}, fmt.Errorf("reading record: %w", err)
	}
	return r.Time.Add(r.Duration), nil
}
