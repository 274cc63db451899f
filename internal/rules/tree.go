package rules

import "strings"

// node is a segment in the tree of what patterns begin with. It holds the rules
// that a path which goes no further, as far as the tree is concerned, can match.
type node struct {
	rules set
	next  map[string]*node
}

// newTree makes the tree of the patterns of rules, by rule. A rule without
// patterns is for all paths.
func newTree(rules int, patterns map[int][]pattern) *node {
	root := &node{}
	for i := range rules {
		if len(patterns[i]) == 0 {
			root.rules.add(i)
		}
		for j := range patterns[i] {
			n := root
			for _, seg := range patterns[i][j].literal() {
				n = n.child(seg)
			}
			n.rules.add(i)
		}
	}
	root.inherit()
	return root
}

func (n *node) child(seg string) *node {
	c := n.next[seg]
	if c == nil {
		if n.next == nil {
			n.next = map[string]*node{}
		}
		c = &node{}
		n.next[seg] = c
	}
	return c
}

// inherit gives each node the rules of those above it.
func (n *node) inherit() {
	for _, c := range n.next {
		for w := range n.rules {
			c.rules[w] |= n.rules[w]
		}
		c.inherit()
	}
}

// find returns the rules that a path can match.
func (n *node) find(path string) *set {
	rest := path[1:]
	for len(n.next) > 0 && rest != "" {
		var seg string
		seg, rest, _ = strings.Cut(rest, "/")
		c := n.next[seg]
		if c == nil {
			break
		}
		n = c
	}
	return &n.rules
}
