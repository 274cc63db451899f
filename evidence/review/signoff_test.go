package review_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// many are grants of n accounts.
func many(n int) *review.Grants {
	g := &review.Grants{Configuration: review.Configuration{Source: "file"}}
	for i := range n {
		g.Accounts = append(g.Accounts, review.Account{Kind: review.APIKey, Name: fmt.Sprintf("key-%04d", i)})
	}
	return g
}

// TestLongSignOffsAreSeveralRecordsThatKeepEachDecision signs so many grants, with
// notes that take the most room in a record, that no record holds them.
func TestLongSignOffsAreSeveralRecordsThatKeepEachDecision(t *testing.T) {
	b := days(t, 0)
	document, err := b.must(many(300), nil).JSON()
	if err != nil {
		t.Fatal(err)
	}
	var list []review.Decision
	for i := range 300 {
		list = append(list, review.Decision{Grant: fmt.Sprintf("api_key:key-%04d", i), Decision: []string{"keep", "revoke", "change"}[i%3], Note: strings.Repeat("<\u2028ä\x00", i%140) + "note"})
	}
	s, err := review.NewSignOff(document, list, "", "carol", "quarterly", "T-1")
	if err != nil {
		t.Fatal(err)
	}
	parts, err := s.Records(to.Add(-1), "ar-1", audit.Actor{Name: "uid:0", Known: "verified"})
	if err != nil || len(parts) < 3 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	for _, p := range parts {
		b.add(p)
	}
	found, err := review.Signatures(t.Context(), b.dir(), document)
	if err != nil || len(found) != 1 || !found[0].Whole || !slices.Equal(found[0].Decisions, list) {
		t.Fatalf("%d sign-offs, %v", len(found), err)
	}
	if f := found[0]; f.Kept != 100 || f.Revoked != 100 || f.Changed != 100 || f.Grants != 300 || f.Reviewer != "carol" || f.Actor != "uid:0" || f.Document != review.Hash(document) {
		t.Errorf("%+v", f)
	}
	if d := b.must(many(1), nil); len(d.Signed) != 1 || !d.Signed[0].Whole || d.Signed[0].Revoked != 100 || len(d.Signed[0].Seqs) != len(parts) {
		t.Errorf("signed in the period: %+v", d.Signed)
	}
	missing := days(t, 0)
	missing.add(parts[0], parts[2])
	if found, err := review.Signatures(t.Context(), missing.dir(), document); err != nil || len(found) != 1 || found[0].Whole {
		t.Errorf("with a part missing it is %+v, %v", found, err)
	}
	if d := missing.must(many(1), nil); len(d.Signed) != 1 || d.Signed[0].Whole {
		t.Errorf("with a part missing: %+v", d.Signed)
	}
	if found, err := review.Signatures(t.Context(), b.dir(), append(document, ' ')); err != nil || len(found) != 0 {
		t.Errorf("another document is signed: %+v, %v", found, err)
	}
}

func TestSignOffsThatAreNotCompleteAreRefused(t *testing.T) {
	document, err := days(t, 0).must(many(2), nil).JSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		list []review.Decision
		rest string
		by   string
		want string // no error if empty
	}{
		"all":          {[]review.Decision{{"api_key:key-0000", "keep", ""}, {"api_key:key-0001", "revoke", "gone"}}, "", "carol", ""},
		"the rest":     {[]review.Decision{{"api_key:key-0001", "change", "shorter"}}, "keep", "carol", ""},
		"one missing":  {[]review.Decision{{"api_key:key-0001", "keep", ""}}, "", "carol", `nothing is decided on 1 of 2 grants, such as "api_key:key-0000"`},
		"rest revoked": {nil, "revoke", "carol", "only keep can"},
		"unknown":      {[]review.Decision{{"api_key:key-9", "keep", ""}}, "keep", "carol", "is not in the review"},
		"two of one":   {[]review.Decision{{"api_key:key-0001", "keep", ""}, {"api_key:key-0001", "revoke", "x"}}, "keep", "carol", "two decisions"},
		"no note":      {[]review.Decision{{"api_key:key-0001", "revoke", " "}}, "keep", "carol", "needs a note"},
		"no decision":  {[]review.Decision{{"api_key:key-0001", "maybe", ""}}, "keep", "carol", "is no decision"},
		"long note":    {[]review.Decision{{"api_key:key-0001", "keep", strings.Repeat("x", 1025)}}, "keep", "carol", "longer than"},
		"nobody":       {nil, "keep", "", "the name of the reviewer"},
		"long name":    {nil, "keep", strings.Repeat("x", 257), "at most 256"},
	} {
		_, err := review.NewSignOff(document, c.list, c.rest, c.by, "why", "")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, bad := range []string{"", "{}", "[]", `{"title":"x"}`, `{"title":"caddy-soc2 access review","version":2}`} {
		if _, err := review.NewSignOff([]byte(bad), nil, "keep", "carol", "why", ""); err == nil {
			t.Errorf("%q is signed", bad)
		}
	}
}

