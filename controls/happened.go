package controls

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// happened is what records beside those of requests say.
type happened struct {
	mu        sync.Mutex // guards the fields below
	history   time.Time
	changes   []Change
	dropped   time.Time // the newest change that is not kept any more
	recorded  string
	names     map[string]Name
	upstreams map[string]*Upstream
	reviews   []Review

	dockerfiles map[string]Dockerfile // by file and target
}

// The bounds of what is kept. The oldest go first.
const (
	maxChanges = 1024
	maxReviews = 1024
	maxNames   = 4096
	maxPhases  = 512

	maxUpstreams   = 1024
	maxDockerfiles = 1024 // the oldest go first too
)

func (h *happened) init() {
	h.names, h.upstreams, h.dockerfiles = map[string]Name{}, map[string]*Upstream{}, map[string]Dockerfile{}
}

// Happened counts what a record says that is not of a request. Records of the
// past come with old set, oldest first.
func (t *Tally) Happened(body audit.Body, old bool) {
	h := &t.happened
	switch r := body.(type) {
	case *audit.ConfigChange:
		h.change(r)
	case *audit.AdminCall:
		t.call(r)
		return // it wakes by itself
	case *audit.Certificate:
		h.certificate(r)
	case *audit.UpstreamChange:
		h.upstream(r)
	case *audit.Review:
		t.Decided(0, r, true)
	case *audit.AccessReview:
		h.accessReview(r)
	case *audit.DockerfileCheck:
		h.dockerfile(r)
	case *audit.LimitChange:
		if r.Kind == audit.KindLimitBegin && old { // of those that come the request tells
			t.See(SeenLimited, r.Time, r.Zone, 1)
		}
	case *audit.LogGap:
		t.gap(r)
	case *audit.LogClock:
		t.See(SeenClock, r.Time, "was set back by "+r.From.Sub(r.To).String(), 1)
	default:
		return
	}
	if !old {
		t.wake()
	}
}

func (t *Tally) call(r *audit.AdminCall) {
	t.calls.Add(1)
	if r.Actor.Known == knownVerified {
		t.See(SeenKnownCaller, r.Time, r.Actor.Name, 1)
		return
	}
	how := r.Actor.How
	if how == "" {
		how = "an unknown way"
	}
	t.See(SeenCaller, r.Time, r.Method+" by nobody known, over "+how, 1)
}

func (t *Tally) gap(r *audit.LogGap) {
	if r.Cause == "policy" {
		return // left out on purpose, and counted
	}
	at := r.To
	if at.IsZero() {
		at = r.Time
	}
	for _, m := range []struct {
		n    int64
		what string
	}{{r.Served, "requests were served without a record"}, {r.Lost, "records were lost"}, {r.Other, "other records were not taken"}} {
		if m.n > 0 {
			t.See(SeenMissing, at, m.what+" ("+r.Cause+")", m.n)
		}
	}
}

func (h *happened) change(r *audit.ConfigChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keep(Change{
		Time: r.Time, Outcome: r.Outcome, Source: r.Source, Actor: r.Actor.Name, Known: r.Actor.Known,
		Ticket: r.Ticket, Before: r.Before, After: r.After, Risks: slices.Clone(r.Risks),
	})
	if r.Outcome == outcomeApplied && r.After != "" {
		h.recorded = r.After
	}
}

// keep keeps a change. The oldest go first, and it is known since when all are
// there: whoever makes many does not hide one.
func (h *happened) keep(c Change) {
	h.changes = append(h.changes, c)
	if len(h.changes) <= maxChanges {
		return
	}
	rest := bounded(h.changes, maxChanges)
	for _, gone := range h.changes[:len(h.changes)-len(rest)] {
		if gone.Time.After(h.dropped) {
			h.dropped = gone.Time
		}
	}
	h.changes = rest
}

// bounded takes a quarter of a list away that has become too long.
func bounded[T any](list []T, most int) []T {
	if len(list) > most {
		return append(make([]T, 0, most+1), list[len(list)-most*3/4:]...)
	}
	return list
}

func (h *happened) certificate(r *audit.Certificate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range r.Names {
		n, known := h.names[name]
		switch r.Kind {
		case audit.KindCertFailed:
			if !known && len(h.names) >= maxNames {
				continue
			}
			if n.Failing.IsZero() {
				n.Failing = r.Time
			}
			n.Error = r.Error
		case audit.KindCertRevoked:
			if !known && len(h.names) >= maxNames {
				continue
			}
			n.Revoked = r.Time
		case audit.KindCertObtained, audit.KindCertRenewed:
			n = Name{}
		default:
			continue
		}
		if n == (Name{}) {
			delete(h.names, name)
			continue
		}
		h.names[name] = n
	}
}

