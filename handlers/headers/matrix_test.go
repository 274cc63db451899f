package headers

import (
	"bufio"
	"context"
	"errors"
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
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// want is what every final response of a profile has.
var want = map[string]map[string]string{
	Baseline: {
		"Strict-Transport-Security": "max-age=31536000",
		"X-Frame-Options":           "SAMEORIGIN",
		"Referrer-Policy":           "strict-origin-when-cross-origin",
	},
	Strict: {
		"Strict-Transport-Security": "max-age=63072000; includeSubDomains",
		"X-Frame-Options":           "DENY",
		"Referrer-Policy":           "no-referrer",
	},
	API: {
		"Strict-Transport-Security": "max-age=63072000; includeSubDomains",
		"X-Frame-Options":           "DENY",
		"Referrer-Policy":           "no-referrer",
	},
}

// spoil sets what no response may leave with. Handlers set a field, proxies
// add to it; both happen.
var spoil = map[string]func(h http.Header){
	"set": func(h http.Header) { spoilWith(h.Set) },
	"add": func(h http.Header) { spoilWith(h.Add) },
}

func spoilWith(put func(name, value string)) {
	put("Server", "Apache/2.4.1")
	put("X-Powered-By", "PHP/5.3")
	put("X-Frame-Options", "ALLOWALL")
	put("Strict-Transport-Security", "max-age=0")
	put("Referrer-Policy", "unsafe-url")
	put("X-Content-Type-Options", "sniff")
	put("X-Permitted-Cross-Domain-Policies", "all")
}

// row is one way for a response to come about.
type row struct {
	name   string
	status int
	body   string
	h1     bool // not possible over HTTP/2
	serve  handlerFunc
}

func rows(file string) []row {
	const text = "a response"
	fail := func(err error) handlerFunc {
		return func(http.ResponseWriter, *http.Request) error { return err }
	}
	return []row{
		{"respond", 200, text, false, func(w http.ResponseWriter, r *http.Request) error {
			return caddyhttp.StaticResponse{Body: text}.ServeHTTP(w, r, nil)
		}},
		{"file", 200, text, false, func(w http.ResponseWriter, r *http.Request) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			http.ServeContent(w, r, "index.html", time.Time{}, f)
			return nil
		}},
		{"copy without header", 200, text, false, func(w http.ResponseWriter, _ *http.Request) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(w, f)
			return err
		}},
		{"flush before write", 200, text, false, func(w http.ResponseWriter, _ *http.Request) error {
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
			_, err := io.WriteString(w, text)
			return err
		}},
		{"nothing written", 200, "", false, fail(nil)},
		{"early hints first", 200, text, false, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			_, err := io.WriteString(w, text)
			return err
		}},
		{"header twice", 201, "", false, func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(201)
			w.WriteHeader(500)
			return nil
		}},
		{"trailers", 200, text, false, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Add("Trailer", "X-Generator, Digest")
			_, err := io.WriteString(w, text)
			w.Header().Set("X-Generator", "WordPress")
			w.Header().Set("Digest", "announced")
			w.Header().Set(http.TrailerPrefix+"X-Powered-By", "PHP/5.3")
			w.Header().Set(http.TrailerPrefix+"Server-Timing", "unannounced")
			return err
		}},
		{"header changed behind the commit", 200, text, false, func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(200)
			spoilWith(w.Header().Add)
			_, err := io.WriteString(w, text)
			w.Header().Del("Strict-Transport-Security")
			w.Header().Set("X-Frame-Options", "ALLOWALL")
			w.Header()["server"] = []string{"Apache"}
			return err
		}},
		{"header changed behind the first write", 200, strings.Repeat(text, 1000), false, func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, text)
			w.Header().Del("Strict-Transport-Security")
			spoilWith(w.Header().Add)
			_, err2 := io.WriteString(w, strings.Repeat(text, 999))
			spoilWith(w.Header().Add)
			return errors.Join(err, err2)
		}},
		{"header changed before a flush", 200, text, false, func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, text)
			spoilWith(w.Header().Set)
			return errors.Join(err, http.NewResponseController(w).Flush())
		}},
		{"error", 413, "", false, fail(caddyhttp.Error(413, errors.New("too large")))},
		{"plain error", 500, "", false, fail(errors.New("plain"))},
		{"bad gateway", 502, "", false, fail(caddyhttp.Error(502, errors.New("no upstream")))},
		{"not found", 404, "", false, fail(caddyhttp.Error(404, os.ErrNotExist))},
		{"unauthorized", 401, "", false, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			return caddyhttp.Error(401, errors.New("who"))
		}},
		{"misdirected", 421, "", false, fail(caddyhttp.Error(421, errors.New("SNI")))},
		{"switch of protocols", 101, "", true, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "echo")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return hijackAndEcho(w)
		}},
	}
}

func hijackAndEcho(w http.ResponseWriter) error {
	conn, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	line, err := brw.ReadString('\n')
	if err != nil {
		return err
	}
	if _, err := brw.WriteString(line); err != nil {
		return err
	}
	return brw.Flush()
}

