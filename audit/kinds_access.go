package audit

import "time"

// BreakGlass says that somebody opened, for a while, what the rules of access
// control refuse a principal, or ended that.
type BreakGlass struct {
	Time      time.Time
	Action    string // open, close
	Grant     string // id; the records of requests that it let in have it as their reason
	Policy    string // name of the policy
	Principal string // who is let in
	Actor     Actor  // who opened or ended it
	Reason    string // why
	Ticket    string // nothing proves it
	Until     time.Time
	Used      int64 // close: requests that it let in
	Shortened
}

// AppendBody implements Body.
func (r *BreakGlass) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *BreakGlass) members(c *coder) {
	c.begin(KindBreakGlass, &r.Time)
	c.text("action", &r.Action, maxText)
	c.text("grant", &r.Grant, maxText)
	c.text("policy", &r.Policy, maxText)
	c.text("principal", &r.Principal, maxText)
	r.Actor.members(c)
	c.text("reason", &r.Reason, maxValue)
	c.text("ticket", &r.Ticket, maxText)
	c.time("until", &r.Until)
	count(c, "used", &r.Used)
	c.end(&r.Shortened)
}
