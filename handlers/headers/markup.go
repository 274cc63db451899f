package headers

import (
	"bytes"
	"strings"
)

// markup adds a nonce to the script, style and link elements of HTML that goes
// through it in pieces. It follows the tokenizer of the HTML standard (section
// 13.2.5) as far as that decides where a tag begins, and holds nothing back: the
// attribute goes right after the name of the tag, where it comes before others
// of its name and so counts.
//
// The zero value is at the beginning of a document, with no nonce.
type markup struct {
	attribute string // ` nonce="…"`

	state  lexState
	name   [16]byte // of the tag that is being read, in small letters
	size   int      // of the name, more than its room if it is longer
	end    bool     // it is an end tag
	slash  bool     // the byte before was a slash
	raw    string   // element whose text is being read
	dashes int      // before this byte, in comments and scripts
	level  int      // of escapes in a script: 1 after <!--, 2 after <script in that
	svg    int      // open svg and math elements
	inside int      // open foreignObject elements, which hold HTML again
}

type lexState int

const (
	inData lexState = iota
	tagOpen
	endTagOpen
	tagName
	beforeName // of an attribute
	attrName
	afterName
	beforeValue
	valueDouble
	valueSingle
	valueBare
	declaration // after <!
	declarationDash
	inComment
	bogus // ends with the next >
	inCDATA
	rawText
	rawOpen // after < in raw text
	rawEndOpen
	rawName
	rawBang // after <! in a script
	rawBangDash
)

// feed appends what becomes of p to dst.
func (m *markup) feed(dst, p []byte) []byte {
	start := 0 // of what is not yet appended
	for i := 0; i < len(p); i++ {
		switch {
		case m.state == inData, m.state == rawText && m.level == 0:
			next := bytes.IndexByte(p[i:], '<')
			if next < 0 {
				return append(dst, p[start:]...)
			}
			i += next
		}
		if m.step(p[i]) {
			dst = append(append(dst, p[start:i]...), m.attribute...)
			start = i
		}
	}
	return append(dst, p[start:]...)
}

// step reads a byte and tells whether the attribute goes before it.
func (m *markup) step(c byte) bool {
	switch m.state {
	case inData:
		if c == '<' {
			m.state = tagOpen
		}
	case tagOpen:
		m.open(c)
	case endTagOpen:
		m.end = true
		switch {
		case isLetter(c):
			m.begin(c)
		case c == '>':
			m.state = inData
		default:
			m.state = bogus
		}
	case tagName:
		return m.inName(c)
	case beforeName, attrName, afterName, beforeValue, valueDouble, valueSingle, valueBare:
		m.inTag(c)
	case declaration, declarationDash, inComment, bogus, inCDATA:
		m.inDeclaration(c)
	default:
		m.inRaw(c)
	}
	return false
}

func (m *markup) open(c byte) {
	m.end = false
	switch {
	case isLetter(c):
		m.begin(c)
	case c == '!':
		m.state, m.size = declaration, 0
	case c == '/':
		m.state = endTagOpen
	case c == '?':
		m.state = bogus
	case c != '<':
		m.state = inData
	}
}

func (m *markup) begin(c byte) {
	m.state, m.size, m.slash = tagName, 0, false
	m.add(c)
}

func (m *markup) add(c byte) {
	if m.size < len(m.name) {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		m.name[m.size] = c
	}
	m.size++
}

func (m *markup) is(name string) bool {
	return m.size == len(name) && string(m.name[:m.size]) == name
}

func (m *markup) inName(c byte) bool {
	if !endsName(c) {
		m.add(c)
		return false
	}
	m.state = beforeName
	m.slash = c == '/'
	here := !m.end && (m.is("script") || m.is("style") || m.is("link"))
	if c == '>' {
		m.closeTag()
	}
	return here
}

func (m *markup) inTag(c byte) {
	if c == '>' && m.state != valueDouble && m.state != valueSingle {
		m.closeTag()
		return
	}
	space := isBlank(c)
	switch m.state {
	case beforeName:
		if !space && c != '/' {
			m.state = attrName
		}
		m.slash = c == '/'
	case attrName:
		m.slash = c == '/'
		switch {
		case c == '=':
			m.state = beforeValue
		case space:
			m.state = afterName
		case c == '/':
			m.state = beforeName
		}
	case afterName:
		m.slash = c == '/'
		switch {
		case c == '=':
			m.state = beforeValue
		case c == '/':
			m.state = beforeName
		case !space:
			m.state = attrName
		}
	case beforeValue:
		switch {
		case c == '"':
			m.state = valueDouble
		case c == '\'':
			m.state = valueSingle
		case !space:
			m.state = valueBare
		}
	case valueDouble:
		if c == '"' {
			m.state = beforeName
		}
	case valueSingle:
		if c == '\'' {
			m.state = beforeName
		}
	case valueBare:
		if space {
			m.state = beforeName
		}
	}
}

