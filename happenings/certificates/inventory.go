package certificates

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// held is a certificate that is in Caddy's cache or storage.
type held struct {
	leaf    *x509.Certificate
	managed bool
	source  string   // cache, storage
	sites   []string // names of the configuration that it serves
}

// Where a certificate was seen.
const (
	sourceEvent   = "event"
	sourceCache   = "cache"
	sourceStorage = "storage"
)

// known is a certificate that the log has.
type known struct {
	managed bool
	passed  int  // thresholds that were recorded
	expired bool // that was recorded
	missing int  // sweeps in a row that did not find it
}

// inventory is what the process knows of its certificates. It outlives
// configurations, so that a reload repeats nothing.
type inventory struct {
	known    map[sum]*known
	stored   map[sum]time.Time // when a sweep found it, in the storage only, and nothing had announced it
	failures map[string]int    // by name, since it was last obtained
	revoked  map[string]bool   // by name, likewise

	figures Figures

	minute  time.Time // in which failures were counted
	written int       // failures in that minute
	omitted int       // of those that were not recorded one by one
}

const (
	// maxKnown is how many certificates are followed at most. Others are not
	// recorded but by the events that Caddy has for them.
	maxKnown = 16384
	// maxFollowed is of how many names failures are counted.
	maxFollowed = 4096
	// maxFailures is how many failures a minute are recorded one by one: with
	// on-demand TLS a client chooses for which names certificates are asked.
	maxFailures = 60
	// announceTime is how long after a certificate was stored its event may come.
	announceTime = time.Minute
	// forgetAfter is how many sweeps a certificate may be missing.
	forgetAfter = 2
)

// Figures are what is counted of certificates.
type Figures struct {
	Obtained, Renewed, Failed, Revoked, Loaded, Expiring, Expired int64 // since the process began

	// Sites has for each name of the configuration when the certificate that
	// serves it ends, of several the last. Names that only clients chose, with
	// on-demand TLS, are not in it.
	Sites map[string]time.Time

	// Served has the lifetimes of the same certificates.
	Served map[string]Lifetime
}

// Lifetime is from when to when a certificate is valid, and whether the server
// renews it.
type Lifetime struct {
	NotBefore, NotAfter time.Time
	Managed             bool
}

// count counts a record.
func (f *Figures) count(kind audit.Kind) {
	switch kind {
	case audit.KindCertObtained:
		f.Obtained++
	case audit.KindCertRenewed:
		f.Renewed++
	case audit.KindCertFailed:
		f.Failed++
	case audit.KindCertRevoked:
		f.Revoked++
	case audit.KindCertLoaded:
		f.Loaded++
	case audit.KindCertExpiring:
		f.Expiring++
	case audit.KindCertExpired:
		f.Expired++
	}
}

// site notes when the certificate of names of the configuration ends.
func (f *Figures) site(h held) {
	for _, name := range h.sites {
		if h.leaf.NotAfter.After(f.Sites[name]) {
			f.Sites[name] = h.leaf.NotAfter
			f.Served[name] = Lifetime{h.leaf.NotBefore, h.leaf.NotAfter, h.managed}
		}
	}
}

// add notes that the log has a certificate. It reports false if it had it, or if
// there are too many.
func (v *inventory) add(s sum, managed bool) bool {
	if k := v.known[s]; k != nil || len(v.known) >= maxKnown {
		return false
	}
	if v.known == nil {
		v.known = map[sum]*known{}
	}
	v.known[s] = &known{managed: managed}
	return true
}

// obtained composes the record of a certificate that was obtained or renewed.
func (v *inventory) obtained(e event) audit.Certificate {
	r := audit.Certificate{Time: e.time, Names: e.names, Issuer: e.issuer}
	if e.obtained != nil {
		r = describe(e.obtained, e.time)
		v.add(sumOf(e.obtained), true)
	}
	if e.issuer != "" {
		r.Issuer = e.issuer
	}
	r.Kind, r.Source, r.Managed = audit.KindCertObtained, sourceEvent, true
	if e.renewal {
		r.Kind = audit.KindCertRenewed
	}
	for _, name := range e.names {
		if n := v.failures[name]; n > 0 {
			r.Attempt = max(r.Attempt, n+1)
		}
		r.Forced = r.Forced || v.revoked[name]
		delete(v.failures, name)
		delete(v.revoked, name)
	}
	r.Attempt = max(r.Attempt, 1)
	return r
}

// failed composes the record of a failure, if there are not too many.
func (v *inventory) failed(e event) (audit.Certificate, bool) {
	r := audit.Certificate{
		Time: e.time, Kind: audit.KindCertFailed, Names: e.names, Issuer: e.issuer, Managed: true,
		Source: sourceEvent, Error: e.err, Remaining: e.remaining,
	}
	for _, name := range e.names {
		if v.failures[name] == 0 && len(v.failures) >= maxFollowed {
			continue
		}
		if v.failures == nil {
			v.failures = map[string]int{}
		}
		v.failures[name]++
		r.Attempt = max(r.Attempt, v.failures[name])
	}
	if minute := e.time.Truncate(time.Minute); !minute.Equal(v.minute) {
		v.minute, v.written = minute, 0
	}
	if v.written >= maxFailures {
		v.omitted++
		v.figures.count(r.Kind)
		return r, false
	}
	v.written++
	return r, true
}

