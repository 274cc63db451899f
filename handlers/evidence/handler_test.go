package evidence

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestOnlyTheKnownAreServed(t *testing.T) {
	b := newBench(t)
	unverified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	for _, c := range []struct {
		name string
		open bool
		req  request
		want int
	}{
		{"nobody", false, request{}, http.StatusForbidden},
		{"plain TLS", false, request{tls: &tls.ConnectionState{}}, http.StatusForbidden},
		{"a certificate that was not verified", false, request{tls: unverified}, http.StatusForbidden},
		{"a client's own word", false, request{header: http.Header{"Authorization": {"Basic YTpi"}, "Remote-User": {"root"}}}, http.StatusForbidden},
		{"a verified certificate", false, request{tls: verified()}, http.StatusOK},
		{"a user", false, request{user: "auditor"}, http.StatusOK},
		{"everybody", true, request{}, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := b.handler(Handler{AllowUnauthenticated: c.open})
			for _, path := range []string{"/", "/style.css", "/v1/", "/v1/status", "/v1/healthz", "/v1/boundary", "/v1/log/checkpoint", "/v1/log/key", "/v1/log/records/0"} {
				c.req.path = "/.soc2" + path
				w, err := do(h, c.req)
				if err != nil {
					t.Fatal(err)
				}
				if w.Code != c.want {
					t.Errorf("%s: status %d, want %d", path, w.Code, c.want)
				}
			}
		})
	}
}

func TestRefusalNamesTheWaysAndNothingElse(t *testing.T) {
	b := newBench(t)
	_, id := b.add("/secret")
	for _, req := range []request{
		{path: "/.soc2/"},
		{path: "/.soc2/v1/log/records/" + id},
		{path: "/.soc2/v1/log/records/0"},
		{path: "/.soc2/nothing"},
		{path: "/.soc2/", method: http.MethodDelete},
	} {
		w, err := do(b.handler(Handler{}), req)
		if err != nil {
			t.Fatal(err)
		}
		isProblem(t, w, http.StatusForbidden)
		body := w.Body.String()
		for _, way := range []string{"client certificate", "authenticator", "allow_unauthenticated"} {
			if !strings.Contains(body, way) {
				t.Errorf("%s %s: the refusal does not name %s", req.method, req.path, way)
			}
		}
		for _, leak := range []string{"edge-1", "secret", id, b.log.Dir(), b.log.Key().Public()} {
			if strings.Contains(body, leak) {
				t.Errorf("%s: the refusal tells %q", req.path, leak)
			}
		}
	}
}

func TestPrefixIsOfWholeElements(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		prefix, path, stripped string
		want                   int // 0: the next handler
	}{
		{"", "/.soc2", "", 200},
		{"", "/.soc2/", "", 200},
		{"", "/.soc2/v1", "", 200},
		{"", "/.soc2/v1/", "", 200},
		{"", "/.soc2/v1/status", "", 200},
		{"", "/.soc2/v1/status/", "", 404},
		{"", "/.soc2/v1status", "", 404},
		{"", "/.soc2/v2/status", "", 404},
		{"", "/.soc2/.soc2/", "", 404},
		{"", "/", "", 0},
		{"", "/v1/status", "", 0},
		{"", "/.soc2x", "", 0},
		{"", "/.soc", "", 0},
		{"", "/x/.soc2/", "", 0},
		{"", "/.SOC2/", "", 0},
		{"", "/.soc2/v1/status", "/.soc2", 200}, // handle_path /.soc2/*
		{"", "/.soc2/", "/.soc2", 200},
		{"", "/.soc2/", "/.soc2/", 200},
		{"", "/.soc2", "/.soc2", 200},
		{"", "/audit/v1/status", "/audit", 0}, // stripped, but another prefix
		{"/audit", "/audit/v1/status", "/audit", 200},
		{"/audit", "/audit/v1/status", "", 200},
		{"/audit", "/.soc2/v1/status", "", 0},
		{"/a/b", "/a/b/v1/status", "", 200},
		{"/a/b", "/a/b/v1/status", "/a/b", 200},
		{"/a/b", "/a/v1/status", "", 0},
	} {
		h := b.handler(Handler{Prefix: c.prefix, AllowUnauthenticated: true})
		w, err := do(h, request{path: c.path, stripped: c.stripped})
		switch {
		case c.want == 0:
			if !errors.Is(err, errNext) {
				t.Errorf("prefix %q: %s without %q: status %d, but it is not ours", c.prefix, c.path, c.stripped, w.Code)
			}
		case err != nil || w.Code != c.want:
			t.Errorf("prefix %q: %s without %q: status %d, error %v, want %d", c.prefix, c.path, c.stripped, w.Code, err, c.want)
		}
	}
}

func TestEvidenceIsReadOnly(t *testing.T) {
	b := newBench(t)
	h := b.handler(Handler{})
	for _, path := range []string{"/", "/style.css", "/lookup?id=0", "/nothing", "/v1/", "/v1/status", "/v1/log/checkpoint", "/v1/log/records/0"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "get"} {
			w, err := do(h, request{method: method, path: "/.soc2" + path, user: "auditor"})
			if err != nil {
				t.Fatal(err)
			}
			isProblem(t, w, http.StatusMethodNotAllowed)
			if got := w.Header().Get("Allow"); got != "GET, HEAD" {
				t.Errorf("%s %s: Allow is %q", method, path, got)
			}
		}
		got := get(t, h, "/.soc2"+path)
		head, err := do(h, request{method: http.MethodHead, path: "/.soc2" + path, user: "auditor"})
		if err != nil {
			t.Fatal(err)
		}
		if head.Code != got.Code || head.Body.Len() != 0 || head.Header().Get("Content-Type") != got.Header().Get("Content-Type") {
			t.Errorf("HEAD %s: status %d, %d bytes; GET has status %d", path, head.Code, head.Body.Len(), got.Code)
		}
	}
	w, err := do(h, request{method: http.MethodPost, path: "/other", user: "auditor"})
	if !errors.Is(err, errNext) {
		t.Errorf("POST outside of the prefix: status %d, error %v", w.Code, err)
	}
}

func TestValidateChecksThePrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"/.soc2":      "",
		"/a":          "",
		"/A-z_0~9/.b": "",
		"":            "slash",
		"soc2":        "begin with a slash",
		"/":           "no slash at its end",
		"/soc2/":      "no slash at its end",
		"//soc2":      "write it as /soc2",
		"/a/../b":     "write it as /b",
		"/a/./b":      "write it as /a/b",
		"/soc2/*":     "letters",
		"/so c2":      "letters",
		"/a?b":        "letters",
		"/{env.X}":    "letters",
		"/%2e":        "letters",
		"/\"><x":      "letters",
		"/é":          "letters",
	} {
		err := (&Handler{Prefix: prefix}).Validate()
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", prefix, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "prefix")):
			t.Errorf("%q: error %v, want one with %q", prefix, err, want)
		}
	}
}
