package access

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/export"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/adminapi"
)

// maxSignOff is the size of the largest sign-off that is read, in bytes.
const maxSignOff = 32 << 20

// signed is the answer to a sign-off.
type signed struct {
	Review   string `json:"review"`
	Document string `json:"document_sha256"`
	Reviewer string `json:"reviewer"`
	Verified string `json:"verified_as,omitempty"` // name of who called, if it is verified
	Parts    int    `json:"records"`
	Grants   int64  `json:"grants"`
	Kept     int64  `json:"kept"`
	Revoked  int64  `json:"revoked"`
	Changed  int64  `json:"changed"`
}

// signReview writes the records of a sign-off, once it is sure that the review is
// of this log. That nothing is left to decide, who makes the sign-off checks: the
// review itself is not sent.
func signReview(w http.ResponseWriter, r *http.Request) (any, error) {
	s, err := readSignOff(w, r)
	if err != nil {
		return nil, err
	}
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return nil, adminapi.Fail(http.StatusServiceUnavailable, "It is not signed: %s.", errNoLog)
	}
	defer book.Release()
	if err := ofLog(r.Context(), book.Log(), s); err != nil {
		return nil, adminapi.Fail(http.StatusConflict, "It is not signed: %s.", err)
	}
	who := actor(r, s.By)
	list, err := s.Records(time.Now(), newReviewID(), who)
	if err != nil {
		return nil, err
	}
	for _, record := range list {
		if err := book.Write(record, true); err != nil {
			return nil, adminapi.Fail(http.StatusServiceUnavailable, "It is not signed, because record %d of %d was not kept: %s. Sign it again.", record.Part, len(list), err)
		}
	}
	first := list[0]
	a := signed{
		Review: first.Review, Document: s.Document, Reviewer: s.By, Parts: len(list), Grants: first.Grants, Kept: first.Kept, Revoked: first.Revoked, Changed: first.Changed,
	}
	if who.Known == "verified" {
		a.Verified = who.Name
	}
	return a, nil
}

func readSignOff(w http.ResponseWriter, r *http.Request) (*review.SignOff, error) {
	s := new(review.SignOff)
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSignOff))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, adminapi.Fail(http.StatusBadRequest, "The body must be one JSON object: %s.", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, adminapi.Fail(http.StatusBadRequest, "Something follows the JSON object.")
	}
	if err := s.Check(); err != nil {
		return nil, adminapi.Fail(http.StatusBadRequest, "It cannot be signed: %s.", err)
	}
	return s, nil
}

// ofLog checks that a review stands on a tree of the log.
func ofLog(ctx context.Context, log *audit.Log, s *review.SignOff) error {
	h, err := log.Head()
	if err != nil {
		return err
	}
	head, err := checkpoint.Peek(h.Note)
	if err != nil {
		return err
	}
	switch {
	case export.Visible(head.Origin) != s.Origin:
		return fmt.Errorf("the review is of the log %q, and this is %q", s.Origin, head.Origin)
	case s.Size > head.Size:
		return fmt.Errorf("the review stands on %d records, and this log's checkpoint signs %d", s.Size, head.Size)
	}
	root := head.Root
	if s.Size < head.Size {
		if root, err = (tiles.Reader{Records: log.Records(), Size: s.Size}).Root(ctx); err != nil {
			return err
		}
	}
	if root.String() != s.Root {
		return fmt.Errorf("the tree of %d records of this log has another root than the review", s.Size)
	}
	return nil
}

func newReviewID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return "ar-" + hex.EncodeToString(b)
}
