package headers

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// word reads the one argument of an option.
func word(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	if !d.AllArgs(to) || *to == "" {
		return d.Errf("%s takes one argument", name)
	}
	return nil
}

// words reads the arguments of an option, of which there is at least one.
func words(d *caddyfile.Dispenser, to *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes at least one argument", name)
	}
	*to = append(*to, args...)
	return nil
}

func truth(d *caddyfile.Dispenser, to **bool) error {
	var arg string
	name := d.Val()
	if err := word(d, &arg); err != nil {
		return err
	}
	if arg != "on" && arg != "off" {
		return d.Errf("%s is on or off, but not %q", name, arg)
	}
	v := arg == "on"
	*to = &v
	return nil
}

// quantity reads a number, or a size like 16KiB.
func quantity[T int | int64](d *caddyfile.Dispenser, to *T) error {
	var arg string
	name := d.Val()
	if err := word(d, &arg); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(arg)
	if err != nil || n == 0 || n > 1<<31-1 {
		return d.Errf("%s %q: it is no number of at least 1 and no size like 16KiB", name, arg)
	}
	*to = T(n)
	return nil
}

// located gives an error, if it is one, the line that d is at.
func located(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}