// hostile are texts that act where they are not shown as text.
var hostile = []string{
	`=1+1`, "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title><b>`, `]]>`,
	"\x1b[31mred\x1b[0m", "a\u202eb", "\xff\xfe", `back\slash`, "line\nbreak", "{{.Unknown}}", "${1}", "'; DROP TABLE", strings.Repeat("=", 300),
}

// TestHostileTextIsShownAndDoesNothing has it in each place where a client, an
// operator or a configuration can put it.
func TestHostileTextIsShownAndDoesNothing(t *testing.T) {
	b := newBench(t)
	g := &review.Grants{Configuration: review.Configuration{Source: "file", Name: hostile[6]}}
	for i, text := range hostile {
		b.add(
			&audit.Event{Start: from, User: text, AuthMethod: text, AccessPolicy: hashA, AccessShadow: text, Access: audit.Decision{Outcome: []string{"allow", "deny", "shadow_deny", "break_glass"}[i%4], Rule: text, Reason: text}},
			&audit.Lockout{Time: from, Action: "lock", What: text, Subject: text, Rule: text},
			&audit.BreakGlass{Time: from, Action: "open", Grant: text, Policy: text, Principal: text, Actor: audit.Actor{Name: text, Claim: text}, Reason: text, Ticket: text},
			&audit.AccessReview{Time: from, Review: text, Part: 1, Parts: 1, Reviewer: text, Document: text, Reason: text, Ticket: text, Actor: audit.Actor{Name: text}},
			&audit.LogErase{Time: from, What: "period", Period: text},
		)
		g.Accounts = append(g.Accounts, review.Account{Kind: review.Listed, Name: text, Sources: []string{text}, Roles: []string{text}, Limits: []string{text}})
		g.Policies = append(g.Policies, review.Policy{Names: []string{text}, Hash: text, Sites: []string{text}, Rules: []review.Rule{{Name: text, Conditions: []string{text}}}})
		g.Configuration.Notes = append(g.Configuration.Notes, text)
		g.Configuration.Files = append(g.Configuration.Files, review.File{Name: text})
	}
	d := b.must(g, nil)
	all := formats(t, d)
	for name, out := range all {
		if !utf8.ValidString(out) || strings.ContainsAny(out, "\x1b\x00\u202e") {
			t.Errorf("%s has text that acts", name)
		}
	}
	if got := tags(all["html"]); !maps.Equal(got, known) {
		t.Errorf("the page has the elements %v", slices.Sorted(maps.Keys(got)))
	}
	for _, bad := range []string{"<script", "<img", "<b>", "]]>", `"><img`} {
		if strings.Contains(all["html"], bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(all["csv"])).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("the cell %q is a formula", cell)
			}
		}
	}
	if lines := strings.Count(all["csv"], "\n"); lines != len(rows) {
		t.Errorf("%d lines of %d rows", lines, len(rows))
	}
}

// known are the elements that the page has of itself, when each list has something.
var known = map[string]bool{}

func init() {
	for name := range strings.FieldsSeq("!doctype html head meta title style body h1 h2 table thead tbody tr th td p code ul li br") {
		known[name] = true
	}
}

