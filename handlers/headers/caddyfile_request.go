package headers

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// unmarshal reads:
//
//	request {
//		hosts       <host>...
//		methods     <method>...
//		require     <field>...
//		remove      <field>...
//		max_url     <size>
//		max_headers <number>
//		max_header  <size>
//		max_body    <size>
//		trace       generate|validate
//		request_id  generate|validate
//	}
func (q *Request) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "hosts":
			err = words(d, &q.Hosts)
		case "methods":
			err = words(d, &q.Methods)
		case "require":
			err = words(d, &q.Require)
		case "remove":
			err = words(d, &q.Remove)
		case "max_url":
			err = quantity(d, &q.MaxURL)
		case "max_headers":
			err = quantity(d, &q.MaxHeaders)
		case "max_header":
			err = quantity(d, &q.MaxHeader)
		case "max_body":
			err = quantity(d, &q.MaxBody)
		case "trace":
			err = word(d, &q.Trace)
		case "request_id":
			err = word(d, &q.RequestID)
		default:
			err = d.Errf("request has no option %q: it has hosts, methods, require, remove, max_url, max_headers, max_header, max_body, trace and request_id", d.Val())
		}
		if err != nil {
			return err
		}
		if err := q.provision(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}
