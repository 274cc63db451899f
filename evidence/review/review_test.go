package review_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// row is a record as any reader of JSON sees it.
type row struct {
	Seq                                int64
	Time                               time.Time
	Kind                               string
	Auth                               struct{ User, Method string }
	Access                             struct{ Outcome, Rule, Reason, Policy, Shadow string }
	Action, What, Subject, Rule, Grant string
}

// rows are the records of the period.
func (b *bench) rows() (list []row) {
	b.t.Helper()
	for _, record := range b.all {
		var r row
		if err := json.Unmarshal(record, &r); err != nil {
			b.t.Fatal(err)
		}
		if !r.Time.Before(from) && r.Time.Before(to) {
			list = append(list, r)
		}
	}
	return list
}

// where are the rows that a condition holds for.
func where(list []row, is func(row) bool) (out []row) {
	for _, r := range list {
		if is(r) {
			out = append(out, r)
		}
	}
	return out
}

func requests(list []row, is func(row) bool) []row {
	return where(list, func(r row) bool { return r.Kind == "request" && is(r) })
}

func count(list []row, outcome string) int64 {
	return int64(len(where(list, func(r row) bool { return r.Access.Outcome == outcome })))
}

// checkTally holds a tally against the rows that it is of.
func checkTally(t *testing.T, name string, got review.Tally, list []row) {
	t.Helper()
	want := review.Tally{
		Allowed: count(list, "allow"), Refused: count(list, "deny"), Shadow: count(list, "shadow_deny"), Glass: count(list, "break_glass"), Undecided: count(list, ""),
	}
	if got.Allowed != want.Allowed || got.Refused != want.Refused || got.Shadow != want.Shadow || got.Glass != want.Glass || got.Undecided != want.Undecided {
		t.Errorf("%s: %+v, want %+v", name, got, want)
	}
	if len(list) == 0 {
		if got.FirstSeq != nil || !got.First.IsZero() {
			t.Errorf("%s: never, but first %s", name, got.First)
		}
		return
	}
	byTime := func(a, b row) int { return a.Time.Compare(b.Time) }
	first, last := slices.MinFunc(list, byTime), slices.MaxFunc(list, byTime)
	if !got.First.Equal(first.Time) || !got.Last.Equal(last.Time) || *got.FirstSeq != first.Seq || *got.LastSeq != last.Seq {
		t.Errorf("%s: %s to %s (%d to %d), want %s to %s", name, got.First, got.Last, *got.FirstSeq, *got.LastSeq, first.Time, last.Time)
	}
	used := where(list, func(r row) bool { return r.Access.Outcome != "deny" })
	if len(used) > 0 && !got.LastUse.Equal(slices.MaxFunc(used, byTime).Time) || len(used) == 0 && !got.LastUse.IsZero() {
		t.Errorf("%s: last use %s", name, got.LastUse)
	}
}

// TestEachSectionIsWhatTheRecordsSay holds reviews of random logs against what
// counting the records one by one, as JSON, gives.
func TestEachSectionIsWhatTheRecordsSay(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBench(t)
		for range 600 {
			b.add(random(r, 6))
		}
		d := b.must(grants(), nil)
		list := b.rows()
		all := requests(list, func(row) bool { return true })
		if d.Log.Requests != int64(len(all)) || d.Log.Records != int64(len(list)) || *d.Log.First != list[0].Seq || *d.Log.Last != list[len(list)-1].Seq ||
			d.Log.Size != 600 || d.Log.Root != b.root(600).String() || d.Log.Origin != "edge-1/soc2" {
			t.Fatalf("log %+v", d.Log)
		}
		checkDid(t, d, all)
		checkCould(t, d, all)
		checkRefused(t, d, all)
		checkHappenings(t, d, list)
	}
}

func checkDid(t *testing.T, d *review.Document, all []row) {
	t.Helper()
	people := map[string][]row{}
	for _, r := range all {
		if r.Auth.User != "" {
			people[r.Auth.User+" "+r.Auth.Method] = append(people[r.Auth.User+" "+r.Auth.Method], r)
		}
	}
	if len(people) != len(d.Principals) {
		t.Errorf("%d principals, want %d", len(d.Principals), len(people))
	}
	for _, p := range d.Principals {
		name := p.Name + " " + p.Method
		checkTally(t, name, p.Tally, people[name])
		rules := map[string]int64{}
		for _, r := range people[name] {
			if r.Access.Outcome == "allow" {
				rules[r.Access.Policy+" "+r.Access.Rule]++
			}
		}
		for _, u := range p.Rules {
			if rules[u.Policy+" "+u.Rule] != u.Count || (u.Grant == "") != (u.Policy == hashX || u.Policy == hashB && u.Rule != "r0") {
				t.Errorf("%s by %+v, want %v", name, u, rules)
			}
			delete(rules, u.Policy+" "+u.Rule)
		}
		if len(rules) > 0 || p.LeftOut > 0 {
			t.Errorf("%s: %v are not there", name, rules)
		}
	}
	checkTally(t, "nobody", d.Anonymous, where(all, func(r row) bool { return r.Auth.User == "" && r.Auth.Method == "" }))
}

