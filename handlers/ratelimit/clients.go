package ratelimit

import (
	"fmt"
	"net/netip"
	"strings"
)

// clients are clients by network or by key.
type clients struct {
	any   bool
	nets  []netip.Prefix
	texts []string
	keys  map[uint64]bool
}

func parseClients(k *keyTemplate, list []string) (c clients, err error) {
	for _, s := range list {
		if text, ok := strings.CutPrefix(s, "key:"); ok {
			if err := k.checkText(text); err != nil {
				return c, fmt.Errorf("%q: %w", s, err)
			}
			c.texts = append(c.texts, text)
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return c, fmt.Errorf("%q is no address and no network; for a key write key:%s", s, s)
			}
			a = a.Unmap()
			p = netip.PrefixFrom(a, a.BitLen())
		}
		c.nets = append(c.nets, p.Masked())
	}
	c.any = len(list) > 0
	return c, nil
}

func (c *clients) hash(hash func(string) uint64) {
	c.keys = make(map[uint64]bool)
	for _, s := range c.texts {
		c.keys[hash(s)] = true
	}
}

func (c *clients) has(k *keyed, hash uint64) bool {
	if len(c.keys) > 0 && c.keys[hash] {
		return true
	}
	if len(c.nets) == 0 || !k.address() {
		return false
	}
	for _, p := range c.nets {
		if p.Contains(k.addr) {
			return true
		}
	}
	return false
}
