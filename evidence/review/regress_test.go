package review_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// TestSignOffWithoutEachDecisionIsNotWhole writes what the admin API takes, which
// does not have the document.
func TestSignOffWithoutEachDecisionIsNotWhole(t *testing.T) {
	b := days(t, 0)
	document, err := b.must(many(2), nil).JSON()
	if err != nil {
		t.Fatal(err)
	}
	all := []review.Decision{{Grant: "api_key:key-0000", Decision: review.Keep}, {Grant: "api_key:key-0001", Decision: review.Keep}}
	whole, err := review.NewSignOff(document, all, "", "carol", "quarterly", "")
	if err != nil {
		t.Fatal(err)
	}
	none, other, moved := *whole, *whole, *whole
	none.Decisions = nil
	other.Decisions = []review.Decision{all[0], {Grant: "api_key:nobody", Decision: review.Keep}}
	moved.From = moved.From.AddDate(-1, 0, 0)
	for i, s := range []*review.SignOff{whole, &none, &other, &moved} {
		parts, err := s.Records(to.Add(-1), "ar-"+string(rune('0'+i)), audit.Actor{Known: "asserted"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			b.add(p)
		}
	}
	found, err := review.Signatures(t.Context(), b.dir(), document)
	if err != nil || len(found) == 0 || !found[0].Whole {
		t.Fatalf("%+v, %v", found, err)
	}
	for _, s := range found[1:] {
		if s.Whole {
			t.Errorf("it is called whole: %+v", s)
		}
	}
}

// TestRuleOfAnEarlierPolicyIsNotCalledDormant has a rule that was used before its
// policy changed.
func TestRuleOfAnEarlierPolicyIsNotCalledDormant(t *testing.T) {
	b := newBench(t)
	b.add(&audit.Event{Start: from, User: "user-9", AuthMethod: "api_key", AccessPolicy: hashX, Access: audit.Decision{Outcome: "allow", Rule: "never"}})
	d := b.must(grants(), nil)
	i := slices.IndexFunc(d.Policies[0].Rules, func(r review.RuleReview) bool { return r.Rule == "never" })
	if r := d.Policies[0].Rules[i]; r.Status != review.NotKnown || r.Otherwise != 1 {
		t.Errorf("%+v", r)
	}
	for name, text := range formats(t, d) {
		if (name == "csv" || name == "text") && !strings.Contains(text, "allowed 1 by a policy that is not in the configuration") {
			t.Errorf("%s does not tell", name)
		}
	}
}

// TestLongRequestDoesNotHideWhatRetentionRemoved has a request that began before
// those that were removed, and ended after them.
func TestLongRequestDoesNotHideWhatRetentionRemoved(t *testing.T) {
	b := newBench(t)
	b.first = 10
	allow := func(start time.Time, took time.Duration) *audit.Event {
		return &audit.Event{Start: start, Duration: took, User: "user-0", AuthMethod: "api_key", AccessPolicy: hashA, Access: audit.Decision{Outcome: "allow", Rule: "r0"}}
	}
	for i := range 10 {
		b.add(allow(from.AddDate(0, 0, i), 0))
	}
	b.add(allow(from, 11*24*time.Hour), allow(from.AddDate(0, 0, 12), 0))
	if d, err := b.make(grants(), nil); !errors.Is(err, review.ErrPeriod) || !strings.Contains(err.Error(), "retention removed") {
		t.Errorf("%+v, %v", d, err)
	}
	d := b.must(grants(), func(o *review.Options) { o.Partial = true })
	if !strings.Contains(strings.Join(d.Unknown, "\n"), "retention removed") {
		t.Errorf("%q", d.Unknown)
	}
}
