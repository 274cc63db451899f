package headers

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/internal/response"
)

// enforcement is what is known of one request and does the work for it. The
// outermost instance of the handler makes it and keeps it among the request's
// variables, where instances inside, and those of an error route, find it.
type enforcement struct {
	response.Writer

	policy *policy
	event  *audit.Event // the record to annotate; may be nil

	mended   []string       // rules that were broken, each once
	reported []string       // those of them that only report
	wrong    []audit.Header // what was sent instead

	method, host, origin string // of the request

	nonce     string // of the response, if there is one
	nonced    bool   // its policy has the nonce
	rewritten bool   // the page has the nonce
	stored    bool   // a rule of the site says what may be stored
	placed    uint64 // rules of the site that put their value, by index

	secure     bool // the request came over TLS
	authorized bool // the request carried credentials
	active     bool // the handlers inside are running

	// own backs the values put into the header map, so that each request has
	// its own: Caddy's header handler edits values in place. A field always
	// uses the same place, whatever the policy. Each has room for the value that
	// an upstream's header adds.
	own [fieldCount][2]string
}

func newEnforcement(p *policy) *enforcement {
	e := &enforcement{policy: p}
	e.OnCommit, e.OnInform = e.commit, e.inform
	return e
}

// serve runs next behind the enforcing writer. It is called once for the
// primary chain and again for an error route, where w is another writer with
// the same header map.
func (e *enforcement) serve(h *Handler, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	outermost := e.ResponseWriter == nil
	e.begin(w, r)
	err := h.admit(e, &e.Writer, r, next, outermost)
	e.active = false

	switch {
	case e.Hijacked():
	case e.Committed():
		e.Restore()
		e.trailers()
	case err != nil:
		// Who writes the error is not known yet: an error route, perhaps one
		// without us, or the server. All of them use this header map.
		e.apply(errorStatus(err))
	default:
		e.Commit(http.StatusOK) // net/http will, once the handlers are done
	}
	return err
}

func (e *enforcement) begin(w http.ResponseWriter, r *http.Request) {
	again := e.ResponseWriter != nil
	e.ResponseWriter = w
	if again {
		e.retract()
	}
	e.event = audit.FromContext(r.Context())
	e.secure, e.Freeze = r.TLS != nil, r.ProtoMajor >= 3
	e.method, e.host = r.Method, r.Host
	if origin := r.Header["Origin"]; len(origin) > 0 {
		e.origin = origin[0]
	}
	// Asked now, because handlers inside may remove the field.
	e.authorized = e.authorized || r.Header["Authorization"] != nil
	e.active = true
	e.prepare()
}

// adopt takes over the policy that a later instance asks for.
func (e *enforcement) adopt(p *policy) {
	if e.Committed() {
		return
	}
	e.policy = p
	if e.active {
		e.prepare()
	}
}

// retract takes back what an earlier pass set, because it depended on a
// response that was not sent.
func (e *enforcement) retract() {
	h := e.Header()
	for f := range fields {
		if name := fields[f].name; e.isOwn(field(f), h[name]) {
			delete(h, name)
		}
		e.own[f][0] = ""
	}
	for i := range e.policy.custom {
		if r := &e.policy.custom[i]; i < 64 && e.placed&(1<<i) != 0 && r.field == fieldCount && only(h[r.name], r.Value) {
			delete(h, r.name)
		}
	}
	e.placed, e.stored = 0, false
}

// only tells whether a field has one value, and which.
func only(sent []string, value string) bool { return len(sent) == 1 && sent[0] == value }

// prepare sets what every response has, before anybody writes one. Handlers
// inside see it, and nothing that goes past the writer lacks it.
func (e *enforcement) prepare() {
	h := e.Header()
	delete(h, "Server") // Caddy's own
	for i := range e.policy.rules[:e.policy.always] {
		r := &e.policy.rules[i]
		value := e.value(r)
		if value == "" || r.report {
			continue
		}
		if sent := h[fields[r.field].name]; len(sent) == 0 || e.isOwn(r.field, sent) {
			e.set(h, r.field, value)
		}
	}
}

// commit is called before the final header leaves.
func (e *enforcement) commit(status int) {
	if e.Hijacked() {
		return // the handler writes its own header, nothing here is sent
	}
	e.apply(status)
}

// inform is called before an informational header leaves. It sends what the
// handlers want to, but no leak, and nothing of ours: that is for the final
// header. The commit sets it again.
func (e *enforcement) inform(int) {
	h := e.Header()
	e.stopLeaks(h)
	for name := range e.policy.named {
		if len(h[name]) > 0 {
			e.removed(h, name, name)
		}
	}
	for i := range e.policy.rules[:e.policy.always] {
		r := &e.policy.rules[i]
		name := fields[r.field].name
		sent := h[name]
		switch rest := without(e.value(r), sent); {
		case len(rest) == 0:
			delete(h, name)
		case len(rest) < len(sent):
			h[name] = rest
		}
	}
}

