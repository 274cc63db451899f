package headers

import (
	"bytes"
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

	foreign []element // open elements that decide whether content is HTML
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
	beginComment // after <!--
	beginCommentDash
	inComment
	openCDATA // after <![
	bogus     // ends with the next >
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
	case declaration, declarationDash, beginComment, beginCommentDash, inComment, bogus, openCDATA, inCDATA:
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
	if m.size > len(m.name) {
		return
	}
	name := string(m.name[:m.size])
	if m.end {
		m.leave(name)
		return
	}
	if m.enter(name, closed) {
		return // there is no raw text in foreign content
	}
	if raw, ok := rawElements[name]; ok {
		m.state, m.raw, m.level, m.dashes = rawText, raw, 0, 0
	}
}

// inDeclaration reads what begins with <! or is taken for such, like </1>.
func (m *markup) inDeclaration(c byte) {
	switch m.state {
	case declaration:
		switch {
		case c == '-':
			m.state = declarationDash
		case c == '>':
			m.state = inData
		case c == '[' && m.isForeign():
			m.state, m.size = openCDATA, 0
		default:
			m.state = bogus
		}
	case declarationDash:
		switch c {
		case '-':
			m.state = beginComment
		case '>':
			m.state = inData
		default:
			m.state = bogus
		}
	case openCDATA:
		switch c {
		case cdata[m.size]:
			if m.size++; m.size == len(cdata) {
				m.state, m.dashes = inCDATA, 0
			}
		case '>':
			m.state = inData
		default:
			m.state = bogus
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
	default:
		m.comment(c)
	}
}

// cdata is what follows <![ for a section of text in foreign content.
const cdata = "CDATA["

// comment reads a byte of a comment. <!--> and <!---> are whole ones, but
// <!--!> is not, other than --!> later on.
func (m *markup) comment(c byte) {
	begun := m.state == inComment
	switch {
	case c == '>' && (!begun || m.dashes >= 2 || m.dashes == -1):
		m.state = inData
		return
	case c == '-' && m.state == beginComment:
		m.state = beginCommentDash
		return
	case c == '-' && m.state == beginCommentDash:
		m.dashes = 2
	case c == '-' && begun && m.dashes >= 0:
		m.dashes++
	case c == '-' && begun: // after --!
		m.dashes = 1
	case c == '!' && begun && m.dashes >= 2:
		m.dashes = -1 // one more dash or > decides
	default:
		m.dashes = 0
	}
	m.state = inComment
}

func isLetter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }

func isBlank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\f' || c == '\r' }

func endsName(c byte) bool { return isBlank(c) || c == '/' || c == '>' }