func (h *happened) upstream(r *audit.UpstreamChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := strings.TrimSpace(r.Server + " " + r.Address)
	state := strings.TrimPrefix(string(r.Kind), "upstream.")
	u := h.upstreams[name]
	switch {
	case u == nil:
		h.room()
		h.upstreams[name] = &Upstream{Name: name, State: state, Since: r.Time}
	case u.State == state:
	default:
		u.Phases = bounded(append(u.Phases, Phase{u.State, u.Since, r.Time}), maxPhases)
		u.State, u.Since = state, r.Time
	}
}

// room makes room for an upstream: addresses that come from the DNS change
// without end. Those that are gone go first, the longest gone before others.
func (h *happened) room() {
	if len(h.upstreams) < maxUpstreams {
		return
	}
	order := func(u *Upstream) int {
		if u.State == stateGone {
			return 0
		}
		return 1
	}
	first := slices.MinFunc(slices.Collect(maps.Values(h.upstreams)), func(a, b *Upstream) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	delete(h.upstreams, first.Name)
}

// review keeps what a person decided, once, in the order of time.
func (h *happened) review(seq int64, r *audit.Review) {
	h.mu.Lock()
	defer h.mu.Unlock()
	same := func(o Review) bool {
		return o.Record == seq && seq > 0 && o.Time.Equal(r.Time) && o.Subject == r.Subject
	}
	if slices.ContainsFunc(h.reviews, same) {
		return
	}
	h.reviews = bounded(append(h.reviews, Review{
		Time: r.Time, Kind: strings.TrimPrefix(string(r.Kind), "review."), Subject: r.Subject, Verdict: r.Verdict, Owner: r.Owner,
		Reason: r.Reason, Ticket: r.Ticket, From: r.From, Until: r.Until, Actor: nameOf(&r.Actor), Known: r.Actor.Known, Record: seq,
	}), maxReviews)
	if n := len(h.reviews); n > 1 && h.reviews[n-1].Time.Before(h.reviews[n-2].Time) {
		slices.SortStableFunc(h.reviews, func(a, b Review) int { return a.Time.Compare(b.Time) })
	}
}

// accessReview keeps that a review of access was signed, once: of a sign-off with
// several records the last.
func (h *happened) accessReview(r *audit.AccessReview) {
	if r.Part != r.Parts {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reviews = bounded(append(h.reviews, Review{
		Time: r.Time, Kind: "access", Subject: r.Document, Verdict: "signed", Owner: r.Reviewer, Reason: r.Reason, Ticket: r.Ticket,
		Actor: nameOf(&r.Actor), Known: r.Actor.Known,
	}), maxReviews)
}

// dockerfile keeps the newest verdict of each.
func (h *happened) dockerfile(r *audit.DockerfileCheck) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := r.File + "\x00" + r.Target
	was, known := h.dockerfiles[name]
	if r.Time.Before(was.Time) {
		return
	}
	if !known && len(h.dockerfiles) >= maxDockerfiles {
		oldest := ""
		for n, d := range h.dockerfiles {
			if oldest == "" || d.Time.Before(h.dockerfiles[oldest].Time) {
				oldest = n
			}
		}
		delete(h.dockerfiles, oldest)
	}
	h.dockerfiles[name] = Dockerfile{
		Time: r.Time, File: r.File, Target: r.Target, Profile: r.Profile, Outcome: r.Outcome,
		Blocking: r.Blocking, Waived: r.Waived, Baseline: r.Baseline,
	}
}

// ReadBack says that all records from a time on were given to Happened, as far
// as the log had them.
func (t *Tally) ReadBack(from time.Time) {
	h := &t.happened
	h.mu.Lock()
	slices.SortStableFunc(h.changes, func(a, b Change) int { return a.Time.Compare(b.Time) })
	slices.SortStableFunc(h.reviews, func(a, b Review) int { return a.Time.Compare(b.Time) })
	h.history = from
	h.mu.Unlock()
	t.wake()
}

func (h *happened) facts(s *Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.History, s.Changes, s.ChangesFrom, s.Recorded = h.history, slices.Clone(h.changes), h.dropped, h.recorded
	s.Names, s.Reviews = maps.Clone(h.names), slices.Clone(h.reviews)
	s.Dockerfiles = slices.SortedFunc(maps.Values(h.dockerfiles), func(a, b Dockerfile) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Target, b.Target))
	})
	s.Upstreams = nil
	for _, u := range h.upstreams {
		c := *u
		c.Phases = slices.Clone(u.Phases)
		s.Upstreams = append(s.Upstreams, c)
	}
	slices.SortFunc(s.Upstreams, func(a, b Upstream) int { return cmp.Compare(a.Name, b.Name) })
}
