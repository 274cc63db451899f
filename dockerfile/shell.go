package dockerfile

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"mvdan.cc/sh/v3/syntax"
)

// script is what a RUN instruction runs, as far as it can be read.
type script struct {
	calls []*call
	feeds []feed
}

// call is a program that is run, with its arguments. Variables whose values are
// not known stand in it as ${NAME}.
type call struct {
	name    string // without its directory
	args    []string
	assigns []string // NAME=value before the program, or alone
	writes  []string // files that its output goes to
	line    int      // in the Dockerfile
}

// feed is output of programs that becomes the script of an interpreter.
type feed struct {
	from []*call
	to   *call
}

// text is the call as it would be written.
func (c *call) text() string {
	return strings.TrimSpace(c.name + " " + strings.Join(c.args, " "))
}

// has tells whether one of the arguments is there.
func (c *call) has(args ...string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return slices.Contains(c.args, a) })
}

// operands are the arguments that are no options.
func (c *call) operands() (list []string) {
	for _, a := range c.args {
		if !strings.HasPrefix(a, "-") {
			list = append(list, a)
		}
	}
	return list
}

// shells read scripts from files, from -c and from their standard input.
var shells = []string{"sh", "bash", "ash", "dash", "zsh", "ksh", "busybox"}

// interpreters run what they read, too.
var interpreters = append([]string{"python", "python2", "python3", "perl", "ruby", "node", "php", "pwsh", "powershell", "iex"}, shells...)

// scriptOf reads a RUN instruction, once.
func (c *Command) scriptOf() *script {
	if c.script != nil {
		return c.script
	}
	c.script = &script{}
	run, ok := c.Command.(*instructions.RunCommand)
	if !ok {
		return c.script
	}
	r := &reader{c: c, s: c.script}
	switch {
	case !run.PrependShell && len(run.CmdLine) > 0:
		r.argv(run.CmdLine, c.Line)
	case len(run.Files) > 0 && strings.HasPrefix(strings.TrimSpace(strings.Join(run.CmdLine, " ")), "<<"):
		for i, file := range run.Files {
			if at := c.Line + 1; i == 0 && shellScript(file.Data) {
				r.parse(file.Data, func(line int) int { return at + line - 1 })
			}
		}
	default:
		text := []string{strings.Join(run.CmdLine, " ")}
		for _, file := range run.Files {
			text = append(text, file.Data+file.Name)
		}
		r.parse(strings.Join(text, "\n")+"\n", nil)
	}
	return c.script
}

// shellScript tells whether a here-document is read by a shell.
func shellScript(text string) bool {
	first, _, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(first, "#!") {
		return true
	}
	return slices.ContainsFunc(strings.Fields(first[2:]), func(w string) bool { return slices.Contains(shells, path.Base(w)) })
}

// reader collects the calls of a script.
type reader struct {
	c     *Command
	s     *script
	lines func(int) int // line of the script to line of the file; nil: looked up
	depth int
}

// maxDepth bounds how deep scripts in scripts are followed.
const maxDepth = 4

func (r *reader) parse(text string, lines func(int) int) []*call {
	if r.depth++; r.depth > maxDepth {
		return nil
	}
	before := r.lines
	r.lines = lines
	defer func() { r.depth--; r.lines = before }()
	first := len(r.s.calls)
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		r.plain(text)
	} else {
		for _, st := range f.Stmts {
			r.stmt(st)
		}
	}
	return r.s.calls[first:]
}

// plain is for scripts that no shell that is known here reads, such as those of
// PowerShell: words, and what separates commands.
func (r *reader) plain(text string) {
	split := func(c rune) bool { return strings.ContainsRune(";&|\n", c) }
	for _, part := range strings.FieldsFunc(text, split) {
		words := strings.Fields(part)
		for i := range words {
			words[i] = strings.Trim(words[i], `"'`)
		}
		words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
		if len(words) > 0 {
			r.argv(words, 0)
		}
	}
}

// stmt walks a statement, and returns its own calls.
func (r *reader) stmt(st *syntax.Stmt) []*call {
	first := len(r.s.calls)
	var direct *call
	switch cmd := st.Cmd.(type) {
	case *syntax.CallExpr:
		direct = r.call(cmd)
	case *syntax.BinaryCmd:
		left := r.stmt(cmd.X)
		right := r.stmt(cmd.Y)
		if cmd.Op == syntax.Pipe || cmd.Op == syntax.PipeAll {
			r.pipe(left, right)
		}
	default:
		if cmd != nil {
			r.inside(cmd)
		}
	}
	for _, redir := range st.Redirs {
		r.redirect(redir, direct)
	}
	return r.s.calls[first:]
}

