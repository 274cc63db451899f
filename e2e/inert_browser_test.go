package e2e_test

import (
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// shown is what the browser says of a page.
type shown struct {
	URL, Sentinel, Text, Margin string
	PDF                         []byte
	Tags                        map[string]int
	Attributes, Happened        []string
	Hidden                      bool
}

type showing struct {
	URL    string `json:"url"`
	Bypass bool   `json:"bypass"`
}

// show opens pages in headless Chromium.
func show(t *testing.T, visits []showing) []shown {
	t.Helper()
	return inBrowser[shown](t, graders(t), "inert.mjs", visits)
}

// pagesOf makes the pages of a log.
func pagesOf(t *testing.T, texts []string) map[string][]byte {
	t.Helper()
	l := newInertLog(t, texts)
	return map[string][]byte{"report": l.pack()[pack.PageFile], "review": l.review()["review.html"]}
}

// TestTextsOfClientsAreInertInABrowser opens the report of a pack and the page of
// an access review, whose texts are an attacker's, in Chromium, as files and from
// a server, with their Content-Security-Policy and without it. Nothing runs,
// nothing is asked for, and the elements are those of the same page with harmless
// texts.
func TestTextsOfClientsAreInertInABrowser(t *testing.T) {
	graders(t)
	dir := t.TempDir()
	requests := make(chan string, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" { // browsers ask for it by themselves
			w.WriteHeader(http.StatusNoContent)
			return
		}
		requests <- r.URL.Path
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.URL.Path)))
	}))
	defer server.Close()
	var visits []showing
	var names []string
	for kind, texts := range map[string][]string{"hostile": hostile, "harmless": harmless()} {
		for name, page := range pagesOf(t, texts) {
			file := filepath.Join(dir, kind+"-"+name+".html")
			if err := os.WriteFile(file, page, 0o600); err != nil {
				t.Fatal(err)
			}
			names, visits = append(names, kind+" "+name), append(visits, showing{"file://" + file, true})
			if kind == "hostile" {
				names, visits = append(names, kind+" "+name, kind+" "+name), append(visits, showing{"file://" + file, false}, showing{server.URL + "/" + filepath.Base(file), true})
			}
		}
	}
	results := show(t, visits)
	elements := map[string]map[string]int{}
	for i, r := range results {
		if strings.HasPrefix(names[i], "harmless") {
			elements[strings.TrimPrefix(names[i], "harmless ")] = r.Tags
		}
	}
	for i, r := range results {
		what := fmt.Sprintf("%s at %s, policy bypassed: %t", names[i], visits[i].URL, visits[i].Bypass)
		if r.Sentinel != "undefined" || len(r.Happened) > 0 || r.URL != visits[i].URL || r.Hidden {
			t.Errorf("%s: sentinel %s, at %s, hidden %t, happened %.20q", what, r.Sentinel, r.URL, r.Hidden, r.Happened)
		}
		_, name, _ := strings.Cut(names[i], " ")
		if !maps.Equal(r.Tags, elements[name]) {
			t.Errorf("%s has the elements %v, and with harmless texts %v", what, r.Tags, elements[name])
		}
		for _, attribute := range r.Attributes {
			if !slices.Contains([]string{"lang", "charset", "http-equiv", "content", "name", "class", "scope"}, attribute) {
				t.Errorf("%s has an attribute %s", what, attribute)
			}
		}
		if strings.HasPrefix(names[i], "hostile") {
			legible(t, what, r.Text)
		}
		printed(t, what, name, r)
	}
	close(requests)
	for path := range requests {
		if !strings.HasSuffix(path, ".html") {
			t.Errorf("a page asked for %s", path)
		}
	}
}

// legible checks that the texts are on the page, to be read.
func legible(t *testing.T, what, text string) {
	t.Helper()
	for _, s := range hostile {
		if strings.ContainsFunc(s, acting) || !utf8.ValidString(s) || strings.Contains(s, `\`) {
			continue
		}
		if !strings.Contains(text, s) {
			t.Errorf("%s does not show %q", what, s)
		}
	}
	if i := strings.IndexFunc(text, func(c rune) bool { return acting(c) && c != '\n' }); i >= 0 {
		t.Errorf("%s has a character that acts: %.40q", what, text[i:])
	}
}

var (
	pdfPage = regexp.MustCompile(`/Type\s*/Page\b`)
	pdfBox  = regexp.MustCompile(`/MediaBox\s*\[\s*0\s+0\s+([0-9]+)(?:\.[0-9]+)?\s+([0-9]+)`)
)

// printed checks that a page is printed as its rules for print say.
func printed(t *testing.T, what, name string, r shown) {
	t.Helper()
	want := map[string]string{"report": "594 841", "review": "841 594"}[name] // A4 in points; landscape
	pages, box := len(pdfPage.FindAll(r.PDF, -1)), pdfBox.FindSubmatch(r.PDF)
	if pages == 0 || box == nil || string(box[1])+" "+string(box[2]) != want || r.Margin != "0px" {
		t.Errorf("%s: printed on %d pages of %q, with a margin of %s", what, pages, box, r.Margin)
	}
}

// TestABrowserWouldNoticeTexts shows that the test above would: the same pages,
// whose texts are not escaped, run them and ask for things.
func TestABrowserWouldNoticeTexts(t *testing.T) {
	graders(t)
	dir := t.TempDir()
	var visits []showing
	for name, page := range pagesOf(t, hostile) {
		file := filepath.Join(dir, name+".html")
		if err := os.WriteFile(file, []byte(html.UnescapeString(string(page))), 0o600); err != nil {
			t.Fatal(err)
		}
		visits = append(visits, showing{"file://" + file, true})
	}
	for i, r := range show(t, visits) {
		if r.Sentinel == "undefined" && len(r.Happened) == 0 {
			t.Errorf("%s is not escaped, and nothing is noticed", visits[i].URL)
		}
	}
}
