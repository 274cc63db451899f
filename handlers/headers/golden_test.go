package headers

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plainBaselineCSP and plainStrictCSP are what is sent over plaintext.
var (
	plainBaselineCSP = strings.TrimSuffix(baselineCSP, upgrade)
	plainStrictCSP   = strings.TrimSuffix(strictCSP, upgrade)
)

// TestProfilesSendExactlyTheseHeaders compares all header fields of a
// profile with testdata/<profile>.golden.
func TestProfilesSendExactlyTheseHeaders(t *testing.T) {
	static := func(contentType string) handlerFunc {
		return func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Cache-Control", "max-age=600")
			return respond(contentType, "x")(w, r)
		}
	}
	status := func(code int) handlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(code)
			return nil
		}
	}
	cases := []struct {
		name  string
		https bool
		serve handlerFunc
	}{
		{"page over TLS", true, respond("text/html; charset=utf-8", "x")},
		{"page over plaintext", false, respond("text/html; charset=utf-8", "x")},
		{"JSON", true, respond("application/json", "{}")},
		{"script that may be stored", true, static("text/javascript")},
		{"image that may be stored", true, static("image/png")},
		{"page that may be stored", true, static("text/html")},
		{"page with a cookie", true, func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Set-Cookie", "id=1")
			return respond("text/html", "x")(w, r)
		}},
		{"shared resource", true, func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			return respond("application/json", "x")(w, r)
		}},
		{"redirect", true, status(308)},
		{"not modified", true, status(304)},
		{"switch of protocols", true, status(101)},
		{"error", true, teapot},
	}
	for _, profile := range []string{Baseline, Strict, API} {
		t.Run(profile, func(t *testing.T) {
			h := provisioned(t, Handler{Profile: profile})
			var got strings.Builder
			for _, c := range cases {
				res, event := roundTrip(&server{primary: chain(c.serve, h)}, c.https, nil)
				fmt.Fprintf(&got, "# %s\n", c.name)
				writeHeader(&got, res.Header)
				if event.Profile != profile {
					t.Errorf("%s: record says %q", c.name, event.Profile)
				}
				if len(event.Mended) > 0 {
					fmt.Fprintf(&got, "(mended: %s)\n", strings.Join(event.Mended, ", "))
				}
				got.WriteByte('\n')
			}
			compareGolden(t, profile, got.String())
		})
	}
}

func writeHeader(b *strings.Builder, h http.Header) {
	var lines []string
	for name, values := range h {
		for _, v := range values {
			lines = append(lines, name+": "+v+"\n")
		}
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", file, got)
	}
}
