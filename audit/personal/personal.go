// Package personal keeps personal data in a log from whoever may read the log
// but not the data, and takes it out of the log's reach again.
//
// It has two means, which can be combined:
//
//   - A pseudonym (Pseudonyms) takes the place of a value. It is the same for
//     the same value within a period, so that records can still be counted and
//     joined. Its key is destroyed when the period is of no more interest.
//   - A box (Sealer) holds values that only an auditor may read: sealed under a
//     key of the day, which is itself encrypted to the auditors with age. A
//     record's leaf hash covers the box, not what is in it. So destroying a key
//     erases the contents, and every proof stays valid.
//
// With subject keys, the boxes of one user are sealed under a key of that user
// and day, and Forget destroys these.
//
// Files, in the directory of keys that the caller names. All are part of the
// on-disk format.
//
//	pseudonyms/PERIOD.key         key of a period, in the clear
//	pseudonyms/PERIOD.destroyed   the key was destroyed
//	personal/ID.age               key of a day and run, encrypted with age
//	personal/ID.subjects          keys of subjects, sealed with the day's key
//	personal/ID.destroyed         both were destroyed
//	personal/subjects.key         finds a subject's keys; opens nothing
//
// What this cannot do is written in docs/privacy.md.
package personal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Errors that tell why a value cannot be had.
var (
	// ErrDestroyed means that the key was destroyed on purpose.
	ErrDestroyed = errors.New("its key was destroyed")
	// ErrForgotten means that the key of the subject was destroyed.
	ErrForgotten = errors.New("the key of its subject was destroyed (forgotten)")
	// ErrNoKey means that there is no key, and no sign of its destruction.
	ErrNoKey = errors.New("no such key in this directory")
	// ErrIdentity means that a key is not encrypted to any identity given.
	ErrIdentity = errors.New("no identity opens the key")
	// ErrBox means that a box is not the one that was sealed for the record.
	ErrBox = errors.New("the box was changed or belongs to another record")
	// ErrPeriod means that the keys of a period cannot be destroyed as asked:
	// there is no such period, or it is not over.
	ErrPeriod = errors.New("this period cannot be destroyed")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("closed")
)

// What was erased, as the member "what" of a log.erase record says it.
const (
	ErasedSubject = "subject"
	ErasedPeriod  = "period"
)

// Erasure says what was destroyed. It becomes a record of the kind log.erase.
type Erasure struct {
	What    string `json:"what"`              // ErasedSubject or ErasedPeriod
	Subject string `json:"subject,omitempty"` // stands for the subject: see Sealer.Handle
	Period  string `json:"period,omitempty"`  // of the keys: a period of pseudonyms, or a day of boxes
	Keys    int    `json:"keys"`              // how many keys were destroyed, now or in an earlier try of the same
	Files   int    `json:"files"`             // in how many files they were
}

// Hold tells whether records of a time may be erased. It returns an error that
// says why not. From is zero for a time without a beginning.
type Hold func(from, to time.Time) error

// keySize is the size of all keys here, in bytes.
const keySize = 32

// encoding32 writes bytes in names and pseudonyms: lower case, without padding.
var encoding32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// derive makes a key for one use from a key that has several.
func derive(key []byte, use, id string) []byte {
	out, err := hkdf.Key(sha256.New, key, []byte(id), "caddy-soc2 "+use+" v1", keySize)
	if err != nil {
		panic(fmt.Sprintf("personal: deriving a key: %v", err)) // only for a size out of range
	}
	return out
}

// claim makes a directory and locks it. Leftovers of a crash are cleared away.
func claim(fsys durable.FS, dir string) (*durable.Lock, error) {
	if err := durable.MakeDir(fsys, dir); err != nil {
		return nil, err
	}
	lock, err := durable.LockDir(dir)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%s: %w: the server that uses it can do this for you: use its admin API", dir, err)
	}
	if err != nil {
		return nil, err
	}
	if err := sweep(fsys, dir); err != nil {
		_ = lock.Unlock()
		return nil, err
	}
	return lock, nil
}