// TestEveryResponseIsEnforced is the matrix: every way to answer, in every
// profile, over all protocols, with and without error routes. No route at
// all is "nothing written": Caddy's empty handler.
func TestEveryResponseIsEnforced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "index.html")
	if err := os.WriteFile(file, []byte("a response"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := rows(file)
	for _, profile := range []string{Baseline, Strict, API} {
		for _, proto := range []string{"h1", "h2", "h3"} {
			for how, spoil := range spoil {
				for _, route := range []string{"no error route", "bare error route", "covered error route"} {
					t.Run(strings.Join([]string{profile, proto, how, route}, " "), func(t *testing.T) {
						h := provisioned(t, Handler{Profile: profile})
						s := matrixServer(all, h, spoil, route)
						srv := start(t, s, proto)
						for _, row := range all {
							if row.h1 && proto != "h1" {
								continue
							}
							t.Run(row.name, func(t *testing.T) { checkRow(t, srv, row, profile) })
						}
					})
				}
			}
		}
	}
}

// matrixServer serves each row at the path of its name.
func matrixServer(all []row, h *Handler, spoil func(http.Header), route string) *server {
	s := &server{primary: chain(func(w http.ResponseWriter, r *http.Request) error {
		spoil(w.Header())
		i := slices.IndexFunc(all, func(row row) bool { return "/"+row.name == r.URL.Path })
		return all[i].serve(w, r)
	}, h)}
	// An error route keeps the status of the error, as handle_errors does.
	errorPage := func(w http.ResponseWriter, r *http.Request) error {
		w.WriteHeader(errorStatus(r.Context().Value(caddyhttp.ErrorCtxKey).(error)))
		return nil
	}
	switch route {
	case "bare error route":
		s.errors = errorPage
	case "covered error route":
		s.errors = chain(func(w http.ResponseWriter, r *http.Request) error {
			spoil(w.Header())
			return errorPage(w, r)
		}, h)
	}
	return s
}

func checkRow(t *testing.T, srv *httptest.Server, row row, profile string) {
	t.Helper()
	var early []textproto.MIMEHeader
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			early = append(early, h)
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Path = "/" + row.name
	if row.status == http.StatusSwitchingProtocols {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != row.status {
		t.Errorf("status %d, want %d", res.StatusCode, row.status)
	}
	checkHeader(t, res.Header, profile)
	if row.status == http.StatusSwitchingProtocols {
		checkEcho(t, res.Body)
		return
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != row.body {
		t.Errorf("body %q, %v, want %q", body, err, row.body)
	}
	checkTrailers(t, row, res.Trailer)
	checkEarly(t, row, early, profile)
}

func checkHeader(t *testing.T, h http.Header, profile string) {
	t.Helper()
	for name, value := range want[profile] {
		if got := h.Values(name); !slices.Equal(got, []string{value}) {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if got := h.Values("X-Content-Type-Options"); !slices.Equal(got, []string{"nosniff"}) {
		t.Errorf("X-Content-Type-Options: %q", got)
	}
	if got := h.Values("X-Permitted-Cross-Domain-Policies"); !slices.Equal(got, []string{"none"}) {
		t.Errorf("X-Permitted-Cross-Domain-Policies: %q", got)
	}
	for _, leak := range []string{"Server", "X-Powered-By"} {
		if got := h.Values(leak); got != nil {
			t.Errorf("%s: %q left", leak, got)
		}
	}
	// 101 is no document.
	if got := h.Values("Content-Security-Policy"); len(got) != 1 && h.Get("Upgrade") == "" && isDocument(h) {
		t.Errorf("Content-Security-Policy: %q, want one", got)
	}
}

func isDocument(h http.Header) bool {
	return classify(200, h["Content-Type"]).scope == document
}

func checkEcho(t *testing.T, body io.ReadCloser) {
	t.Helper()
	if _, err := io.WriteString(body.(io.Writer), "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(body).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("echo %q, %v", line, err)
	}
}

func checkTrailers(t *testing.T, row row, trailer http.Header) {
	t.Helper()
	if row.name != "trailers" {
		return
	}
	want := http.Header{"Digest": {"announced"}, "Server-Timing": {"unannounced"}}
	if len(trailer) != len(want) || trailer.Get("Digest") != "announced" || trailer.Get("Server-Timing") != "unannounced" {
		t.Errorf("trailer %v, want %v", trailer, want)
	}
}

// checkEarly wants nothing of ours in an early header, and no leak.
func checkEarly(t *testing.T, row row, early []textproto.MIMEHeader, profile string) {
	t.Helper()
	if row.name != "early hints first" {
		if early != nil {
			t.Errorf("informational headers %v", early)
		}
		return
	}
	if len(early) != 1 || early[0].Get("Link") == "" {
		t.Fatalf("early headers %v, want one with a Link", early)
	}
	for _, name := range []string{"Server", "X-Powered-By", "Content-Security-Policy"} {
		if got := early[0].Values(name); got != nil {
			t.Errorf("early %s: %q", name, got)
		}
	}
	for name, value := range want[profile] {
		if slices.Contains(early[0].Values(name), value) {
			t.Errorf("early %s: %q is for the final header", name, value)
		}
	}
}

func TestPanicSendsNothing(t *testing.T) {
	s := &server{primary: chain(func(http.ResponseWriter, *http.Request) error {
		panic(http.ErrAbortHandler)
	}, provisioned(t, Handler{}))}
	srv := start(t, s, "h1")
	if res, err := srv.Client().Get(srv.URL); err == nil {
		res.Body.Close()
		t.Errorf("got %s, want a closed connection", res.Status)
	}
}

func TestRawHijackIsNotCalledEnforced(t *testing.T) {
	s := &server{done: make(chan struct{})}
	s.primary = chain(func(w http.ResponseWriter, _ *http.Request) error {
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_, err = brw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		return errors.Join(err, brw.Flush())
	}, provisioned(t, Handler{}))
	srv := start(t, s, "h1")
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if len(res.Header) != 1 {
		t.Errorf("header %v, want what the handler wrote by hand", res.Header)
	}
	<-s.done
	if got := s.lastEvent().Profile; got != "" {
		t.Errorf("record says that %s was enforced", got)
	}
}
