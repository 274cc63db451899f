package policy

// Config says what detail the records of requests carry. The zero value keeps
// every record at the level metadata and redacts what is always redacted.
type Config struct {
	// Rules are tried in order; the first whose matchers all hold decides. A
	// request that no rule matches is recorded at the level metadata.
	Rules []Rule `json:"rules,omitempty"`

	// Redact says what is hidden in the records, besides what always is.
	Redact Redact `json:"redact,omitzero"`
}

// Rule gives the requests that it matches a level of detail. A matcher that is
// left out holds for every request; a rule without any matches all, and only
// the last rule may.
//
// All is judged when the response is complete: the status is known only then.
type Rule struct {
	// Name is what records and counts name the rule by. It is needed, and no
	// two rules share one. Letters, digits, ".", "_" and "-"; at most 64.
	Name string `json:"name"`

	// Level is the detail of the records: none, minimal, metadata or headers.
	//
	//  - none: no record of its own. The request is counted under the rule's
	//    name and reason, and the counts are recorded.
	//  - minimal: method, host, status, sizes, times, protocol and the
	//    decisions that handlers made, without their reasons. The client is
	//    there as a pseudonym, or not at all.
	//  - metadata: all but the header fields.
	//  - headers: the header fields of the request and of the response too.
	//
	// A request that was denied or limited, whose status is 401, 403, 407, 429
	// or 500 and above, or in which a handler panicked is recorded at metadata
	// at least, whatever the rule says.
	Level string `json:"level"`

	// Reason says why nothing is recorded. The level none needs it; at other
	// levels it is a remark. At most 256 bytes.
	Reason string `json:"reason,omitempty"`

	// Hosts are names, or names of which "*.example.com" stands for all names
	// under example.com, not for itself. Ports are ignored.
	Hosts []string `json:"hosts,omitempty"`

	// Paths are patterns. In one that begins with "/", a star stands for any
	// text within a segment, and a last segment that is a star for all that
	// follows: "/static/*". One that begins with a star is compared with the
	// whole path, and its stars stand for any text: "*.css".
	//
	// A rule of the level none or minimal matches paths letter for letter, and
	// no path that could mean another one: with an escape, a backslash, a
	// semicolon, an empty segment, "." or "..". Other rules ignore case, and
	// match the path as received and as it is after decoding and cleaning.
	Paths []string `json:"paths,omitempty"`

	// Methods are names of methods, in capitals.
	Methods []string `json:"methods,omitempty"`

	// Statuses are codes ("404"), classes ("5xx") and ranges ("400-417").
	Statuses []string `json:"statuses,omitempty"`

	// Clients are addresses and networks in CIDR form that the client's address
	// is in.
	Clients []string `json:"clients,omitempty"`

	// User is "present" for requests with an authenticated user and "absent"
	// for those without.
	User string `json:"user,omitempty"`

	// Outcomes are "denied" (by access control) and "limited" (by a rate
	// limit). One of those listed must hold.
	Outcomes []string `json:"outcomes,omitempty"`
}

// Redact says what is hidden in records. Each value that is hidden becomes a
// star, and the record's member "redacted" names the members with hidden parts.
//
// Always hidden, and not to be had otherwise: values of cookies, and the values
// of header fields with credentials: Authorization, Proxy-Authorization and
// those whose names have words such as key, token, secret, password, session.
// In header fields that hold an address, such as Referer and Location, the
// values of the query are hidden.
type Redact struct {
	// Headers are names of header fields whose values are hidden, besides those
	// that always are. A star stands for any text.
	Headers []string `json:"headers,omitempty"`

	// Cookies are names of cookies that are hidden too, with a star for any
	// text. The values of all cookies are always hidden.
	Cookies []string `json:"cookies,omitempty"`

	// ShowQuery are keys of the query whose values are recorded. The values of
	// all others are hidden.
	ShowQuery []string `json:"show_query,omitempty"`

	// HideQuery are keys of the query that are hidden too, with a star for any
	// text.
	HideQuery []string `json:"hide_query,omitempty"`

	// PathSegments are patterns of paths in which {*} is a segment to hide, {**}
	// all segments from there on, and * any segment: "/reset/{*}". What follows
	// the pattern in a path does not matter. Case and escapes are ignored.
	PathSegments []string `json:"path_segments,omitempty"`

	// Patterns hide what a regular expression matches.
	Patterns []Pattern `json:"patterns,omitempty"`
}

// Pattern hides every match of a regular expression. It takes time linear in
// the text. A text of more than 16 KiB is not searched but hidden as a whole.
type Pattern struct {
	// Regexp is the expression, in the syntax of RE2.
	Regexp string `json:"regexp"`

	// In are the texts that are searched: path, agent, headers. Default: all.
	In []string `json:"in,omitempty"`
}
