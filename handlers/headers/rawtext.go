package headers

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
