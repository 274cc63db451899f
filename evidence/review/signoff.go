package review

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
)

// SignOff is what a reviewer sends to the server whose log was reviewed.
type SignOff struct {
	By        string     `json:"by"` // the reviewer
	Reason    string     `json:"reason"`
	Ticket    string     `json:"ticket,omitempty"`
	Document  string     `json:"document"` // SHA-256, hex
	Origin    string     `json:"origin"`   // of the log
	Size      int64      `json:"tree_size"`
	Root      string     `json:"tree_root"`
	From      time.Time  `json:"from"`
	To        time.Time  `json:"to"`
	Config    string     `json:"config,omitempty"`
	Decisions []Decision `json:"decisions"`
}

// Hash is the SHA-256 of a document's bytes, hex.
func Hash(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

// NewSignOff makes the sign-off of a document, of which the bytes are given.
func NewSignOff(document []byte, decisions []Decision, rest, by, reason, ticket string) (*SignOff, error) {
	d, err := Parse(document)
	if err != nil {
		return nil, err
	}
	if decisions, err = d.Decide(decisions, rest); err != nil {
		return nil, err
	}
	s := &SignOff{
		By: by, Reason: reason, Ticket: ticket, Document: Hash(document), Origin: d.Log.Origin, Size: d.Log.Size, Root: d.Log.Root,
		From: d.Period.From, To: d.Period.To, Config: d.Configuration.SHA256, Decisions: decisions,
	}
	return s, s.Check()
}

// The longest texts of a sign-off, in bytes: what a record keeps.
const (
	maxName   = 256
	maxReason = 1024
)

// Check checks all that can be checked without the log.
func (s *SignOff) Check() error {
	sum, err := hex.DecodeString(s.Document)
	switch {
	case err != nil || len(sum) != sha256.Size || strings.ToLower(s.Document) != s.Document:
		return errors.New("the hash of the review is not 64 hex digits")
	case s.By == "" || s.Reason == "":
		return errors.New("it needs the name of the reviewer and a reason: the log records who signed and why")
	case len(s.By) > maxName || len(s.Ticket) > maxName || len(s.Reason) > maxReason:
		return fmt.Errorf("a name and a ticket have at most %d bytes, a reason %d", maxName, maxReason)
	case !utf8.ValidString(s.By) || !utf8.ValidString(s.Reason) || !utf8.ValidString(s.Ticket):
		return errors.New("a name, reason or ticket is not UTF-8")
	case !s.From.Before(s.To):
		return errors.New("the period ends before it begins")
	case len(s.Config) > maxName || s.Size <= 0:
		return errors.New("the configuration or the tree is none that a review names")
	case len(s.Decisions) > maxDecisions:
		return fmt.Errorf("there are %d decisions: a sign-off has at most %d", len(s.Decisions), maxDecisions)
	}
	seen := make(map[string]bool, len(s.Decisions))
	for i := range s.Decisions {
		d := &s.Decisions[i]
		if err := d.check(); err != nil {
			return err
		}
		if seen[d.Grant] {
			return fmt.Errorf("grant %q: there are two decisions on it", d.Grant)
		}
		seen[d.Grant] = true
	}
	return nil
}

// roomForDecisions is how much JSON a part of a sign-off has, as a record writes
// it, which is less than the 32 KiB that it keeps.
const roomForDecisions = 30 << 10

// written is how long JSON is at most in a record, where each byte that is not
// plain ASCII may become an escape of six.
func written(b []byte) (n int) {
	for _, c := range b {
		switch {
		case c == '<', c == '>', c == '&', c < ' ', c > '~':
			n += 6
		default:
			n++
		}
	}
	return n
}

// Records makes the records of the sign-off: as many parts as the decisions need.
func (s *SignOff) Records(now time.Time, id string, actor audit.Actor) ([]*audit.AccessReview, error) {
	parts, size := [][]byte{nil}, 2
	for i := range s.Decisions {
		b, err := json.Marshal(&s.Decisions[i])
		if err != nil {
			return nil, fmt.Errorf("writing a decision: %w", err)
		}
		n := len(parts) - 1
		if size += written(b) + 1; size > roomForDecisions {
			parts, size, n = append(parts, nil), written(b)+3, n+1
		}
		if len(parts[n]) > 0 {
			parts[n] = append(parts[n], ',')
		}
		parts[n] = append(parts[n], b...)
	}
	count := func(what string) (n int64) {
		for i := range s.Decisions {
			if s.Decisions[i].Decision == what {
				n++
			}
		}
		return n
	}
	kept, revoked, changed := count(Keep), count(Revoke), count(Change)
	var list []*audit.AccessReview
	for i, part := range parts {
		list = append(list, &audit.AccessReview{
			Time: now, Review: id, Part: i + 1, Parts: len(parts), Actor: actor, Reviewer: s.By, Document: s.Document, From: s.From, To: s.To,
			Size: s.Size, Root: s.Root, Config: s.Config, Grants: int64(len(s.Decisions)), Kept: kept, Revoked: revoked, Changed: changed,
			Decisions: audit.JSON{Value: slices.Concat([]byte{'['}, part, []byte{']'})}, Reason: s.Reason, Ticket: s.Ticket,
		})
	}
	return list, nil
}

// Signatures finds the sign-offs of a document in the log, with their decisions,
// from the record on that its tree ends with. The log is not verified.
func Signatures(ctx context.Context, dir records.Dir, document []byte) ([]Signed, error) {
	d, err := Parse(document)
	if err != nil {
		return nil, err
	}
	hash, found := Hash(document), map[string]*Signed{}
	run := export.Selection{From: export.Index(d.Log.Size), Kinds: []string{string(audit.KindAccessReview)}}
	err = run.Each(ctx, dir, func(seq int64, record []byte) error {
		if !bytes.Contains(record, []byte(hash)) {
			return nil
		}
		r, err := audit.Decode(record)
		if err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		b, ok := r.Body.(*audit.AccessReview)
		if !ok || b.Document != hash {
			return nil
		}
		s := found[b.Review]
		if s == nil {
			s = new(Signed)
			found[strings.Clone(b.Review)] = s
		}
		s.add(seq, b)
		var list []Decision
		if err := json.Unmarshal(b.Decisions.Value, &list); err != nil {
			return fmt.Errorf("record %d: its decisions cannot be read: %w", seq, err)
		}
		s.Decisions = append(s.Decisions, list...)
		return nil
	})
	list := []Signed{}
	for _, s := range found {
		// The server that wrote them did not have the document.
		_, undecided := d.Decide(s.Decisions, "")
		s.Whole = s.Whole && undecided == nil && int64(len(s.Decisions)) == s.Grants && s.From.Equal(d.Period.From) && s.To.Equal(d.Period.To)
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Signed) int { return cmp.Compare(a.Seqs[0], b.Seqs[0]) })
	return list, err
}
