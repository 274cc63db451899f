package rules

import "strings"

// Step is what became of one rule while a request was decided.
type Step struct {
	Rule    string `json:"rule"`
	Effect  string `json:"effect"`
	Shadow  bool   `json:"shadow,omitempty"`
	Matches bool   `json:"matches"`

	// Why is the condition that did not hold or, of a rule that matches, why it
	// refuses what it allows.
	Why string `json:"why,omitempty"`
}

// Reading is one way to read a request.
type Reading struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Steps  []Step `json:"steps"` // up to the rule that decides
}

// Explain decides as Decide does, and tells what became of each rule.
func (e *Engine) Explain(q *Request) (Decision, []Reading) {
	d := e.Decide(q)
	paths, reason := readings(nil, q.Path, q.RawPath, e.tolerate)
	if reason != "" || d.Reason == MethodForm {
		return d, nil
	}
	s := &subject{Request: q, host: canonicalHost(q.Host), assigned: e.assigned[q.Principal]}
	var list []Reading
	for _, path := range paths {
		for _, method := range q.Methods {
			list = append(list, Reading{method, path, e.steps(s, method, path)})
		}
	}
	return d, list
}

func (e *Engine) steps(s *subject, method, path string) (list []Step) {
	for i := range e.rules {
		r := &e.rules[i]
		step := Step{Rule: r.Name, Effect: Allow, Shadow: r.Shadow}
		if r.deny {
			step.Effect = Deny
		}
		if step.Why = r.lacks(s, method, path); step.Why != "" {
			list = append(list, step)
			continue
		}
		step.Matches = true
		if !r.deny && r.Require != nil {
			step.Why = string(r.Require.lacks(s.Request))
		}
		list = append(list, step)
		if !r.Shadow {
			break
		}
	}
	return list
}

// lacks is the first condition that does not hold.
func (r *rule) lacks(s *subject, method, path string) string {
	switch {
	case r.known && s.Principal == "":
		return "it needs a principal"
	case len(r.Roles) > 0 && !r.hasRole(s):
		return "role: " + strings.Join(r.Roles, ", ")
	case len(r.wilds) > 0 && !r.named(s.Principal):
		return "principal: " + strings.Join(r.Principals, ", ")
	case !claimsHold(r.Claims, s.Claims):
		return "claim"
	case len(r.nets) > 0 && !r.inNetwork(s.Client):
		return "network: " + strings.Join(r.Networks, ", ")
	case len(r.Methods) > 0 && !has(r.Methods, method) && (method != "HEAD" || !has(r.Methods, "GET")):
		return "method: " + strings.Join(r.Methods, ", ")
	case len(r.hosts) > 0 && !r.onHost(s.host):
		return "host: " + strings.Join(r.Hosts, ", ")
	case len(r.patterns) > 0 && !anyPattern(r.patterns, path):
		return "path: " + strings.Join(r.Paths, ", ")
	case !r.alive(s.Now):
		return "time"
	case r.program == nil:
		return ""
	}
	ok, err := r.evaluate(s, method, path)
	switch {
	case err != nil && r.deny, err == nil && ok:
		return ""
	case err != nil:
		return "cel: " + err.Error()
	}
	return "cel: " + r.CEL
}

// hasRole reports whether the principal has one of the roles of a rule.
func (r *rule) hasRole(s *subject) bool {
	for _, role := range r.Roles {
		source, name := splitRole(role, r.sources)
		for i, list := range s.Roles {
			if source >= 0 && source != i {
				continue
			}
			for v := range strings.SplitSeq(list, ",") {
				if strings.TrimSpace(v) == name {
					return true
				}
			}
		}
		if source <= 0 && has(s.assigned, name) {
			return true
		}
	}
	return false
}