// inside walks compound commands: blocks, loops, conditions.
func (r *reader) inside(node syntax.Node) {
	syntax.Walk(node, func(n syntax.Node) bool {
		if st, ok := n.(*syntax.Stmt); ok {
			r.stmt(st)
			return false
		}
		return true
	})
}

// pipe notes interpreters that read what comes out of other programs.
func (r *reader) pipe(left, right []*call) {
	for _, to := range right {
		if to.readsScript() {
			r.s.feeds = append(r.s.feeds, feed{from: left, to: to})
		}
	}
}

// readsScript tells whether the program runs what is in its standard input.
func (c *call) readsScript() bool {
	if !slices.Contains(interpreters, c.name) {
		return false
	}
	args := c.args
	if c.name == "busybox" && len(args) > 0 && slices.Contains(shells, args[0]) {
		args = args[1:]
	}
	if slices.ContainsFunc(args, func(a string) bool { return a == "-" || a == "-s" || a == "/dev/stdin" }) {
		return true
	}
	code := "cem" // options after which the script, or its name, is an argument
	if slices.Contains(shells, c.name) {
		code = "c"
	}
	if slices.ContainsFunc(args, func(a string) bool {
		return len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.IndexByte(code, a[len(a)-1]) >= 0
	}) {
		return false
	}
	return !slices.ContainsFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") })
}

// redirect notes files that are written, and scripts that are given as text.
func (r *reader) redirect(redir *syntax.Redirect, to *call) {
	switch redir.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.ClbOut, syntax.RdrAll, syntax.AppAll:
		if to != nil {
			to.writes = append(to.writes, r.word(redir.Word))
		}
	case syntax.WordHdoc, syntax.RdrIn:
		inner := r.substitutions(redir.Word)
		if to != nil && len(inner) > 0 && to.readsScript() {
			r.s.feeds = append(r.s.feeds, feed{from: inner, to: to})
		}
		if to != nil && redir.Op == syntax.WordHdoc && to.readsScript() && slices.Contains(shells, to.name) {
			r.parse(r.word(redir.Word), nil)
		}
	case syntax.Hdoc, syntax.DashHdoc:
		if redir.Hdoc != nil && to != nil && to.readsScript() && slices.Contains(shells, to.name) {
			r.parse(r.word(redir.Hdoc), nil)
		}
	}
}

// call takes a simple command.
func (r *reader) call(cmd *syntax.CallExpr) *call {
	var assigns []string
	var fed []*call
	for _, a := range cmd.Assigns {
		if a.Name == nil {
			continue
		}
		text := a.Name.Value + "="
		if a.Value != nil {
			text += r.word(a.Value)
			r.substitutions(a.Value)
		}
		assigns = append(assigns, text)
	}
	var words []string
	for _, w := range cmd.Args {
		words = append(words, r.word(w))
		fed = append(fed, r.substitutions(w)...)
	}
	if len(words) == 0 {
		if len(assigns) > 0 {
			r.s.calls = append(r.s.calls, &call{assigns: assigns, line: r.line(int(cmd.Pos().Line()), assigns[0])})
		}
		return nil
	}
	c := r.argv(words, r.line(int(cmd.Pos().Line()), words...))
	c.assigns = append(c.assigns, assigns...)
	if len(fed) > 0 && c.runsArguments() {
		r.s.feeds = append(r.s.feeds, feed{from: fed, to: c})
	}
	return c
}

// runsArguments tells whether what stands in the arguments is run.
func (c *call) runsArguments() bool {
	switch {
	case c.name == "eval", c.name == "source", c.name == ".":
		return true
	case slices.Contains(interpreters, c.name):
		return true
	}
	return false
}

// substitutions are the calls in $(…), `…` and <(…) of a word.
func (r *reader) substitutions(w *syntax.Word) (inner []*call) {
	if w == nil {
		return nil
	}
	syntax.Walk(w, func(n syntax.Node) bool {
		var stmts []*syntax.Stmt
		switch n := n.(type) {
		case *syntax.CmdSubst:
			stmts = n.Stmts
		case *syntax.ProcSubst:
			stmts = n.Stmts
		default:
			return true
		}
		for _, st := range stmts {
			inner = append(inner, r.stmt(st)...)
		}
		return false
	})
	return inner
}

