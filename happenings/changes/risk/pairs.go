package risk

import (
	"maps"
	"slices"
)

// pair is a server before and after a change.
type pair struct{ was, is server }

// pairs finds for each server what has become of it: the server that listens at
// most of its addresses, or else the one with its name. A configuration that
// is made from a Caddyfile numbers its servers, so that a new site gives others
// new names. fresh are the servers that are none of before.
func pairs(b, a facts) (list []pair, fresh []server) {
	taken := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(b.servers)) {
		was := b.servers[name]
		best, most := "", 0
		for _, other := range slices.Sorted(maps.Keys(a.servers)) {
			n := shared(was.listens, a.servers[other].listens)
			if n > most || n == most && n > 0 && other == name {
				best, most = other, n
			}
		}
		if _, same := a.servers[name]; most == 0 && same {
			best = name
		}
		if is, ok := a.servers[best]; ok {
			taken[best] = true
			list = append(list, pair{was, is})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.servers)) {
		if !taken[name] {
			fresh = append(fresh, a.servers[name])
		}
	}
	return list, fresh
}

// shared is how many texts two lists share.
func shared(a, b []string) (n int) {
	for _, v := range a {
		if slices.Contains(b, v) {
			n++
		}
	}
	return n
}

// anyPair reports whether something holds for a server before and after.
func anyPair(b, a facts, holds func(was, is server) bool) bool {
	list, _ := pairs(b, a)
	return slices.ContainsFunc(list, func(p pair) bool { return holds(p.was, p.is) })
}

// exceeds reports whether a sorted list has, at a place that both have, a larger
// number than another. A list that became shorter is told by other rules.
func exceeds(is, was []float64) bool {
	for i := range min(len(is), len(was)) {
		if is[i] > was[i] {
			return true
		}
	}
	return false
}
