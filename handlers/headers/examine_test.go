package headers

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestNothingIsFoundBehindTheHandler examines what each profile sends.
func TestNothingIsFoundBehindTheHandler(t *testing.T) {
	sent := http.Header{
		"Server": {"Apache"}, "X-Frame-Options": {"ALLOWALL"}, "Content-Security-Policy": {"default-src *"}, "Etag": {`"1"`, `"2"`},
		"Access-Control-Allow-Origin": {"null"}, "Cache-Control": {"public"}, "Permissions-Policy": {"camera=*"},
	}
	for _, profile := range []string{Baseline, Strict, API} {
		for _, contentType := range []string{"text/html", "text/javascript", "application/json", "image/png", ""} {
			for _, status := range []int{200, 304, 404} {
				for _, overTLS := range []bool{true, false} {
					h := sent.Clone()
					h["Content-Type"] = []string{contentType}
					if profile == Baseline { // only reports such an origin
						h.Del("Access-Control-Allow-Origin")
					}
					if profile != API { // expects no cookies
						h.Set("Set-Cookie", "__Secure-a=b; Path=/; Secure")
					}
					res, _ := roundTrip(&server{primary: chain(upstream(status, h), provisioned(t, Handler{Profile: profile}))}, overTLS, nil)
					for _, j := range Examine(profile, Observed{Host: "example.com", TLS: overTLS, Status: status, Header: res.Header}) {
						if j.State != OK {
							t.Errorf("%s, %s, %d, TLS %t: %+v", profile, contentType, status, overTLS, j)
						}
					}
				}
			}
		}
	}
}

// TestExamination names what is wrong with a response.
func TestExamination(t *testing.T) {
	page := func(name, value string) http.Header {
		h := http.Header{"Content-Type": {"text/html"}}
		for field, value := range Sent(Strict) {
			h.Set(field, value)
		}
		h.Set("Cache-Control", "no-store")
		if value == "" {
			h.Del(name)
		} else {
			h[name] = strings.Split(value, "|")
		}
		return h
	}
	tests := []struct{ name, field, value, want string }{
		{"as the profile sends it", "X-A", "b", ""},
		{"HSTS missing", "Strict-Transport-Security", "", "missing "},
		{"HSTS short", "Strict-Transport-Security", "max-age=600; includeSubDomains", "weaker "},
		{"HSTS longer", "Strict-Transport-Security", "max-age=99999999; includeSubDomains; preload", ""},
		{"frames twice", "X-Frame-Options", "DENY|DENY", "weaker it is sent 2 times"},
		{"leak", "Server", "Apache", "leak "},
		{"policy with nonce", "Content-Security-Policy", strings.Replace(strictCSP, "script-src 'self'", "script-src 'self' 'nonce-abc'", 1), ""},
		{"policy that allows less", "Content-Security-Policy", strings.Replace(strictCSP, "script-src 'self'", "script-src 'none'", 1), ""},
		{"policy in two", "Content-Security-Policy", "default-src 'none'; base-uri 'none'|form-action 'self'; frame-ancestors 'none'; upgrade-insecure-requests", ""},
		{"policy that allows more", "Content-Security-Policy", strings.Replace(strictCSP, "script-src 'self'", "script-src 'self' https://cdn.example 'unsafe-inline'", 1), "weaker script-src allows https://cdn.example 'unsafe-inline'"},
		{"policy past a directive", "Content-Security-Policy", strictCSP + "; script-src-elem *", "weaker script-src-elem allows *"},
		{"policy without a part", "Content-Security-Policy", strings.Replace(strictCSP, "; frame-ancestors 'none'", "", 1), "weaker frame-ancestors is missing, so that everything is allowed"},
		{"policy without upgrade", "Content-Security-Policy", strings.TrimSuffix(strictCSP, upgrade), "weaker upgrade-insecure-requests is missing"},
		{"policy with a slip", "Content-Security-Policy", strictCSP + "; script-source 'self'", "weaker there is no directive script-source"},
		{"second of a directive", "Content-Security-Policy", strictCSP + "; img-src *", ""},
		{"permission missing", "Permissions-Policy", strings.Replace(strictPermissions, "camera=(), ", "", 1), "weaker camera is missing"},
		{"permission given", "Permissions-Policy", strings.Replace(strictPermissions, "camera=()", "camera=(self)", 1), "weaker camera allows self"},
		{"permission in lines", "Permissions-Policy", strings.Replace(strictPermissions, ", camera", "|camera", 1), ""},
		{"stored", "Cache-Control", "public, max-age=5", "weaker "},
		{"cookie", "Set-Cookie", "sid=secret", "weaker no Secure; no SameSite; no HttpOnly"},
		{"cookie for scripts", "Set-Cookie", "XSRF-TOKEN=a; Secure; SameSite=Lax", ""},
		{"cookie that lies", "Set-Cookie", "__Host-a=b; Secure; HttpOnly; SameSite=Lax", "weaker the attributes break what the prefix of the name promises"},
		{"any origin", "Access-Control-Allow-Origin", "null", "weaker "},
		{"two pages in one", "Location", "/a|/b", "weaker "},
		{"control characters", "X-A", "a\x00b", "weaker "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var found []string
			for _, j := range Examine(Strict, Observed{TLS: true, Status: 200, Header: page(test.field, test.value)}) {
				if j.State == OK {
					continue
				}
				found = append(found, string(j.State)+" "+strings.Join(j.Details, "; "))
				if j.Field != test.field || j.Advice == "" {
					t.Errorf("%+v", j)
				}
				if slices.ContainsFunc(j.Sent, func(s string) bool { return strings.Contains(s, "secret") }) {
					t.Errorf("the value of a cookie is shown: %q", j.Sent)
				}
			}
			if got := strings.Join(found, " / "); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestReflectedOriginIsFoundInEachProfileThatMinds(t *testing.T) {
	const origin = "https://origin.invalid"
	h := http.Header{"Access-Control-Allow-Origin": {origin}, "Access-Control-Allow-Credentials": {"true"}}
	for profile, want := range map[string]State{Baseline: Weaker, Strict: Weaker, API: OK} {
		for _, j := range Examine(profile, Observed{Host: "example.com", Origin: origin, TLS: true, Status: 200, Header: h}) {
			if strings.HasPrefix(j.Field, "Access-Control") && j.State != want {
				t.Errorf("%s: %+v", profile, j)
			}
		}
	}
}

// TestEachRuleHasAdvice keeps the list of advice whole.
func TestEachRuleHasAdvice(t *testing.T) {
	for i := range fields {
		if advice[fields[i].rule] == "" {
			t.Errorf("no advice on %s", fields[i].rule)
		}
	}
}
