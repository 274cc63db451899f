package soc2_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	soc2 "github.com/caddy-soc2/caddy-soc2"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
	"github.com/caddy-soc2/caddy-soc2/handlers/access"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity"
	"github.com/caddy-soc2/caddy-soc2/handlers/identity/apikey"
)

const reviewedSite = `
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
		audit {
			checkpoint every 1s
		}
	}
}
SITE {
	route {
		soc2_auth {
			realm reviewed
			jwt https://idp.example {
				audience app
				jwks_file ROOT/jwks.json
				roles groups
			}
			api_key ROOT/keys.json
			password ROOT/accounts
			lockout {
				failures 3
			}
		}
		soc2_access {
			name shop
			assign auditor olga
			rule watched {
				deny
				shadow
				path /open/watched
			}
			rule staff {
				role staff
				path /staff/*
			}
			rule robots {
				principal robot spare
				path /robots/*
			}
			rule unused {
				role admin
				path /admin/*
			}
			rule open {
				path /open/*
			}
			break_glass {
				principal bob
				max_ttl 1h
			}
		}
		respond ok
	}
}
`

// payloads are names of principals that act where they are not shown as text.
var payloads = []string{`=cmd|'/C calc'!A0`, `<script>alert(1)</script>`, `"><img/src=x/onerror=alert(1)>`, `@SUM(1+1)*cmd`, `{{.Unknown}}`}

// reviewed is a site whose access is reviewed.
type reviewed struct {
	*identities
	admin    *httptest.Server
	from, to time.Time
	period   []string // words of the command
}

func newReviewed(t *testing.T) *reviewed {
	t.Helper()
	r := &reviewed{identities: newIdentities(t), from: time.Now().Add(-time.Minute)}
	unlockAll()
	t.Cleanup(unlockAll)
	_, spare, err := apikey.New("spare")
	if err != nil {
		t.Fatal(err)
	}
	robot, sum, err := apikey.New("robot")
	if err != nil {
		t.Fatal(err)
	}
	r.apiKey = robot
	r.file("keys.json", fmt.Sprintf(`[{"id":"robot","hash":%q,"expires":"2100-01-01T00:00:00Z"},{"id":"spare","hash":%q,"expires":"2100-01-01T00:00:00Z"}]`, sum, spare))
	port := freePort(t)
	err = r.loadEdited(reviewedSite, func(config string) string {
		return strings.Replace(config, `"admin":{"disabled":true`, fmt.Sprintf(`"admin":{"listen":"127.0.0.1:%d"`, port), 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, route := range new(access.Admin).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, req *http.Request) { _ = route.Handler.ServeHTTP(w, req) })
	}
	r.admin = httptest.NewServer(mux)
	t.Cleanup(r.admin.Close)
	r.file("Caddyfile", r.filled(reviewedSite))
	r.period = []string{"review", "--dir", r.dir(), "--from", stamp(r.from), "--config", filepath.Join(r.data, "Caddyfile")}
	return r
}

// unlockAll lets in whom other tests of this process have locked out: the locks of
// a network hold for all sites.
func unlockAll() {
	for _, route := range new(identity.Admin).Routes() {
		if route.Pattern != "POST /soc2/v1/lockouts/unlock" {
			continue
		}
		for _, body := range []string{`{"what":"network","subject":"127.0.0.1","reason":"test"}`, `{"what":"principal","subject":"alice","reason":"test"}`} {
			_ = route.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/soc2/v1/lockouts/unlock", strings.NewReader(body)))
		}
	}
}

func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

// bearer is a token of a principal.
func (r *reviewed) bearer(sub string, groups ...string) func(*http.Request) {
	r.t.Helper()
	c := claims("sub", sub)
	c["groups"] = groups
	return header("Authorization", "Bearer "+r.token(map[jose.HeaderKey]any{"kid": "e1"}, c))
}