// tags are the names of the elements of a page.
func tags(page string) map[string]bool {
	list := map[string]bool{}
	for _, part := range strings.Split(page, "<")[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(part, "/"), ">")
		name, _, _ = strings.Cut(name, " ")
		list[strings.TrimSpace(name)] = true
	}
	return list
}

func subset(a, b map[string]bool) bool {
	for name := range a {
		if !b[name] {
			return false
		}
	}
	return true
}

// TestTheTableIsWhatASpreadsheetSavesBack fills in the table as it is written,
// with semicolons, and with the mark that spreadsheets begin with.
func TestTheTableIsWhatASpreadsheetSavesBack(t *testing.T) {
	b := days(t, 0)
	g := many(3)
	g.Accounts = append(g.Accounts, review.Account{Kind: review.Listed, Name: "=1+1; \"x\""})
	d := b.must(g, nil)
	rows, err := csv.NewReader(strings.NewReader(formats(t, d)["csv"])).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		if row[1] != "" {
			row[2] = " Keep "
		}
	}
	for _, comma := range []rune{',', ';'} {
		var out bytes.Buffer
		out.WriteString("\ufeff")
		w := csv.NewWriter(&out)
		w.Comma, w.UseCRLF = comma, comma == ';'
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		list, err := review.ParseDecisions(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if all, err := d.Decide(list, ""); err != nil || len(all) != 4 {
			t.Errorf("%q: %d decisions, %v", comma, len(all), err)
		}
	}
}

func TestDecisionsThatCannotBeReadSayWhy(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "neither a JSON list nor a table",
		"a,b\n1,2\n":                 "columns grant and decision",
		"grant,decision\nx,\"y\n":    "table of decisions",
		"grant,decision\nx,drop\n":   "is no decision",
		`[{"grant":"x"}]`:            "is no decision",
		`[{"grant":"x","what":1}]`:   "unknown field",
		`[] []`:                      "something follows",
		`[{"decision":"keep"}]`:      "names no grant",
		"grant,decision\nx,revoke\n": "needs a note",

		"grant,decision,note\n,revoke,left\n": `line 2 of the table of decisions has the decision "revoke" and no grant`,
	} {
		if list, err := review.ParseDecisions([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", text, list, err, want)
		}
	}
}

// FuzzDecisions reads decisions of any bytes: what is read is valid, and is read
// again from JSON.
func FuzzDecisions(f *testing.F) {
	for _, s := range []string{"grant,decision,note\r\nrule:a/b,keep,\r\n", "grant;decision\nx;keep\n", `[{"grant":"x","decision":"revoke","note":"y"}]`, "\ufeffgrant,decision\n\"a\"\"b\",keep\n", "[", "grant,decision\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := review.ParseDecisions(b)
		if err != nil {
			return
		}
		for _, d := range list {
			if d.Grant == "" || !utf8.ValidString(d.Note) || d.Decision != review.Keep && (d.Note == "" || d.Decision != review.Revoke && d.Decision != review.Change) {
				t.Fatalf("%+v", d)
			}
		}
		if list == nil {
			return
		}
		again, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := review.ParseDecisions(again); err != nil || !slices.Equal(got, list) {
			t.Fatalf("%s: %+v, %v", again, got, err)
		}
	})
}

// FuzzDocument reads documents of any bytes, and writes those that can be read.
func FuzzDocument(f *testing.F) {
	b := newBench(f)
	b.add(&audit.Event{Start: from, User: "key-0000", AuthMethod: "api_key", AccessPolicy: hashA, Access: audit.Decision{Outcome: "allow", Rule: "r0"}})
	document, err := b.must(many(1), nil).JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add([]byte(`{"title":"caddy-soc2 access review","version":1,"policies":[{"rules":[{"grant":"<script>"}]}],"signed_in_period":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := review.Parse(b)
		if err != nil {
			return
		}
		if got := tags(formats(t, d)["html"]); !subset(got, known) {
			t.Fatalf("the page has the elements %v", got)
		}
		if s, err := review.NewSignOff(b, nil, review.Keep, "carol", "why", ""); err == nil {
			if _, err := s.Records(now, "ar-1", audit.Actor{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
