package headers

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// owasp reads one of the lists of the OWASP Secure Headers Project.
func owasp[T any](t *testing.T, name string) []T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "owasp", name))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Headers []T `json:"headers"`
	}
	if err := json.Unmarshal(b, &list); err != nil || len(list.Headers) == 0 {
		t.Fatalf("%s: %d headers, %v", name, len(list.Headers), err)
	}
	return list.Headers
}

// parts reads a value as names with their arguments, such as directives with
// their sources.
func parts(value, between, after string) map[string][]string {
	m := map[string][]string{}
	for part := range strings.SplitSeq(value, between) {
		name, rest, _ := strings.Cut(strings.TrimSpace(part), after)
		m[strings.ToLower(name)] = strings.Fields(rest)
	}
	return m
}

// asStrong tells whether what is sent asks for no less than the list does. It
// knows nothing of how the handler judges values.
func asStrong(t *testing.T, name, sent, listed string) bool {
	t.Helper()
	switch name {
	case "Content-Security-Policy":
		got := parts(sent, ";", " ")
		for directive, sources := range parts(listed, ";", " ") {
			have, ok := got[directive]
			if !ok || slices.ContainsFunc(have, func(s string) bool { return s != "'none'" && !slices.Contains(sources, s) }) {
				t.Errorf("%s %s: %q", name, directive, have)
			}
		}
		return true
	case "Permissions-Policy":
		got := parts(sent, ",", "=")
		for feature, allowed := range parts(listed, ",", "=") {
			if have, ok := got[feature]; !ok || !slices.Equal(have, allowed) {
				t.Errorf("%s %s: %q", name, feature, have)
			}
		}
		return true
	case "Cache-Control":
		_, ok := parts(sent, ",", "=")["no-store"] // max-age says nothing beside it
		return ok
	}
	return strings.EqualFold(sent, listed)
}

// TestStrictSendsWhatOWASPLists holds a page behind the profile strict to the
// published list, Clear-Site-Data aside: on ordinary responses it would log
// users out.
func TestStrictSendsWhatOWASPLists(t *testing.T) {
	const exception = "Clear-Site-Data"
	h := provisioned(t, Handler{Profile: Strict})
	res, _ := roundTrip(&server{primary: chain(respond("text/html; charset=utf-8", "page"), h)}, true, nil)
	seen := false
	for _, listed := range owasp[struct{ Name, Value string }](t, "headers_add.json") {
		sent := res.Header.Values(listed.Name)
		if listed.Name == exception {
			seen = true
			if sent != nil {
				t.Errorf("%s: %q", listed.Name, sent)
			}
			continue
		}
		if len(sent) != 1 || !asStrong(t, listed.Name, sent[0], listed.Value) {
			t.Errorf("%s: %q, listed %q", listed.Name, sent, listed.Value)
		}
	}
	if !seen {
		t.Errorf("%s is listed no more: it is no exception", exception)
	}
}

// TestStrictRemovesWhatOWASPLists has an upstream send every field of the
// published list, in the header and as trailers, over each protocol.
func TestStrictRemovesWhatOWASPLists(t *testing.T) {
	listed := owasp[string](t, "headers_remove.json")
	for _, name := range listed {
		if _, known := allLeaks[http.CanonicalHeaderKey(name)]; !known {
			t.Errorf("%s is not in leaks.txt", name)
		}
	}
	leaky := func(w http.ResponseWriter, _ *http.Request) error {
		for i, name := range listed {
			if i%2 == 0 {
				w.Header()[name] = []string{"leak"}
			} else {
				w.Header().Add(name, "leak")
			}
			w.Header().Add("Trailer", name)
		}
		w.WriteHeader(http.StatusEarlyHints)
		_, err := w.Write([]byte("page"))
		for _, name := range listed {
			w.Header().Set(name, "leak")
			w.Header().Set(http.TrailerPrefix+name, "leak")
		}
		return err
	}
	for _, proto := range []string{"h1", "h2", "h3"} {
		srv := start(t, &server{primary: chain(leaky, provisioned(t, Handler{Profile: Strict}))}, proto)
		final, trailer, early := exchangeAll(t, srv)
		for i, h := range append(early, final, trailer) {
			for _, name := range listed {
				if got := h.Values(name); got != nil {
					t.Errorf("%s: header %d: %s: %q left", proto, i, name, got)
				}
			}
		}
		if len(early) != 1 {
			t.Errorf("%s: %d early headers", proto, len(early))
		}
	}
}

// exchangeAll asks for a response and the informational ones before it.
func exchangeAll(t *testing.T, srv *httptest.Server) (final, trailer http.Header, early []http.Header) {
	t.Helper()
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			early = append(early, http.Header(h))
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil { // trailers come behind the body
		t.Fatal(err)
	}
	return res.Header, res.Trailer, early
}
