package soc2

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-soc2/caddy-soc2/audit/personal"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
)

// option reads the options of audit that say what of a person a record shows.
// It reports false for an option that is not one of them:
//
//	rule <name> none|minimal|metadata|headers [<reason>] {
//		host    <name>...
//		path    <pattern>...
//		method  <method>...
//		status  <code>|<class>|<range>...
//		client  <address>|<network>...
//		user    present|absent
//		outcome denied|limited...
//	}
//	redact [header:|cookie:|query:|path:|pattern:]<what>...
//	show_query <key>...
//	pseudonymize [<member>...] {
//		period day|week|month|quarter
//	}
//	encrypt <age recipient>... {
//		members  <member>...
//		subjects [<most a day>]
//	}
func (p *Privacy) option(d *caddyfile.Dispenser) (bool, error) {
	switch d.Val() {
	case "rule":
		return true, p.rule(d)
	case "redact":
		return true, p.redact(d)
	case "show_query":
		return true, list(d, &p.Policy.Redact.ShowQuery)
	case "pseudonymize":
		return true, p.pseudonymize(d)
	case "encrypt":
		return true, p.encrypt(d)
	}
	return false, nil
}

func (p *Privacy) rule(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return d.Err("soc2 audit rule is written: rule <name> none|minimal|metadata|headers [<reason>]")
	}
	r := policy.Rule{Name: args[0], Level: args[1]}
	if len(args) == 3 {
		r.Reason = args[2]
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "host":
			err = list(d, &r.Hosts)
		case "path":
			err = list(d, &r.Paths)
		case "method":
			err = list(d, &r.Methods)
		case "status":
			err = list(d, &r.Statuses)
		case "client":
			err = list(d, &r.Clients)
		case "user":
			err = text(d, &r.User)
		case "outcome":
			err = list(d, &r.Outcomes)
		default:
			err = d.Errf("soc2 audit rule has no option %q: it has host, path, method, status, client, user and outcome", d.Val())
		}
		if err != nil {
			return err
		}
	}
	p.Policy.Rules = append(p.Policy.Rules, r)
	return nil
}

func (p *Privacy) redact(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("soc2 audit redact names what is hidden, as in: redact X-Account cookie:session query:token path:/reset/{*}")
	}
	to := &p.Policy.Redact
	for _, arg := range args {
		kind, what, ok := strings.Cut(arg, ":")
		if !ok {
			kind, what = "header", arg
		}
		switch kind {
		case "header":
			to.Headers = append(to.Headers, what)
		case "cookie":
			to.Cookies = append(to.Cookies, what)
		case "query":
			to.HideQuery = append(to.HideQuery, what)
		case "path":
			to.PathSegments = append(to.PathSegments, what)
		case "pattern":
			to.Patterns = append(to.Patterns, policy.Pattern{Regexp: what})
		default:
			return d.Errf("soc2 audit redact %q: it begins with header:, cookie:, query:, path: or pattern:, or is the name of a header field", arg)
		}
	}
	return nil
}

func (p *Privacy) pseudonymize(d *caddyfile.Dispenser) error {
	p.Pseudonymize = &Pseudonymize{Members: d.RemainingArgs()}
	for i, m := range p.Pseudonymize.Members { // the short names of the documentation
		p.Pseudonymize.Members[i] = memberName(m)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "period" {
			return d.Errf("soc2 audit pseudonymize has no option %q: it has period", d.Val())
		}
		if err := text(d, (*string)(&p.Pseudonymize.Period)); err != nil {
			return err
		}
	}
	return nil
}

func (p *Privacy) encrypt(d *caddyfile.Dispenser) error {
	c := &Encrypt{Recipients: d.RemainingArgs()}
	if len(c.Recipients) == 0 {
		return d.Err("soc2 audit encrypt names who can read what it seals: encrypt age1…")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "members":
			if err := list(d, &c.Members); err != nil {
				return err
			}
			for i, m := range c.Members {
				c.Members[i] = memberName(m)
			}
		case "subjects":
			c.Subjects = true
			if args := d.RemainingArgs(); len(args) > 0 {
				n, err := parseCount(args)
				if err != nil {
					return d.Errf("soc2 audit encrypt subjects %q: it takes one number, the most users a day", strings.Join(args, " "))
				}
				c.MaxSubjects = n
			}
		default:
			return d.Errf("soc2 audit encrypt has no option %q: it has members and subjects", d.Val())
		}
	}
	p.Encrypt = c
	return nil
}

// memberName gives members their names in records.
func memberName(short string) string {
	switch short {
	case "client_ip":
		return personal.ClientIP
	case "peer":
		return personal.Peer
	case "user":
		return personal.User
	case "client_port":
		return personal.ClientPort
	case "agent":
		return personal.Agent
	case "path":
		return personal.Path
	case "query":
		return personal.Query
	case "headers":
		return personal.Headers
	case "sni":
		return personal.SNI
	case "client_cert":
		return personal.ClientCert
	}
	return short
}
