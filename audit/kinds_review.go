package audit

import "time"

// AccessReview is what a person decided in a review of access: the sign-off. One
// that decides on more than a record holds is several records, its parts, which
// have the same Review: it is whole when all are there.
type AccessReview struct {
	Time      time.Time
	Review    string // id
	Part      int    // from 1
	Parts     int
	Actor     Actor     // who called
	Reviewer  string    // who signs, as stated; Actor says what of that is verified
	Document  string    // SHA-256 of the review document, hex
	From      time.Time // first moment of the period that was reviewed
	To        time.Time // and the end of it
	Size      int64     // of the tree that the document stands on
	Root      string    // base64
	Config    string    // SHA-256 of the configuration that says who could, hex
	Grants    int64     // that the document lists
	Kept      int64     // of them, in all parts
	Revoked   int64
	Changed   int64
	Decisions JSON // of this part: [{"grant", "decision", "note"}, …]
	Reason    string
	Ticket    string // nothing proves it
	Shortened
}

// AppendBody implements Body.
func (r *AccessReview) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *AccessReview) members(c *coder) {
	c.begin(KindAccessReview, &r.Time)
	c.text("review", &r.Review, maxText)
	number(c, "part", &r.Part)
	number(c, "parts", &r.Parts)
	r.Actor.members(c)
	c.text("reviewer", &r.Reviewer, maxText)
	c.text("document", &r.Document, maxText)
	c.span(&r.From, &r.To)
	count(c, "tree_size", &r.Size)
	c.text("tree_root", &r.Root, maxText)
	c.text("config", &r.Config, maxText)
	number(c, "grants", &r.Grants)
	number(c, "kept", &r.Kept)
	number(c, "revoked", &r.Revoked)
	number(c, "changed", &r.Changed)
	c.json("decisions", &r.Decisions)
	c.text("reason", &r.Reason, maxValue)
	c.text("ticket", &r.Ticket, maxText)
	c.end(&r.Shortened)
}
