package rules

// Named reports whether a name of a rule's principals, which may have * for any
// text, is that of a principal.
func Named(pattern, principal string) bool { return parseWild(pattern).match(principal) }