func checkCould(t *testing.T, d *review.Document, all []row) {
	t.Helper()
	var dormant []string
	for _, p := range d.Policies {
		for _, rule := range p.Rules {
			mine := where(all, func(r row) bool {
				return r.Access.Policy == p.Hash && r.Access.Rule == rule.Rule && r.Access.Outcome != ""
			})
			checkTally(t, p.Hash+rule.Rule, rule.Tally, mine)
			who := map[string]bool{}
			for _, r := range mine {
				if r.Access.Outcome == "allow" && r.Auth.User != "" {
					who[r.Auth.User+" "+r.Auth.Method] = true
				}
			}
			if rule.Principals != int64(len(who)) {
				t.Errorf("%s allowed %d principals, want %d", rule.Rule, rule.Principals, len(who))
			}
			if rule.Grant != "" && len(mine) == 0 {
				dormant = append(dormant, rule.Grant)
			}
		}
	}
	if !slices.Equal(dormant, d.Dormant.Rules) || !slices.Contains(dormant, "rule:shop#aaaaaaaa/never") {
		t.Errorf("dormant rules %q, want %q", d.Dormant.Rules, dormant)
	}
	methods := map[string]string{review.APIKey: "api_key", review.Password: "password", review.Basic: "", review.MTLS: "mtls"}
	dormant = nil
	for _, a := range d.Accounts {
		method, fixed := methods[a.Kind]
		mine := where(all, func(r row) bool {
			name := r.Auth.User == a.Name || a.Kind == review.Pattern && strings.HasPrefix(r.Auth.User, strings.TrimSuffix(a.Name, "*"))
			return name && r.Auth.User != "" && (!fixed || r.Auth.Method == method)
		})
		checkTally(t, a.Grant, a.Tally, mine)
		if len(mine) == 0 {
			dormant = append(dormant, a.Grant)
		}
	}
	if !slices.Equal(dormant, d.Dormant.Accounts) || !slices.Contains(dormant, "api_key:idle") {
		t.Errorf("dormant accounts %q, want %q", d.Dormant.Accounts, dormant)
	}
	first := d.Accounts[slices.IndexFunc(d.Accounts, func(a review.AccountReview) bool { return a.Grant == "api_key:user-0" })]
	if fmt.Sprint(first.Rules, first.Roles, first.Sources, first.Expired) != "[rule:shop#aaaaaaaa/r0 rule:shop#aaaaaaaa/r2 rule:shop#aaaaaaaa/never rule:shop#bbbbbbbb/r0 rule:shop#bbbbbbbb/never] [more staff] [keys other keys] false" {
		t.Errorf("%v %v %v %v", first.Rules, first.Roles, first.Sources, first.Expired)
	}
	ops := d.Accounts[slices.IndexFunc(d.Accounts, func(a review.AccountReview) bool { return a.Grant == "password:user-1" })]
	if !slices.Contains(ops.Rules, "rule:shop#aaaaaaaa/r3") || slices.Contains(ops.Rules, "rule:shop#aaaaaaaa/r0") || slices.Contains(first.Rules, "rule:shop#aaaaaaaa/r3") {
		t.Errorf("by roles: %q", ops.Rules)
	}
	for _, e := range d.Elsewhere {
		checkTally(t, e.Policy+e.Rule, e.Tally, where(all, func(r row) bool {
			return r.Access.Outcome != "" && r.Access.Policy == e.Policy && r.Access.Rule == e.Rule
		}))
		if e.Policy == hashA && e.Rule != "" {
			t.Errorf("%+v is in the configuration", e)
		}
	}
}

