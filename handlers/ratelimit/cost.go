package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

// Cost is what a request costs.
type Cost struct {
	// Units is how many of the limit's units. 0 asks whether one is left, and
	// takes none.
	Units int64 `json:"units"`

	// MatcherSetsRaw says which requests cost so much. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	matchers caddyhttp.MatcherSets
}

func (c *Cost) provision(ctx caddy.Context) error {
	if c.MatcherSetsRaw == nil {
		return nil
	}
	v, err := ctx.LoadModule(c, "MatcherSetsRaw")
	if err == nil {
		err = c.matchers.FromInterface(v)
	}
	if err != nil {
		return fmt.Errorf("cost %d: match: %w", c.Units, err)
	}
	return nil
}

// Charge says what a request costs once its response is known. What the zone's
// costs say is set aside until then, so that requests under way cannot spend
// more than there is. If the response costs more the key can come to owe more than
// it may spend, up to the zone's debt.
type Charge struct {
	// Statuses are those of responses that count, such as 401, or 4 for all from
	// 400 to 499; others cost nothing: to limit failed logins.
	Statuses []int `json:"statuses,omitempty"`

	// Bytes says that each byte of the response's body costs one unit.
	Bytes bool `json:"bytes,omitempty"`

	// Header is a header field of the response in which the upstream says what
	// the request costs. It is taken off the response. Without the field, or if it
	// is no number, the request costs what the zone's costs say.
	Header string `json:"header,omitempty"`

	// Max is the most that the upstream can say. Default: the burst.
	Max int64 `json:"max,omitempty"`

	most int64
}

func dur(d caddy.Duration) time.Duration { return time.Duration(d) }

// checkCosts checks costs and the charge.
func (z *Zone) checkCosts() error {
	for _, c := range z.Costs {
		if c == nil || c.Units < 0 || c.Units > limiter.MaxUnits {
			return fmt.Errorf("a cost must be between 0 and %d", limiter.MaxUnits)
		}
	}
	c := z.Charge
	if c == nil {
		return nil
	}
	kinds := 0
	for _, is := range []bool{len(c.Statuses) > 0, c.Bytes, c.Header != ""} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return errors.New("charge takes one of statuses, bytes and header")
	}
	for _, s := range c.Statuses {
		if (s < 1 || s > 5) && (s < 100 || s > 599) {
			return fmt.Errorf("charge status %d: give a status, or the first digit of one", s)
		}
	}
	if c.Header != "" && !token(c.Header) {
		return fmt.Errorf("charge header %q: that is no name of a header field", c.Header)
	}
	if c.Max < 0 || c.Max > limiter.MaxUnits || c.Max > 0 && c.Header == "" {
		return fmt.Errorf("charge max %d: it is for header, and at most %d", c.Max, limiter.MaxUnits)
	}
	if c.most = c.Max; c.most == 0 {
		c.most = z.config.Rate.Units()
	}
	return nil
}

// cost is what a request costs before its response is known.
func (z *Zone) cost(r *http.Request) (int64, error) {
	for _, c := range z.Costs {
		if len(c.matchers) == 0 {
			return c.Units, nil
		}
		match, err := c.matchers.AnyMatchWithError(r)
		if err != nil {
			return 0, err
		}
		if match {
			return c.Units, nil
		}
	}
	if z.Charge != nil && z.Charge.Bytes {
		return 0, nil
	}
	return 1, nil
}

// of is what a request costs that was to cost some units, now that its response
// is known. declared is what the upstream says.
func (c *Charge) of(status int, bytes int64, declared string, cost int64) int64 {
	switch {
	case c.Bytes:
		return bytes
	case c.Header != "":
		n, err := strconv.ParseUint(declared, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return cost
		}
		return int64(min(n, uint64(c.most))) // a number out of range is the greatest
	}
	for _, s := range c.Statuses {
		if status == s || status/100 == s {
			return cost
		}
	}
	return 0
}
