package dockerfile

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"mvdan.cc/sh/v3/syntax"
)

// edit replaces lines of a file.
type edit struct {
	first, last int // lines, the first one is 1
	text        string
}

// Fixable tells whether Fix mends the finding.
func (f *Finding) Fixable() bool { return f.edit != nil && f.Counts() }

// Normalize takes away what keeps a file from being read the same everywhere:
// the byte order mark and the line ends of Windows. It reports whether there was
// any.
func Normalize(data []byte) ([]byte, bool) {
	out := bytes.TrimPrefix(data, []byte{0xEF, 0xBB, 0xBF})
	out = bytes.ReplaceAll(out, []byte("\r\n"), []byte("\n"))
	return out, !bytes.Equal(out, data)
}

// Fix mends the findings that can be mended without a decision, and says which
// they were. What it returns is parsed again before anybody relies on it.
func (f *File) Fix(found []Finding) (data []byte, mended []Finding) {
	lines := slices.Clone(f.lines)
	taken := map[int]bool{}
	todo := slices.Clone(found)
	slices.SortStableFunc(todo, func(a, b Finding) int { return b.Line - a.Line })
	for i := range todo {
		e := todo[i].edit
		if !todo[i].Fixable() || taken[e.first] {
			continue
		}
		taken[e.first] = true
		lines = slices.Replace(lines, e.first-1, e.last, e.text)
		mended = append(mended, todo[i])
	}
	slices.Reverse(mended)
	return []byte(strings.Join(lines, "\n")), mended
}

// single is the text of an instruction that stands in one line of the stage it
// runs in.
func single(c *Command) (string, bool) {
	if c.Stage == nil || c.Line != c.End || c.inherited || c.onBuild {
		return "", false
	}
	lines := c.Stage.file.lines
	if c.Line > len(lines) {
		return "", false
	}
	return lines[c.Line-1], true
}

// replaceText changes a text that an instruction has once.
func replaceText(c *Command, old, text string) *edit {
	line, ok := single(c)
	if !ok || strings.Count(line, old) != 1 {
		return nil
	}
	return &edit{c.Line, c.Line, strings.Replace(line, old, text, 1)}
}

// addToCopy makes COPY of an ADD that only copies files.
func addToCopy(c *Command, add *instructions.AddCommand) *edit {
	line, ok := single(c)
	if !ok || add.KeepGitDir != nil || add.Unpack != nil || add.Checksum != "" || len(line) < 4 || !strings.EqualFold(line[:4], "ADD ") {
		return nil
	}
	if slices.ContainsFunc(add.SourcePaths, func(src string) bool { return strings.ContainsAny(src, "*?[") || maybeArchive(src) }) {
		return nil // ADD unpacks what is an archive by its content, COPY does not
	}
	word := "COPY"
	if line[:3] == "add" {
		word = "copy"
	}
	return &edit{c.Line, c.Line, word + line[3:]}
}

// maybeArchive tells whether a name is one that archives have, also those that
// the builder does not unpack by it.
func maybeArchive(src string) bool {
	return slices.Contains([]string{".tar", ".gz", ".bz2", ".xz", ".zst", ".lz", ".lzma", ".tgz", ".tbz", ".tbz2", ".tb2", ".txz", ".tlz", ".z"}, strings.ToLower(path.Ext(src)))
}

// execForm writes a command as a JSON array, if it needs no shell.
func execForm(c *Command, text string) *edit {
	line, ok := single(c)
	if !ok {
		return nil
	}
	f, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil || len(f.Stmts) != 1 {
		return nil
	}
	st := f.Stmts[0]
	simple, ok := st.Cmd.(*syntax.CallExpr)
	if !ok || len(st.Redirs) > 0 || st.Background || st.Negated || len(simple.Assigns) > 0 {
		return nil
	}
	var words []string
	for _, w := range simple.Args {
		text, ok := literal(w)
		if !ok {
			return nil
		}
		words = append(words, text)
	}
	if len(words) > 1 && words[0] == "exec" {
		words = words[1:]
	}
	if len(words) == 0 || slices.Contains(builtins, words[0]) {
		return nil
	}
	var b bytes.Buffer
	b.WriteByte('[')
	for i, w := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if e.Encode(w) != nil {
			return nil
		}
		b.Truncate(b.Len() - 1) // the encoder's newline
	}
	b.WriteByte(']')
	return &edit{c.Line, c.Line, strings.Fields(line)[0] + " " + b.String()}
}

// builtins are commands that only a shell has.
var builtins = []string{
	".", ":", "alias", "bg", "builtin", "cd", "command", "declare", "dirs", "eval", "exec", "exit", "export", "fg", "getopts", "hash", "jobs", "let", "local", "popd",
	"pushd", "read", "readonly", "return", "set", "shift", "shopt", "source", "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "wait",
}

// literal is a word in which a shell would replace nothing.
func literal(w *syntax.Word) (string, bool) {
	var b strings.Builder
	for _, p := range w.Parts {
		switch p := p.(type) {
		case *syntax.Lit:
			if strings.ContainsAny(p.Value, `*?[~\{`) {
				return "", false
			}
			b.WriteString(p.Value)
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			for _, q := range p.Parts {
				lit, ok := q.(*syntax.Lit)
				if !ok || strings.Contains(lit.Value, `\`) {
					return "", false
				}
				b.WriteString(lit.Value)
			}
		default:
			return "", false
		}
	}
	return b.String(), true
}
