package dockerfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
)

func TestWhatCannotBeJudgedIsNamedWithItsLine(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		line   int
		says   string
		target string
	}{
		"empty":                {"", 1, "empty", ""},
		"only comments":        {"# nothing\n", 1, "no instruction", ""},
		"no FROM":              {"ARG A=1\n", 2, "no FROM", ""},
		"instruction too soon": {"RUN true\nFROM a:1\n", 1, "no build stage", ""},
		"text":                 {"FROM a:1\nhello world\n", 2, `"hello" is no instruction`, ""},
		"binary":               {"FROM a:1\n\x00\x01", 2, "NUL", ""},
		"latin1":               {"FROM a:1\n# caf\xe9\n", 2, "UTF-8", ""},
		"utf16":                {"\xff\xfeF\x00", 1, "UTF-16", ""},
		"bom":                  {"\xef\xbb\xbfFROM a:1\n", 1, "byte order mark", ""},
		"crlf":                 {"FROM a:1\r\nRUN true\r\n", 1, "CRLF", ""},
		"crlf later":           {"FROM a:1\nRUN true\r\n", 2, "CRLF", ""},
		"other frontend":       {"# syntax=example.com/nix:1\n{}", 1, "example.com/nix:1", ""},
		"directive twice":      {"# escape=`\n# escape=`\nFROM a:1\n", 1, "escape", ""},
		"circular":             {"FROM a:1 AS x\nCOPY --from=y / /\nFROM b:1 AS y\nCOPY --from=x / /\n", 4, "circular", ""},
		"itself":               {"FROM a:1 AS x\nCOPY --from=x / /\n", 2, "circular", ""},
		"itself by number":     {"FROM a:1\nCOPY --from=0 / /\n", 2, "circular", ""},
		"missing stage":        {"FROM a:1\nCOPY --from=3 / /\n", 2, "no stage with this number", ""},
		"missing target":       {"FROM a:1 AS x\n", 0, `no stage "y": there are x`, "y"},
		"variable in from":     {"FROM a:1\nARG S\nCOPY --from=$S / /\n", 3, "expand no variables", ""},
		"empty FROM":           {"ARG BASE\nFROM ${BASE}\n", 2, "is empty", ""},
		"malformed image":      {"FROM Node:20\n", 1, "neither an image nor a stage", ""},
		"needed argument":      {"FROM a:1\nENV A=\"${B:?give B}\"\n", 2, "give B", ""},
		"unknown flag":         {"FROM a:1\nCOPY --form=x a b\n", 2, "form", ""},
		"copy of one":          {"FROM a:1\nCOPY a\n", 2, "COPY", ""},
		"unfinished heredoc":   {"FROM a:1\nRUN <<EOF\nx\n", 2, "heredoc", ""},
		"onbuild of onbuild":   {"FROM a:1\nONBUILD ONBUILD RUN true\n", 2, "ONBUILD", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := dockerfile.Parse("Dockerfile", []byte(c.text), nil)
			if err == nil {
				_, err = f.Check(dockerfile.Options{Target: c.target})
			}
			var e *dockerfile.SyntaxError
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an error of syntax", err)
			}
			if e.Line != c.line || !strings.Contains(strings.ToLower(e.Msg), strings.ToLower(c.says)) {
				t.Errorf("got line %d: %s, want line %d and %q", e.Line, e.Msg, c.line, c.says)
			}
			if strings.Contains(e.Msg, "\n") {
				t.Errorf("%q has more than one line", e.Msg)
			}
		})
	}
}

func TestNormalizedFileIsJudgedLikeAnyOther(t *testing.T) {
	data, changed := dockerfile.Normalize([]byte("\xef\xbb\xbfFROM node:20\r\nUSER 1000\r\n"))
	if !changed || string(data) != "FROM node:20\nUSER 1000\n" {
		t.Fatalf("%q", data)
	}
	if _, err := dockerfile.Parse("Dockerfile", data, nil); err != nil {
		t.Error(err)
	}
}

// brokenFS cannot read one of its directories.
type brokenFS struct{ fstest.MapFS }

func (b brokenFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "secret" {
		return nil, fs.ErrPermission
	}
	return b.MapFS.ReadDir(name)
}

func TestUnreadableContextIsAnError(t *testing.T) {
	_, err := dockerfile.ReadContext(brokenFS{fstest.MapFS{"secret/a": {}}}, "Dockerfile")
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
	_, err = dockerfile.ReadContext(fstest.MapFS{".dockerignore": {Data: []byte("a[")}}, "Dockerfile")
	if err == nil || !strings.Contains(err.Error(), ".dockerignore") {
		t.Errorf("got %v", err)
	}
}