// others composes the record of the failures that were not recorded one by one.
func (v *inventory) others(now time.Time) (audit.Certificate, bool) {
	if v.omitted == 0 {
		return audit.Certificate{}, false
	}
	r := audit.Certificate{
		Time: now, Kind: audit.KindCertFailed, Managed: true, Source: sourceEvent,
		Error: fmt.Sprintf("%d more failures were not recorded one by one", v.omitted),
	}
	v.omitted = 0
	return r, true
}

// revocation composes the record of a certificate that its issuer revoked.
func (v *inventory) revocation(e event) audit.Certificate {
	r := audit.Certificate{Time: e.time, Names: e.names}
	if e.cert != nil && e.cert.Leaf != nil {
		r = describe(e.cert.Leaf, e.time)
		v.add(sumOf(e.cert.Leaf), true)
	}
	r.Kind, r.Source, r.Managed = audit.KindCertRevoked, sourceEvent, true
	r.Reason = reasons[e.reason]
	if !e.revoked.IsZero() {
		r.Reason += " at " + e.revoked.UTC().Format(time.RFC3339)
	}
	for _, name := range e.names {
		if len(v.revoked) >= maxFollowed {
			break
		}
		if v.revoked == nil {
			v.revoked = map[string]bool{}
		}
		v.revoked[name] = true
	}
	return r
}

// sweep compares what the log has with the certificates that there are. It
// returns the records of those that no event announced and of those that came
// near their end, and the time when the next one will.
func (v *inventory) sweep(list []held, thresholds []time.Duration, now time.Time) (records []audit.Certificate, next time.Time) {
	here, stored := map[sum]bool{}, map[sum]time.Time{}
	v.figures.Sites, v.figures.Served = map[string]time.Time{}, map[string]Lifetime{}
	for _, h := range list {
		v.figures.site(h)
		s := sumOf(h.leaf)
		if here[s] {
			continue
		}
		here[s] = true
		if h.source == sourceStorage && !now.Before(h.leaf.NotAfter) {
			continue // what is left of a site that is gone, most likely
		}
		if h.source == sourceStorage && v.known[s] == nil {
			since, ok := v.stored[s]
			if !ok {
				since = now
			}
			if at := since.Add(announceTime); now.Before(at) {
				stored[s], next = since, earlier(next, at)
				continue
			}
		}
		if v.add(s, h.managed) {
			r := describe(h.leaf, now)
			r.Kind, r.Source, r.Managed = audit.KindCertLoaded, h.source, h.managed
			records = append(records, r)
		}
		k := v.known[s]
		if k == nil {
			continue
		}
		k.missing = 0
		if h.source == sourceStorage { // it is not in use
			continue
		}
		due, at := k.due(h, thresholds, now)
		records = append(records, due...)
		next = earlier(next, at)
	}
	v.stored = stored
	for s, k := range v.known {
		if !here[s] {
			if k.missing++; k.missing > forgetAfter {
				delete(v.known, s)
			}
		}
	}
	return records, next
}

// earlier returns the earlier one of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// due returns the records that a certificate has coming, and when it is to be
// looked at again; zero if it has expired. Of the thresholds that were passed
// since, only the last is recorded.
func (k *known) due(h held, thresholds []time.Duration, now time.Time) (records []audit.Certificate, next time.Time) {
	end := h.leaf.NotAfter
	record := func(kind audit.Kind) {
		r := describe(h.leaf, now)
		r.Kind, r.Source, r.Managed = kind, h.source, h.managed
		records = append(records, r)
	}
	if !now.Before(end) {
		if !k.expired {
			k.expired = true
			record(audit.KindCertExpired)
		}
		return records, time.Time{}
	}
	passed := 0
	for _, d := range effective(thresholds, h) {
		at := end.Add(-d)
		if now.Before(at) {
			next = at
			break
		}
		passed++
	}
	if passed > k.passed {
		k.passed = passed
		record(audit.KindCertExpiring)
	}
	if next.IsZero() {
		next = end
	}
	return records, next
}

// effective returns the thresholds that apply to a certificate, the longest
// first. None is longer than a third of its lifetime, or, if the server renews
// it, a sixth: it does so when a third is left, and half of that is time for
// what may go wrong.
func effective(thresholds []time.Duration, h held) []time.Duration {
	part := 3
	if h.managed {
		part = 6
	}
	most := h.leaf.NotAfter.Sub(h.leaf.NotBefore) / time.Duration(part)
	var list []time.Duration
	for _, d := range thresholds {
		list = append(list, min(d, most))
	}
	slices.SortFunc(list, func(a, b time.Duration) int { return int(max(-1, min(1, b-a))) })
	return slices.Compact(list)
}