// closeTag ends a tag, and begins the raw text of its element.
func (m *markup) closeTag() {
	m.state = inData
	closed := m.slash
	m.slash = false
	if m.end {
		switch {
		case m.is("svg") || m.is("math"):
			m.svg = max(m.svg-1, 0)
		case m.is("foreignobject"):
			m.inside = max(m.inside-1, 0)
		}
		return
	}
	name := ""
	if m.size <= len(m.name) {
		name = string(m.name[:m.size]) // the compiler needs no copy for a switch alone
	}
	switch name {
	case "svg", "math":
		if !closed {
			m.svg++
		}
		return
	case "foreignobject":
		if !closed && m.svg > m.inside {
			m.inside++
		}
		return
	}
	if m.svg > m.inside {
		if !breaksOut[name] {
			return // there is no raw text in foreign content
		}
		m.svg, m.inside = 0, 0
	}
	if raw, ok := rawElements[name]; ok {
		m.state, m.raw, m.level, m.dashes = rawText, raw, 0, 0
	}
}

func (m *markup) inDeclaration(c byte) {
	switch m.state {
	case declaration:
		switch {
		case c == '-':
			m.state = declarationDash
		case c == '>':
			m.state = inData
		case c == '[' && m.svg > m.inside:
			m.state, m.dashes = inCDATA, 0
		default:
			m.state = bogus
		}
	case declarationDash:
		switch c {
		case '-':
			m.state, m.dashes = inComment, 2 // <!--> is a comment, too
		case '>':
			m.state = inData
		default:
			m.state = bogus
		}
	case inComment:
		switch {
		case c == '-':
			m.dashes++
		case c == '>' && m.dashes >= 2:
			m.state = inData
		case c == '!' && m.dashes >= 2:
			// --!> ends a comment as well; one more dash or > decides.
			m.dashes = -1
		case c == '>' && m.dashes == -1:
			m.state = inData
		default:
			m.dashes = 0
		}
		if c == '-' && m.dashes == 0 { // after --!
			m.dashes = 1
		}
	case inCDATA:
		switch {
		case c == ']':
			m.dashes++
		case c == '>' && m.dashes >= 2:
			m.state = inData
		default:
			m.dashes = 0
		}
	case bogus:
		if c == '>' {
			m.state = inData
		}
	}
}

// inRaw reads the text of an element that holds no tags but its own end.
func (m *markup) inRaw(c byte) {
	switch m.state {
	case rawOpen:
		switch {
		case c == '/' && m.raw != plaintext:
			m.state, m.end, m.size = rawEndOpen, true, 0
		case c == '!' && m.raw == scriptElement && m.level == 0:
			m.state = rawBang
		case m.raw == scriptElement && m.level == 1 && isLetter(c):
			m.state, m.end, m.size = rawName, false, 0
			m.add(c)
		default:
			m.text(c)
		}
	case rawEndOpen:
		if isLetter(c) {
			m.state = rawName
			m.add(c)
			return
		}
		m.text(c)
	case rawName:
		if !endsName(c) {
			m.add(c)
			return
		}
		m.rawTag(c)
	case rawBang, rawBangDash:
		switch {
		case c != '-':
			m.text(c)
		case m.state == rawBang:
			m.state = rawBangDash
		default:
			m.state, m.level, m.dashes = rawText, 1, 2
		}
	default:
		m.text(c)
	}
}

// text reads a byte that is text.
func (m *markup) text(c byte) {
	m.state = rawText
	switch {
	case c == '<':
		m.state, m.dashes = rawOpen, 0
	case c == '-':
		m.dashes++
	case c == '>' && m.dashes >= 2:
		m.level, m.dashes = 0, 0
	default:
		m.dashes = 0
	}
}

// rawTag decides what the tag in raw text whose name ends before c is.
func (m *markup) rawTag(c byte) {
	switch {
	case !m.is(m.raw):
		m.text(c)
	case !m.end:
		m.level = 2
		m.text(c)
	case m.level == 2:
		m.level = 1
		m.text(c)
	default:
		m.state, m.slash, m.raw = beforeName, c == '/', ""
		if c == '>' {
			m.state = inData
		}
	}
}

const (
	scriptElement = "script"
	plaintext     = "plaintext"
)

// rawElements are those whose content is text, where scripts run (section
// 13.2.6.4). The content of noscript is none, but then nothing in it runs.
var rawElements = map[string]string{
	scriptElement: scriptElement, "style": "style", "textarea": "textarea", "title": "title", "xmp": "xmp",
	"iframe": "iframe", "noembed": "noembed", "noframes": "noframes", plaintext: plaintext,
}

// breaksOut are elements that end foreign content (section 13.2.6.5).
var breaksOut = func() map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq(`b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i
		img li listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var`) {
		m[name] = true
	}
	return m
}()

func isLetter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }

func isBlank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\f' || c == '\r' }

func endsName(c byte) bool { return isBlank(c) || c == '/' || c == '>' }