func TestFixesMendWhatTheyNameAndNothingElse(t *testing.T) {
	const text = `FROM node:20-slim AS base
ADD app.js package.json /app/
USER node
FROM base
HEALTHCHECK CMD ["node", "h.js"]
CMD exec node "app.js" --name 'a b'
`
	const want = `FROM node:20-slim AS base
COPY app.js package.json /app/
USER 1000:1000
FROM base
HEALTHCHECK CMD ["node", "h.js"]
CMD ["node", "app.js", "--name", "a b"]
`
	f, found := judged(t, text)
	got, mended := f.Fix(found)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var rules []string
	for _, x := range mended {
		rules = append(rules, x.Rule)
	}
	if fmt.Sprint(rules) != "[D01 U02 C01]" {
		t.Errorf("mended %v", rules)
	}
	if _, again := judged(t, string(got)); len(again) != len(found)-3 {
		t.Errorf("%d findings after the fix, %d before", len(again), len(found))
	}
}

func TestCommandsThatNeedTheirShellAreLeftAlone(t *testing.T) {
	for _, cmd := range []string{"node $MAIN", "a && b", "a | b", "a > b", "A=1 b", "cd /x", "a *.js", `a "x\n"`, "a; b", "a &", "$(a)", "a ~"} {
		text := "FROM node:20-slim\nCMD " + cmd + "\n"
		f, found := judged(t, text)
		if got, mended := f.Fix(found); len(mended) != 0 || string(got) != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func judged(t testing.TB, text string) (*dockerfile.File, []dockerfile.Finding) {
	t.Helper()
	f, err := dockerfile.Parse("Dockerfile", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	found, err := f.Check(dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f, found
}

// generated is a Dockerfile of so many lines, as a generator would write it.
func generated(lines int) string {
	var b strings.Builder
	b.WriteString("# syntax=docker/dockerfile:1\nARG BASE=node:20-slim\n")
	for i := 2; i < lines; i += 10 {
		fmt.Fprintf(&b, "FROM ${BASE} AS stage%d\nARG V%d=%d\nENV PATH=/opt/%d/bin:$PATH V=${V%d}\nWORKDIR /srv/$V\nCOPY package.json ./\n", i, i, i, i, i)
		fmt.Fprintf(&b, "RUN set -eux; \\\n    curl -fsSLo /tmp/x https://example.com/%d; \\\n    echo \"%064d  /tmp/x\" | sha256sum -c -; \\\n    install -m 0755 /tmp/x /usr/bin/x%d\n", i, i, i)
		if i > 2 {
			fmt.Fprintf(&b, "COPY --from=stage%d /usr/bin/x%d /usr/bin/\n", i-10, i-10)
		} else {
			b.WriteString("USER 1000\n")
		}
	}
	return b.String()
}

func BenchmarkFiveThousandLines(b *testing.B) {
	text := generated(5000)
	if n := strings.Count(text, "\n"); n < 5000 {
		b.Fatal(n)
	}
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := dockerfile.Parse("Dockerfile", []byte(text), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse and judge", func(b *testing.B) {
		for b.Loop() {
			judged(b, text)
		}
	})
}

func FuzzCheck(f *testing.F) {
	for _, x := range fixtures(f) {
		f.Add(x.text, x.options.Target)
	}
	f.Add("# escape=`\nFROM a:1\nRUN dir `\n c:\\\n", "")
	f.Add("FROM a:1\nRUN a '' 'b\n", "")
	f.Add("FROM a:1\nSHELL [\"powershell\", \"-Command\"]\nRUN if ($x) { iwr https://x | iex }\n", "")
	f.Fuzz(func(t *testing.T, text, target string) {
		file, err := dockerfile.Parse("Dockerfile", []byte(text), nil)
		var e *dockerfile.SyntaxError
		if err != nil {
			if !errors.As(err, &e) || e.Msg == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		found, err := file.Check(dockerfile.Options{Target: target})
		if err != nil {
			return
		}
		for _, x := range found {
			if x.Line < 1 || x.Line > strings.Count(text, "\n")+1 || x.End < x.Line || x.Message == "" || x.Fingerprint == "" {
				t.Fatalf("%+v", x)
			}
		}
		if data, mended := file.Fix(found); len(mended) > 0 {
			if _, err := dockerfile.Parse("Dockerfile", data, nil); err != nil {
				t.Fatalf("what was mended cannot be read: %v\n%s", err, data)
			}
		}
	})
}