// apply makes the header map obey the policy and notes what was wrong.
func (e *enforcement) apply(status int) {
	h := e.Header()
	e.stopLeaks(h)
	e.guard(h) // before the rules that ask whether the response is for other origins
	c := e.retype(h, status)
	e.nonced = e.rewritten || e.policy.nonce == nonceDocuments && c.scope == document && !c.bare
	for i := range e.policy.rules {
		e.enforce(h, &e.policy.rules[i], c)
	}
	for i := range e.policy.custom {
		if e.policy.custom[i].name != contentType {
			e.follow(h, i, status, c)
		}
	}
	for i := range e.policy.bounds {
		e.impose(h, &e.policy.bounds[i])
	}
	e.secureCookies(h)
	if !c.bare {
		e.limitStorage(h, c)
	}
	if e.policy.endpoints != "" && c.scope == document && !c.bare {
		h[reportingEndpoints] = []string{e.policy.endpoints}
	}
	e.note()
}

// enforce applies one rule.
func (e *enforcement) enforce(h http.Header, r *rule, c content) {
	if r.scope != anything && r.scope&c.scope == 0 {
		return
	}
	value := e.value(r)
	if e.nonced && r.nonced != nil && c.scope == document {
		value = e.noncedValue(r)
	}
	if value == "" {
		return
	}
	if r.cors && len(h["Access-Control-Allow-Origin"]) > 0 {
		return
	}
	f := &fields[r.field]
	sent := h[f.name]
	if len(sent) == 1 && sent[0] == value {
		return
	}
	theirs := without(value, sent)
	if r.report {
		e.review(r, value, theirs, c)
		return
	}
	switch {
	case len(theirs) == 0:
		if r.always || !c.bare {
			e.set(h, r.field, value)
		}
	case r.accept == nil || !all(theirs, value, r.accept):
		e.find(f.rule, false, f.name, theirs[0])
		e.set(h, r.field, value)
	case len(theirs) > 1 && !f.list:
		e.find(f.rule, false, f.name, theirs[0])
		h[f.name] = theirs[:1:1]
	case len(theirs) < len(sent):
		h[f.name] = theirs
	}
}

// review notes what enforce would change.
func (e *enforcement) review(r *rule, value string, theirs []string, c content) {
	f := &fields[r.field]
	switch {
	case len(theirs) == 0:
		if r.always || !c.bare {
			e.find(f.rule, true, "", "")
		}
	case r.accept == nil || !all(theirs, value, r.accept) || len(theirs) > 1 && !f.list:
		e.find(f.rule, true, f.name, theirs[0])
	}
}

// value returns what r asks for on this connection, empty for nothing.
func (e *enforcement) value(r *rule) string {
	if e.secure {
		return r.value
	}
	return r.plain
}

// set puts value into the header map as the only one.
func (e *enforcement) set(h http.Header, f field, value string) {
	e.own[f][0] = value
	h[fields[f].name] = e.own[f][:1]
}

// isOwn tells whether sent is what set put there, or the same.
func (e *enforcement) isOwn(f field, sent []string) bool {
	return len(sent) == 1 && sent[0] == e.own[f][0] && sent[0] != ""
}

// find notes that a rule was broken, or would be if it did more than report,
// and what was sent. Each rule counts once for a response.
func (e *enforcement) find(rule string, report bool, name, value string) {
	list, action := &e.mended, Mended
	if report {
		list, action = &e.reported, Reported
	}
	if slices.Contains(*list, rule) {
		return
	}
	*list = append(*list, rule)
	count(rule, action)
	if name == "" || len(e.wrong) >= maxWrong {
		return
	}
	if !disclosed(name) {
		value = ""
	}
	e.wrong = append(e.wrong, audit.Header{Name: name, Value: value[:min(len(value), maxWrongValue)]})
}

// A record keeps so many wrong values, and so many bytes of each.
const (
	maxWrong      = 12
	maxWrongValue = 80
)

// disclosed tells whether the record may have the value of a field. Of a cookie
// it is the name; other fields may hold secrets.
func disclosed(name string) bool {
	_, leak := allLeaks[name]
	return leak || governed[name]
}

// note annotates the audit record. After an error this happens once more for
// what the error route sends; both are one response.
func (e *enforcement) note() {
	slices.Sort(e.mended) // leaks are found in the order of a map
	slices.Sort(e.reported)
	e.event.SetHeaders(e.policy.profile, e.mended)
	e.event.SetFindings(e.reported, e.wrong)
}

// without returns sent without ours in front: an upstream's values are added
// to what prepare set.
func without(ours string, sent []string) []string {
	if len(sent) > 0 && sent[0] == ours {
		return sent[1:]
	}
	return sent
}

func all(values []string, ours string, accept func(string) bool) bool {
	for _, v := range values {
		if v != ours && !accept(v) {
			return false
		}
	}
	return true
}

// errorStatus returns the status that Caddy answers err with.
func errorStatus(err error) int {
	var he caddyhttp.HandlerError
	if errors.As(err, &he) && he.StatusCode != 0 {
		return he.StatusCode
	}
	return http.StatusInternalServerError
}
