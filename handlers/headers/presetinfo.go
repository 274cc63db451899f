package headers

import (
	"maps"
	"slices"
)

// Sent returns the fields that a profile sends on a page over TLS, with their
// values, for tools that compare.
func Sent(profile string) map[string]string {
	m := map[string]string{}
	for _, r := range compile([]*Handler{{Profile: profile, profile: profile}}).rules {
		if r.scope&document != 0 {
			m[fields[r.field].name] = r.value
		}
	}
	return m
}

// Removed returns the fields that a profile removes.
func Removed(profile string) []string {
	return slices.Sorted(maps.Keys(compile([]*Handler{{Profile: profile, profile: profile}}).leaks))
}