// prefixes run the program that their arguments name. The value says how many
// arguments of their own, other than options, come first.
var prefixes = map[string]int{
	"sudo": 0, "env": 0, "exec": 0, "command": 0, "builtin": 0, "nice": 0, "nohup": 0, "time": 0, "timeout": 1, "xargs": 0, "doas": 0,
	"gosu": 1, "su-exec": 1, "chroot": 1, "eatmydata": 0, "retry": 0, "ionice": 0, "stdbuf": 0, "setsid": 0, "tini": 0, "dumb-init": 0, "busybox": 0,
}

// options of prefixes that take a value.
var prefixValues = []string{"-u", "-g", "-n", "-I", "-P", "-L", "-C", "-s", "-k", "-S", "-o", "-i", "-e", "-c"}

// argv takes the words of a command, and what they run in turn.
func (r *reader) argv(words []string, line int) *call {
	for len(words) > 1 && strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "-") {
		words = words[1:] // env NAME=value program
	}
	c := &call{name: path.Base(words[0]), args: words[1:], line: line}
	if line == 0 {
		c.line = r.line(0, words...)
	}
	r.s.calls = append(r.s.calls, c)
	if own, ok := prefixes[c.name]; ok {
		if inner := after(c.args, own); len(inner) > 0 {
			if c.name == "busybox" {
				return r.argv(inner, c.line)
			}
			return r.argv(inner, c.line)
		}
		return c
	}
	if text := c.inline(); text != "" {
		at := c.line
		r.parse(text, func(int) int { return at })
	}
	return c
}

// after skips the options of a prefix, and arguments of its own.
func after(args []string, own int) []string {
	for len(args) > 0 {
		switch a := args[0]; {
		case strings.HasPrefix(a, "-"):
			if slices.Contains(prefixValues, a) && len(args) > 1 {
				args = args[1:]
			}
		case strings.Contains(a, "=") && !strings.HasPrefix(a, "/"):
		case own > 0:
			own--
		default:
			return args
		}
		args = args[1:]
	}
	return nil
}

// inline is the script after -c of a shell, or of su.
func (c *call) inline() string {
	if !slices.Contains(shells, c.name) && c.name != "su" && c.name != "runuser" {
		return ""
	}
	for i, a := range c.args {
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.HasSuffix(a, "c") && i+1 < len(c.args) {
			return c.args[i+1]
		}
	}
	return ""
}

// line finds where a call is in the Dockerfile.
func (r *reader) line(inScript int, words ...string) int {
	if r.lines != nil && inScript > 0 {
		return min(r.lines(inScript), r.c.End)
	}
	if r.c.Stage == nil || len(words) == 0 {
		return r.c.Line
	}
	lines := r.c.Stage.file.lines
	best := r.c.Line
	for i := r.c.Line; i <= min(r.c.End, len(lines)); i++ {
		text := lines[i-1]
		if !hasWord(text, words[0]) {
			continue
		}
		if len(words) == 1 || strings.Contains(text, words[1]) {
			return i
		}
		if best == r.c.Line {
			best = i
		}
	}
	return best
}

// hasWord tells whether a program is named in a line, and not only a part of
// another word.
func hasWord(line, word string) bool {
	for from := 0; word != ""; {
		i := strings.Index(line[from:], word)
		if i < 0 {
			return false
		}
		i += from
		from = i + len(word)
		if (i == 0 || strings.IndexByte(" \t;&|('\"`", line[i-1]) >= 0) && (from == len(line) || strings.IndexByte(" \t;&|)'\"`\\", line[from]) >= 0) {
			return true
		}
	}
	return false
}

// word is the text of a word, with the values of variables where they are known.
func (r *reader) word(w *syntax.Word) string {
	if w == nil {
		return ""
	}
	var b strings.Builder
	r.parts(&b, w.Parts)
	return b.String()
}

func (r *reader) parts(b *strings.Builder, parts []syntax.WordPart) {
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(unescape(p.Value))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			r.parts(b, p.Parts)
		case *syntax.ParamExp:
			b.WriteString(r.param(p))
		case *syntax.CmdSubst, *syntax.ProcSubst:
			b.WriteString("$(…)")
		default:
			b.WriteString("${…}")
		}
	}
}

func (r *reader) param(p *syntax.ParamExp) string {
	if p.Param == nil {
		return "${…}"
	}
	name := p.Param.Value
	if p.Excl || p.Length || p.Slice != nil || p.Repl != nil || p.Index != nil {
		return "${" + name + "}"
	}
	if r.c.Stage != nil {
		if v, ok := r.c.Stage.scope.find(name, r.c.order); ok && v.text != "" {
			return v.text
		}
	}
	return "${" + name + "}"
}

func unescape(lit string) string {
	if !strings.Contains(lit, `\`) {
		return lit
	}
	return strings.ReplaceAll(lit, `\`, "")
}