func (r *reviewed) want(status int, path string, edit func(*http.Request)) {
	r.t.Helper()
	if got := r.get(r.url(path), edit); got.status != status {
		r.t.Errorf("%s: %d, want %d", path, got.status, status)
	}
}

// traffic makes the requests that the review is held against.
func (r *reviewed) traffic() {
	r.t.Helper()
	for range 3 {
		r.want(200, "/staff/x", basic("alice", "the-right-password"))
	}
	r.want(403, "/admin/x", basic("alice", "the-right-password"))
	r.want(200, "/robots/x", header("X-Api-Key", r.apiKey))
	r.want(200, "/open/watched", r.bearer("bob", "staff"))
	r.want(403, "/robots/x", r.bearer("mallory", "staff"))
	r.want(403, "/robots/x", r.bearer("mallory", "staff"))
	r.want(401, "/open/x", func(*http.Request) {})
	for _, name := range payloads {
		r.want(200, "/open/x", r.bearer(name))
	}
	for range 3 {
		r.want(401, "/open/x", basic("carol", "wrong"))
	}
	resp, err := http.Post(r.admin.URL+"/soc2/v1/access/break-glass", "application/json",
		strings.NewReader(`{"policy":"shop","principal":"bob","by":"dora","reason":"<b>down</b>","ticket":"INC-7","for":"30m"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	r.want(200, "/admin/x", r.bearer("bob", "staff"))
	r.to = time.Now()
	r.period = append(r.period, "--to", stamp(r.to))
}

// run runs the command, which must exit with 0.
func (r *reviewed) run(words ...string) string {
	r.t.Helper()
	code, out, said, err := soc2.RunAccess(words...)
	if code != 0 || err != nil {
		r.t.Fatalf("%q: exit %d, %v\n%s%s", words, code, err, out, said)
	}
	return out
}

// review makes the review when all requests are in the tree, as JSON.
func (r *reviewed) review(more ...string) (*review.Document, string) {
	r.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	words := append(append(slices.Clone(r.period), "--json"), more...)
	for range 600 {
		out := r.run(words...)
		d, err := review.Parse([]byte(out))
		if err != nil {
			r.t.Fatal(err)
		}
		if d.Log.Requests >= int64(9+len(payloads)+3+1) {
			return d, out
		}
		<-tick.C
	}
	r.t.Fatal("the requests are not in the tree")
	return nil, ""
}

// TestReviewTellsWhoCouldWhoDidAndWhoWasRefused reviews a running server.
func TestReviewTellsWhoCouldWhoDidAndWhoWasRefused(t *testing.T) {
	r := newReviewed(t)
	r.traffic()
	d, text := r.review()
	if d.Configuration.Source != "file" || len(d.Configuration.Files) != 2 {
		t.Errorf("configuration %+v", d.Configuration)
	}
	var states []string
	for _, p := range d.Policies {
		for _, one := range p.Rules {
			states = append(states, fmt.Sprintf("%s %s %d", one.Rule, one.Status, one.Allowed))
		}
	}
	if got := strings.Join(states, ", "); got != fmt.Sprintf("watched in_shadow 0, staff used 3, robots used 1, unused dormant 0, open used %d", 1+len(payloads)) {
		t.Error(got)
	}
	if !slices.Equal(d.Dormant.Rules, []string{"rule:shop/unused"}) ||
		!slices.Equal(d.Dormant.Accounts, []string{"api_key:spare", "listed:olga", "listed:spare"}) {
		t.Errorf("dormant: %+v", d.Dormant)
	}
	who := map[string]review.Principal{}
	for _, p := range d.Principals {
		who[p.Name+" "+p.Method] = p
	}
	if p := who["alice password"]; p.Allowed != 3 || p.Refused != 1 || len(p.Rules) != 1 || p.Rules[0].Grant != "rule:shop/staff" || !slices.Equal(p.Grants, []string{"password:alice"}) {
		t.Errorf("alice: %+v", p)
	}
	if p := who["bob jwt"]; p.Allowed != 1 || p.Glass != 1 || p.Refused != 0 {
		t.Errorf("bob: %+v", p)
	}
	reasons := map[string]int64{}
	for _, one := range d.Refused {
		reasons[one.Rule+" "+one.Reason] += one.Count
	}
	for reason, n := range map[string]int64{" no_rule": 3, "soc2_auth no_credentials": 1, "soc2_auth password_wrong": 3} {
		if reasons[reason] != n {
			t.Errorf("refused %q: %v, want %d", reason, reasons, n)
		}
	}
	if len(d.Glass) != 1 || d.Glass[0].Principal != "bob" || d.Glass[0].Requests != 1 || d.Glass[0].Claim != "dora" || d.Glass[0].Reason != "<b>down</b>" {
		t.Errorf("break-glass: %+v", d.Glass)
	}
	if len(d.Shadow) != 1 || d.Shadow[0].Rule != "watched" || d.Shadow[0].Count != 1 {
		t.Errorf("shadow: %+v", d.Shadow)
	}
	if len(d.Lockouts) != 1 || d.Lockouts[0].Locked != 1 || strings.Contains(text, "carol") {
		t.Errorf("lockouts: %+v", d.Lockouts)
	}
	r.inert()
	r.recorded(d)
	r.signs(d, text)
}

// recorded reviews by the configuration that the log has. The names of the files
// of this test look like secrets to it.
func (r *reviewed) recorded(d *review.Document) {
	t := r.t
	t.Helper()
	words := []string{"review", "--dir", r.dir(), "--from", stamp(r.from), "--to", stamp(r.to), "--json"}
	if code, _, _, err := soc2.RunAccess(words...); code != 2 || err == nil || !strings.Contains(err.Error(), "hides the name of the file") {
		t.Errorf("exit %d: %v", code, err)
	}
	got, err := review.Parse([]byte(r.run(append(words, "--missing-files")...)))
	if err != nil || got.Configuration.Source != "recorded" || len(got.Policies) != 1 || got.Policies[0].Hash != d.Policies[0].Hash || !slices.Equal(got.Dormant.Rules, d.Dormant.Rules) {
		t.Errorf("%+v, %v", got, err)
	}
}

// inert looks for payloads in what a browser and a spreadsheet are given.
func (r *reviewed) inert() {
	r.t.Helper()
	period := slices.Clip(r.period)
	page := r.run(append(period, "--format", "html")...)
	for _, bad := range []string{"<script", "<img", "<b>", "onerror=alert(1)>", "javascript:"} {
		if strings.Contains(page, bad) {
			r.t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(page, "&lt;script&gt;alert(1)") || !strings.Contains(page, "{{.Unknown}}") {
		r.t.Error("the page does not have the names")
	}
	rows, err := csv.NewReader(strings.NewReader(r.run(append(period, "--format", "csv")...))).ReadAll()
	if err != nil {
		r.t.Fatal(err)
	}
	seen := 0
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+@-", rune(cell[0])) {
				r.t.Errorf("a cell begins like a formula: %q", cell)
			}
			if cell == "'"+payloads[0] || cell == "'"+payloads[3] {
				seen++
			}
		}
	}
	if seen < 2 {
		r.t.Errorf("%d names are guarded", seen)
	}
	if out := r.run(period...); !strings.Contains(out, "api_key:spare") || !strings.Contains(out, "rule:shop/unused") {
		r.t.Error(out)
	}
}

// signs signs the review with the table as a reviewer fills it in, finds the
// sign-off, and verifies the log.
func (r *reviewed) signs(d *review.Document, text string) {
	t := r.t
	t.Helper()
	size := fmt.Sprint(d.Log.Size)
	period := append(slices.Clone(r.period), "--size", size)
	if _, again := r.review("--size", size); again != text {
		t.Error("made again it is another review")
	}
	rows, err := csv.NewReader(strings.NewReader(r.run(append(period, "--format", "csv")...))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	grant, decision, note := slices.Index(rows[0], "grant"), slices.Index(rows[0], "decision"), slices.Index(rows[0], "note")
	for _, row := range rows[1:] {
		switch {
		case row[grant] == "api_key:spare":
			row[decision], row[note] = "Revoke", "not used; =1+1"
		case row[grant] != "":
			row[decision] = "keep"
		}
	}
	var table strings.Builder
	if err := csv.NewWriter(&table).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	r.file("review.json", text)
	r.file("decisions.csv", table.String())
	document := filepath.Join(r.data, "review.json")
	sign := []string{"review", "sign", document, "--by", "Carol Reviewer", "--reason", "quarterly", "--address", strings.TrimPrefix(r.admin.URL, "http://"), "--decisions"}
	if code, _, _, err := soc2.RunAccess(append(sign, filepath.Join(r.data, "accounts"))...); code != 2 || err == nil {
		t.Errorf("exit %d: %v", code, err)
	}
	r.file("tampered.json", strings.Replace(text, d.Log.Root, strings.Repeat("A", 43)+"=", 1))
	other := slices.Clone(sign)
	other[2] = filepath.Join(r.data, "tampered.json")
	if code, _, _, err := soc2.RunAccess(append(other, filepath.Join(r.data, "decisions.csv"))...); code != 1 || err == nil || !strings.Contains(err.Error(), "another root") {
		t.Errorf("a review of another log: exit %d, %v", code, err)
	}
	out := r.run(append(sign, filepath.Join(r.data, "decisions.csv"))...)
	var answer struct {
		Grants, Kept, Revoked int64
		Document              string `json:"document_sha256"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Revoked != 1 || answer.Kept != answer.Grants-1 || answer.Document != review.Hash([]byte(text)) {
		t.Errorf("%s: %v", out, err)
	}
	list := r.run("review", "signed", document, "--dir", r.dir())
	if !strings.Contains(list, "by Carol Reviewer") || !strings.Contains(list, "api_key:spare: not used; =1+1") {
		t.Error(list)
	}
	r.verify()
	if r.run("review", "signed", document, "--dir", r.dir()) != list {
		t.Error("a log that is closed has another sign-off")
	}
	if _, again := r.review("--size", size); again != text {
		t.Error("of a log that is closed it is another review")
	}
	if code, _, _, err := soc2.RunAccess("review", "signed", other[2], "--dir", r.dir()); code != 1 || err == nil {
		t.Error("a review that nobody signed is signed")
	}
	r.moved(d)
}

// moved reviews a copy of the log alone, as an auditor has it.
func (r *reviewed) moved(d *review.Document) {
	t := r.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(r.dir())); err != nil {
		t.Fatal(err)
	}
	words := []string{"review", "--dir", dir, "--from", stamp(r.from), "--to", stamp(r.to), "--json"}
	if code, _, _, err := soc2.RunAccess(words...); code != 2 || err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("exit %d: %v", code, err)
	}
	alone, err := review.Parse([]byte(r.run(append(words, "--no-config")...)))
	if err != nil || len(alone.Principals) != len(d.Principals) || len(alone.Grants()) != 0 {
		t.Errorf("%+v, %v", alone, err)
	}
	r.file("Caddyfile", strings.Replace(r.filled(reviewedSite), "keys.json", "gone.json", 1))
	config := append(words, "--config", filepath.Join(r.data, "Caddyfile"))
	if code, _, _, err := soc2.RunAccess(config...); code != 2 || err == nil || !strings.Contains(err.Error(), "--missing-files") {
		t.Errorf("exit %d: %v", code, err)
	}
	with, err := review.Parse([]byte(r.run(append(config, "--missing-files")...)))
	if err != nil || !slices.Equal(with.Dormant.Rules, d.Dormant.Rules) || len(with.Configuration.Notes) != 2 {
		t.Errorf("%+v, %v", with.Configuration, err)
	}
}