func checkRefused(t *testing.T, d *review.Document, all []row) {
	t.Helper()
	want, nobody, who, shadow := map[string]int64{}, map[string]int64{}, map[string]int64{}, map[string]int64{}
	for _, r := range all {
		key := fmt.Sprint(r.Access.Policy, "/", r.Access.Rule, "/", r.Access.Reason)
		switch {
		case r.Access.Outcome == "deny" && r.Auth.User == "":
			want[key]++
			nobody[key]++
		case r.Access.Outcome == "deny":
			want[key]++
			who[r.Auth.User+" "+r.Auth.Method+" "+key]++
		case r.Access.Outcome == "shadow_deny":
			shadow["policy "+key]++
		}
		if r.Access.Shadow != "" {
			shadow[fmt.Sprint("rule ", r.Access.Policy, "/", r.Access.Shadow, "/")]++
		}
	}
	got, gotNobody, gotWho, gotShadow := map[string]int64{}, map[string]int64{}, map[string]int64{}, map[string]int64{}
	for _, r := range d.Refused {
		key := fmt.Sprint(r.Policy, "/", r.Rule, "/", r.Reason)
		got[key] = r.Count
		if r.Anonymous > 0 {
			gotNobody[key] = r.Anonymous
		}
	}
	for _, r := range d.Refusals {
		gotWho[fmt.Sprint(r.Name, " ", r.Method, " ", r.Policy, "/", r.Rule, "/", r.Reason)] = r.Count
	}
	for _, r := range d.Shadow {
		gotShadow[fmt.Sprint(r.By, " ", r.Policy, "/", r.Rule, "/", r.Reason)] = r.Count
	}
	for name, pair := range map[string][2]map[string]int64{"refused": {got, want}, "of nobody": {gotNobody, nobody}, "who": {gotWho, who}, "shadow": {gotShadow, shadow}} {
		if !maps.Equal(pair[0], pair[1]) {
			t.Errorf("%s: %v, want %v", name, pair[0], pair[1])
		}
	}
}

func checkHappenings(t *testing.T, d *review.Document, list []row) {
	t.Helper()
	for _, l := range d.Lockouts {
		mine := where(list, func(r row) bool { return r.Kind == "access.lockout" && r.What == l.What && r.Subject == l.Subject })
		n := map[string]int64{}
		for _, r := range mine {
			n[r.Action]++
		}
		if l.Locked != n["lock"] || l.Extended != n["extend"] || l.Unlocked != n["unlock"] || l.Expired != n["expire"] || len(mine) == 0 {
			t.Errorf("%+v, want %v", l, n)
		}
	}
	grants := map[string]bool{}
	for _, r := range list {
		if r.Kind == "access.break_glass" {
			grants[r.Grant] = true
		}
		if r.Access.Outcome == "break_glass" && r.Kind == "request" {
			grants[r.Access.Reason] = true
		}
	}
	for _, g := range d.Glass {
		used := requests(list, func(r row) bool { return r.Access.Outcome == "break_glass" && r.Access.Reason == g.Grant })
		if g.Requests != int64(len(used)) || !grants[g.Grant] {
			t.Errorf("%+v, want %d", g, len(used))
		}
		delete(grants, g.Grant)
	}
	if len(grants) > 0 {
		t.Errorf("%v is not there", grants)
	}
}

// TestSameLogSameBytes makes each format twice, and once more after the log grew.
func TestSameLogSameBytes(t *testing.T) {
	b := newBench(t)
	r := rand.New(rand.NewPCG(7, 7))
	for range 700 {
		b.add(random(r, 50))
	}
	first := formats(t, b.must(grants(), nil))
	if second := formats(t, b.must(grants(), nil)); !maps.Equal(first, second) {
		t.Error("two reviews of one log differ")
	}
	for range 300 {
		b.add(random(r, 50))
	}
	grown := formats(t, b.must(grants(), nil))
	if maps.Equal(first, grown) {
		t.Error("the log grew, and the review is the same")
	}
	if again := formats(t, b.must(grants(), func(o *review.Options) { o.Size = 700 })); !maps.Equal(first, again) {
		t.Error("of the older tree it is another review")
	}
	d, err := review.Parse([]byte(first["json"]))
	if err != nil || !maps.Equal(first, formats(t, d)) {
		t.Errorf("read back it is another review: %v", err)
	}
}

// formats are a review in all formats.
func formats(t *testing.T, d *review.Document) map[string]string {
	t.Helper()
	all := map[string]string{}
	b, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	all["json"] = string(b)
	var text, table, page bytes.Buffer
	if err := d.Text(&text); err != nil {
		t.Fatal(err)
	}
	if err := d.CSV(&table); err != nil {
		t.Fatal(err)
	}
	if err := d.HTML(&page); err != nil {
		t.Fatal(err)
	}
	all["text"], all["csv"], all["html"] = text.String(), table.String(), page.String()
	return all
}

