package tlsfloor

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// option is the option tls of the app soc2, as a configuration has it. The names
// are those of the app's.
type option struct {
	Min        string   `json:"min"`
	Suites     []string `json:"suites"`
	Groups     []string `json:"groups"`
	Mode       string   `json:"mode"`
	ClientAuth []string `json:"client_auth"`
	Expiring   span     `json:"expiring"`
	FIPS       string   `json:"fips"`
	Upstream   *struct {
		Min        string   `json:"min"`
		Unverified []string `json:"unverified"`
		Plaintext  []string `json:"plaintext"`
	} `json:"upstream"`
}

// Configured returns the rules that a configuration of Caddy, in JSON, sets for
// itself with the option tls of the app soc2, and whether it has that option.
// The rules are not checked.
func Configured(config []byte) (r Rules, given bool, err error) {
	var doc struct {
		Apps struct {
			SOC2 struct {
				TLS *option `json:"tls"`
			} `json:"soc2"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &doc); err != nil {
		return Rules{}, false, fmt.Errorf("reading the option tls of soc2: %w", err)
	}
	o := doc.Apps.SOC2.TLS
	if o == nil {
		return Rules{}, false, nil
	}
	r = Rules{
		Min: o.Min, Suites: o.Suites, Groups: o.Groups, ClientAuth: o.ClientAuth,
		Expiring: time.Duration(o.Expiring), FIPS: o.FIPS, Fills: o.Mode != "report",
	}
	if u := o.Upstream; u != nil {
		r.Upstream = &Upstream{Min: u.Min, Unverified: u.Unverified, Plaintext: u.Plaintext}
	}
	return r, true, nil
}

// span is a duration as Caddy's JSON has it: nanoseconds, or a text like 14d.
type span time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (s *span) UnmarshalJSON(b []byte) error {
	var v string
	if json.Unmarshal(b, &v) != nil {
		return json.Unmarshal(b, (*int64)(s))
	}
	days, ok := strings.CutSuffix(v, "d")
	d, err := time.ParseDuration(v)
	if ok {
		d, err = time.ParseDuration(days + "h")
		d *= 24
	}
	*s = span(d)
	return err
}
