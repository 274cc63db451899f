package audit

import "time"

// BrowserReport counts reports of browsers that are alike, such as violations
// of a Content-Security-Policy (Reporting API, CSP level 3). Everything in it
// but the counts is what clients claim.
type BrowserReport struct {
	Time        time.Time
	Host        string // that the pages are of
	Type        string // csp-violation, coep, deprecation, …; from a fixed list
	Directive   string // of the policy that was violated
	Blocked     string // origin or keyword of what was blocked; never a path
	Disposition string // enforce, report
	Page        string // path of one of the pages, without its query
	Count       int64
	From, To    time.Time // of the first and the last that were counted
	Shortened
}

// AppendBody implements Body.
func (r *BrowserReport) AppendBody(dst []byte, instance string) []byte {
	var c coder
	c.to(dst, instance)
	for c.pass() {
		r.members(&c)
	}
	return c.b
}

func (r *BrowserReport) members(c *coder) {
	c.begin(KindBrowserReport, &r.Time)
	c.text("host", &r.Host, maxText)
	c.text("type", &r.Type, maxText)
	c.text("directive", &r.Directive, maxText)
	c.text("blocked", &r.Blocked, maxText)
	c.text("disposition", &r.Disposition, maxText)
	c.text("page", &r.Page, maxText)
	number(c, "count", &r.Count)
	c.span(&r.From, &r.To)
	c.end(&r.Shortened)
}