// TestBoundsLeaveOutAndSaySo reviews more principals than are listed. What the
// configuration names is still told.
func TestBoundsLeaveOutAndSaySo(t *testing.T) {
	b := newBench(t)
	for i := range 50 {
		b.add(&audit.Event{Start: from.Add(time.Duration(i) * time.Hour), User: fmt.Sprint("p", i), AuthMethod: "jwt", AccessPolicy: hashA, Access: audit.Decision{Outcome: "allow", Rule: "r0"}})
	}
	for range 3 {
		b.add(&audit.Event{Start: from.Add(time.Hour), User: "user-0", AuthMethod: "api_key", AccessPolicy: hashA, Access: audit.Decision{Outcome: "deny", Rule: "r1", Reason: "rule"}})
	}
	for i := range 100 {
		b.add(&audit.Event{Start: from.Add(time.Hour), User: "p1", AuthMethod: "jwt", AccessPolicy: hashA, Access: audit.Decision{Outcome: "allow", Rule: fmt.Sprint("x", i)}})
	}
	d := b.must(grants(), func(o *review.Options) { o.Principals = 10 })
	if len(d.Principals) != 10 || len(d.LeftOut) != 1 || d.LeftOut[0] != (review.LeftOut{List: "principals", Count: 43, Bound: 10}) {
		t.Errorf("%d principals, left out %+v", len(d.Principals), d.LeftOut)
	}
	for _, a := range d.Accounts {
		if a.Grant == "api_key:user-0" && (a.Status != review.RefusedOnly || a.Refused != 3) {
			t.Errorf("%+v", a)
		}
	}
	for _, p := range d.Principals {
		if p.Name == "p1" && (p.Allowed != 101 || len(p.Rules) != 64 || p.LeftOut != 37) {
			t.Errorf("%d rules, %d left out", len(p.Rules), p.LeftOut)
		}
	}
}

// TestHiddenPrincipalsAreNotCalledDormant reviews pseudonyms, with and without
// their keys, and sealed records.
func TestHiddenPrincipalsAreNotCalledDormant(t *testing.T) {
	account := func(aliases ...string) *review.Grants {
		return &review.Grants{
			Configuration: review.Configuration{Source: "file"},
			Accounts:      []review.Account{{Kind: review.APIKey, Name: "robot", Aliases: aliases}, {Kind: review.APIKey, Name: "spare", Aliases: []string{"p:2026-10:other"}}},
		}
	}
	pseudonym := &audit.Event{Start: from, User: "p:2026-10:abcd", AuthMethod: "api_key", Pseudonyms: []string{"auth.user"}, Access: audit.Decision{Outcome: "allow", Rule: "r"}}
	sealed := &audit.Event{Start: from, AuthMethod: "api_key", Personal: []byte("box"), PersonalKey: "k", Access: audit.Decision{Outcome: "allow", Rule: "r"}}
	for name, c := range map[string]struct {
		grants       *review.Grants
		event        *audit.Event
		resolved     bool
		robot, spare string
	}{
		"no keys":         {account(), pseudonym, false, review.NotKnown, review.NotKnown},
		"keys":            {account("p:2026-10:abcd"), pseudonym, true, review.Used, review.NotUsed},
		"sealed":          {account("p:2026-10:abcd"), sealed, true, review.NotKnown, review.NotKnown},
		"not a pseudonym": {account("p:2026-10:abcd"), &audit.Event{Start: from, User: "spare", AuthMethod: "jwt"}, true, review.NotUsed, review.NotUsed},
	} {
		if c.resolved {
			c.grants.Resolved = []string{"2026-10"}
		}
		b := newBench(t)
		b.add(c.event)
		d := b.must(c.grants, nil)
		if d.Accounts[0].Status != c.robot || d.Accounts[1].Status != c.spare {
			t.Errorf("%s: %s, %s", name, d.Accounts[0].Status, d.Accounts[1].Status)
		}
		told := strings.Contains(strings.Join(d.Unknown, "\n"), "pseudonym") || strings.Contains(strings.Join(d.Unknown, "\n"), "sealed")
		if told != (name != "not a pseudonym") {
			t.Errorf("%s: %q", name, d.Unknown)
		}
	}
}
