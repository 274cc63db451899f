package soc2_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-jose/go-jose/v4"
)

// decidedSite has its directives written in the wrong order, which Caddy mends.
const decidedSite = `
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
	}
}
SITE {
	reverse_proxy UPSTREAM
	soc2_rate_limit_user {
		zone each {
			key principal
			limit 6/1h
		}
	}
	soc2_access {
		rule admin {
			role admin
			path /admin/*
			require mfa
			require auth_method jwt
			require max_token_age 1h
		}
		rule tenant {
			claim tenant t1
			path /tenant/*
		}
		rule staff {
			role staff
			path /staff/*
		}
		rule public {
			anonymous
			path /public
		}
		identity {
			header X-User user
			header X-Roles roles
			header X-Mfa mfa
		}
	}
	soc2_auth {
		optional
		jwt https://idp.example {
			audience app
			jwks_file ROOT/jwks.json
			roles groups
			claims tenant
		}
		api_key ROOT/keys.json
		password ROOT/accounts
	}
}`

// TestRulesDecideOnWhomCredentialsProve sends credentials to a site whose rules go
// by what they prove, and reads in the log how each was decided.
func TestRulesDecideOnWhomCredentialsProve(t *testing.T) {
	up := newProtected(t)
	i := newIdentities(t)
	if err := i.load(strings.ReplaceAll(decidedSite, "UPSTREAM", up.Listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()
	token := func(edit func(map[string]any)) func(*http.Request) {
		c := claims("groups", []string{"admin", "ops"})
		c["amr"] = []string{"pwd", "otp"}
		if edit != nil {
			edit(c)
		}
		return header("Authorization", "Bearer "+i.token(map[jose.HeaderKey]any{"kid": "e1"}, c))
	}
	claim := func(name string, value any) func(*http.Request) {
		return token(func(c map[string]any) { c[name] = value })
	}
	nobody := func(*http.Request) {}
	for name, c := range map[string]struct {
		path         string
		edit         func(*http.Request)
		status       int
		rule, reason string
		user         string // that the upstream is told, with its roles and MFA
	}{
		"an admin":                {"/admin/x", token(nil), 200, "admin", "rule", "bob admin,ops true"},
		"roles in one role":       {"/admin/x", claim("groups", []string{"x,admin"}), 403, "", "no_rule", ""},
		"another role":            {"/admin/x", claim("groups", []string{"Admin"}), 403, "", "no_rule", ""},
		"one factor":              {"/admin/x", claim("amr", []string{"pwd"}), 401, "admin", "mfa_required", ""},
		"a method named true":     {"/admin/x", claim("amr", "true"), 401, "admin", "mfa_required", ""},
		"a claim named mfa":       {"/admin/x", token(func(c map[string]any) { delete(c, "amr"); c["mfa"] = true }), 401, "admin", "mfa_required", ""},
		"an old token":            {"/admin/x", claim("iat", time.Now().Add(-2*time.Hour).Unix()), 401, "admin", "token_too_old", ""},
		"a tenant":                {"/tenant/x", token(func(c map[string]any) { c["tenant"], c["sub"] = "t1", "carl" }), 200, "tenant", "rule", "carl admin,ops true"},
		"several tenants":         {"/tenant/x", claim("tenant", []string{"t1", "t2"}), 403, "", "no_rule", ""},
		"another's tenant":        {"/tenant/x", token(nil), 403, "", "no_rule", ""},
		"a password":              {"/staff/x", basic("alice", "the-right-password"), 200, "staff", "rule", "alice staff false"},
		"a password for more":     {"/admin/x", basic("alice", "the-right-password"), 403, "", "no_rule", ""},
		"a key without roles":     {"/staff/x", header("X-Api-Key", i.apiKey), 403, "", "no_rule", ""},
		"nobody in public":        {"/public", nobody, 200, "public", "rule", "  "},
		"nobody elsewhere":        {"/admin/x", nobody, 401, "", "not_authenticated", ""},
		"who says to be somebody": {"/public", header("X-User", "root"), 200, "public", "rule", "  "},
		"a bad token in public":   {"/public", header("Authorization", "Bearer x.y.z"), 401, "soc2_auth", "jwt_base64", ""},
		"a path in disguise":      {"/staff/..;/admin", basic("alice", "the-right-password"), 400, "", "path_semicolon", ""},
	} {
		a := i.get(i.url(c.path), c.edit)
		seen := up.take()
		if a.status != c.status || (len(seen) == 1) != (c.status == 200) {
			t.Errorf("%s: %d, want %d, %d requests upstream", name, a.status, c.status, len(seen))
		}
		if c.status == 200 && len(seen) == 1 {
			h := seen[0].Header
			if got := h.Get("X-User") + " " + h.Get("X-Roles") + " " + h.Get("X-Mfa"); got != c.user {
				t.Errorf("%s: the upstream is told %q, want %q", name, got, c.user)
			}
			if strings.HasPrefix(h.Get("Authorization"), "Basic") || h.Get("X-Api-Key") != "" {
				t.Errorf("%s: the upstream gets the credential", name)
			}
		}
		r := i.requests()[a.header.Get("X-Request-Id")]
		if r.Access.Rule != c.rule || r.Access.Reason != c.reason || (r.Access.Outcome == "allow") != (c.status == 200) {
			t.Errorf("%s: the record says %+v", name, r.Access)
		}
	}
	// Who is refused by a rule is not limited as a user; who is let in is.
	for n := range 6 {
		if a := i.get(i.url("/admin/x"), token(func(c map[string]any) { c["sub"] = "dora" })); a.status != 200 {
			t.Fatalf("request %d of a user is answered %d", n, a.status)
		}
	}
	if a := i.get(i.url("/admin/x"), token(func(c map[string]any) { c["sub"] = "dora" })); a.status != 429 {
		t.Error("a user is not limited:", a.status)
	}
	if a := i.get(i.url("/admin/x"), token(func(c map[string]any) { c["sub"] = "erna" })); a.status != 200 {
		t.Error("another user is limited:", a.status)
	}
	i.verify()
}
