package dockerfile

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestRulesFindWhatHidesElsewhere has what a rule looks for in places that are
// easy to forget.
func TestRulesFindWhatHidesElsewhere(t *testing.T) {
	const base = "FROM debian:12\nUSER 1000:1000\n"
	const token = "ghp_0123456789012345678901234567890123456789"
	secrets := &Context{HasIgnore: true, Secrets: []string{"config/.env"}}
	for _, c := range []struct {
		rule, text string
		context    *Context
		want       bool
	}{
		{"S01", `CMD ["app", "--token=` + token + `"]`, nil, true},
		{"S01", `ENTRYPOINT ["app", "https://user:passw0rd@db.example/"]`, nil, true},
		{"S01", "HEALTHCHECK CMD curl -H 'Authorization: " + token + "' http://x", nil, true},
		{"S01", "ADD https://user:passw0rd@host/x /x", nil, true},
		{"S01", "RUN <<EOF\ncurl https://user:passw0rd@host/x -o y\nEOF", nil, true},
		{"S01", `CMD ["app", "--token-file=/run/secrets/token"]`, nil, false},
		{"S02", "COPY config /app/config", secrets, true},
		{"S02", "COPY config/ /app/config/", secrets, true},
		{"S02", "COPY con* /app/", secrets, true},
		{"S02", "COPY config/* /app/", secrets, true},
		{"S02", "COPY src /app/", secrets, false},
		{"D02", "RUN curl -o x.sh https://e.com/x.sh\nRUN sh x.sh", nil, true},
		{"D02", "RUN curl -o x.sh https://e.com/x.sh\nRUN echo 0  x.sh | sha256sum -c && sh x.sh", nil, false},
		{"D02", "RUN curl -o x.sh https://e.com/x.sh\nRUN echo 0  x.sh | sha256sum -c\nRUN sh x.sh", nil, false},
		{"D02", "RUN curl -o x.tar.gz https://e.com/x\nRUN tar xf x.tar.gz", nil, false},
		{"D03", "RUN python3 -m pip install --trusted-host pypi.org x==1", nil, true},
		{"D03", "RUN pip3.13 install --trusted-host pypi.org x==1", nil, true},
	} {
		f, err := Parse("Dockerfile", []byte(base+c.text+"\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		found, err := f.Check(Options{Context: c.context})
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(found, func(f Finding) bool { return f.Rule == c.rule }); got != c.want {
			t.Errorf("%s: %s: found %v", c.rule, c.text, got)
		}
	}
}

// TestFixLeavesWhatItCannotMend tries instructions that a mechanical change
// would break, and one with a tab.
func TestFixLeavesWhatItCannotMend(t *testing.T) {
	const base = "FROM debian:12\nUSER 1000:1000\n"
	for text, want := range map[string]string{
		"CMD\tnode server.js": `CMD ["node", "server.js"]`,
		"CMD wait":            "CMD wait",
		"CMD command node x":  "CMD command node x",
		"ADD dist/* /x/":      "ADD dist/* /x/",
		"ADD a.tar.lz /x/":    "ADD a.tar.lz /x/",
		"ADD a.txt /x/":       "COPY a.txt /x/",
	} {
		f, err := Parse("Dockerfile", []byte(base+text+"\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		found, err := f.Check(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if fixed, _ := f.Fix(found); string(fixed) != base+want+"\n" {
			t.Errorf("%q became %q", text, strings.TrimPrefix(string(fixed), base))
		}
	}
}

// TestContextsOfOthersAreReadWithCare has a pipe and a file without end where
// small files are read.
func TestContextsOfOthersAreReadWithCare(t *testing.T) {
	c, err := ReadContext(fstest.MapFS{".npmrc": {Mode: fs.ModeNamedPipe}}, "Dockerfile")
	if err != nil || !slices.Equal(c.Secrets, []string{".npmrc"}) {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := ReadContext(fstest.MapFS{".dockerignore": {Mode: fs.ModeDevice}}, "Dockerfile"); err == nil {
		t.Error("a device is read as .dockerignore")
	}
	if _, err := ReadContext(fstest.MapFS{".dockerignore": {Data: make([]byte, maxSmall+1)}}, "Dockerfile"); err == nil {
		t.Error("a .dockerignore without end is read")
	}
}
