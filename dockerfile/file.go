// Package dockerfile checks Dockerfiles: it parses them with BuildKit's own
// parser, follows which stages end up in the image, and applies 24 rules, each of
// which names the SOC 2 criteria that it is evidence for.
//
// A Dockerfile has stages. The image is made of the chain of stages that the
// target stage is built FROM; other stages only lend it files (COPY --from, RUN
// --mount=from) and are otherwise thrown away. Rules about what is in the image
// are strict in the first and lenient in the second; rules about what may be
// trusted to make it apply to both.
//
// It knows nothing of Caddy.
package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// MaxSize is the size of the largest Dockerfile that is read, in bytes.
const MaxSize = 4 << 20

// SyntaxError says why a file cannot be judged. There is no verdict then.
type SyntaxError struct {
	File string
	Line int // first one is 1; 0 if it is no particular one
	Msg  string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// File is a Dockerfile that could be parsed.
type File struct {
	Name   string
	Stages []*Stage // in the order of the file

	lines  []string          // of the source
	names  map[string]*Stage // by their names in small letters
	shlex  *shell.Lex
	global *scope // arguments before the first FROM, and those of the platform
	metas  []*Command
	lints  []lint
}

// lint is a warning of BuildKit's own linter.
type lint struct {
	rule, message string
	line, end     int
}

// Parse reads a Dockerfile and resolves its variables with the build arguments.
// The error is a *SyntaxError.
func Parse(name string, data []byte, buildArgs map[string]string) (*File, error) {
	f := &File{Name: name, lines: strings.Split(string(data), "\n"), names: map[string]*Stage{}}
	if err := f.readable(data); err != nil {
		return nil, err
	}
	ast, err := parser.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, f.syntaxError(err)
	}
	stages, metas, err := instructions.Parse(ast.AST, linter.New(&linter.Config{Warn: f.warn}))
	if err != nil {
		return nil, f.syntaxError(err)
	}
	if len(stages) == 0 {
		return nil, f.fail(len(f.lines), "there is no FROM, so nothing is built")
	}
	for _, w := range ast.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
			f.warn(linter.RuleNoEmptyContinuation.Name, "", "", linter.RuleNoEmptyContinuation.Format(), []parser.Range{*w.Location})
		}
	}
	f.shlex = shell.NewLex(ast.EscapeToken)
	if err := f.resolve(stages, metas, buildArgs); err != nil {
		return nil, err
	}
	return f, f.link()
}

// readable refuses what is no Dockerfile, or one that builders read differently.
func (f *File) readable(data []byte) error {
	switch {
	case len(data) > MaxSize:
		return f.fail(0, fmt.Sprintf("the file has %d bytes, more than the %d that are read: it is no Dockerfile", len(data), MaxSize))
	case bytes.HasPrefix(data, []byte{0xEF, 0xBB, 0xBF}):
		return f.fail(1, "the file begins with a byte order mark, which builders other than BuildKit take for a part of the first instruction: save it as UTF-8 without BOM, or use --fix")
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}), bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		return f.fail(1, "the file is UTF-16: save it as UTF-8")
	case len(bytes.TrimSpace(data)) == 0:
		return f.fail(1, "the file is empty")
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return f.fail(lineOf(data, i), "there is a NUL byte: this is no text, so no Dockerfile")
	}
	if i := invalidUTF8(data); i >= 0 {
		return f.fail(lineOf(data, i), fmt.Sprintf("byte 0x%02x is not UTF-8: this is no Dockerfile, or it is in another encoding", data[i]))
	}
	if i := bytes.IndexByte(data, '\r'); i >= 0 {
		return f.fail(lineOf(data, i), "the line ends as in Windows (CRLF), which breaks here-documents and scripts that are run on Linux: convert it with sed -i 's/\\r$//', or use --fix")
	}
	return f.language(data)
}

// maxDirectives is more than directives at the beginning of a file take, in bytes.
const maxDirectives = 64 << 10

// language refuses files that a syntax directive hands to another frontend.
func (f *File) language(data []byte) error {
	syntax, _, where, ok := parser.DetectSyntax(data[:min(len(data), maxDirectives)])
	if !ok {
		return nil
	}
	image := ParseImage(syntax)
	if image.Registry == "docker.io" && (image.Repository == "docker/dockerfile" || image.Repository == "docker/dockerfile-upstream") {
		return nil
	}
	line := 1
	if len(where) > 0 {
		line = max(1, where[0].Start.Line)
	}
	return f.fail(line, fmt.Sprintf("the syntax directive says that %s reads this file: it is another language than that of docker/dockerfile, and is not judged", syntax))
}

func (f *File) fail(line int, msg string) *SyntaxError {
	return &SyntaxError{File: f.Name, Line: min(line, max(1, len(f.lines)), lineLimit), Msg: msg}
}

const lineLimit = MaxSize // a file has no more lines than bytes

// syntaxError finds the line of an error of BuildKit's parser.
func (f *File) syntaxError(err error) *SyntaxError {
	e := &SyntaxError{File: f.Name, Line: 1, Msg: strings.TrimSpace(err.Error())}
	var at *parser.LocationError
	if errors.As(err, &at) && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		e.Line = max(1, at.Locations[0][0].Start.Line)
	}
	if unknown, ok := errors.AsType[*instructions.UnknownInstructionError](err); ok {
		e.Line = unknown.Line
		e.Msg = fmt.Sprintf("%q is no instruction of a Dockerfile", unknown.Instruction)
		if e.Line == 1 && !strings.HasPrefix(strings.ToLower(path.Base(f.Name)), "dockerfile") {
			e.Msg += ": is this a Dockerfile?"
		}
	}
	const prefix = "dockerfile parse error on line "
	if rest, ok := strings.CutPrefix(e.Msg, prefix); ok { // the line is said already
		if _, msg, ok := strings.Cut(rest, ": "); ok {
			e.Msg = msg
		}
	}
	return e
}

func (f *File) warn(rule, _, _, message string, location []parser.Range) {
	l := lint{rule: rule, message: message}
	if len(location) > 0 {
		l.line, l.end = location[0].Start.Line, location[len(location)-1].End.Line
	}
	f.lints = append(f.lints, l)
}

func lineOf(data []byte, offset int) int {
	return 1 + bytes.Count(data[:offset], []byte{'\n'})
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}
