package headers

import (
	"slices"
	"strings"
)

// element is an element that decides what the content in it is.
type element byte

// The roots of foreign content, and the elements in it that hold HTML again
// (HTML standard, sections 13.2.6 and 13.2.6.5). What annotation-xml holds
// depends on its attributes, and is taken for foreign.
const (
	svgRoot element = iota + 1
	mathRoot
	svgObject
	svgDesc
	svgTitle
	mathMi
	mathMo
	mathMn
	mathMs
	mathMtext
)

var (
	roots    = map[string]element{"svg": svgRoot, "math": mathRoot}
	svgHTML  = map[string]element{"foreignobject": svgObject, "desc": svgDesc, "title": svgTitle}
	mathHTML = map[string]element{"mi": mathMi, "mo": mathMo, "mn": mathMn, "ms": mathMs, "mtext": mathMtext}
)

// maxNested is how many elements within one another are kept track of.
const maxNested = 64

// isForeign tells whether the content here is SVG or MathML.
func (m *markup) isForeign() bool { return m.inside(svgRoot) || m.inside(mathRoot) }

// inside tells whether the innermost of those elements is e.
func (m *markup) inside(e element) bool {
	return len(m.foreign) > 0 && m.foreign[len(m.foreign)-1] == e
}

// enter reads a start tag, and tells whether its element is foreign.
func (m *markup) enter(name string, closed bool) bool {
	was := m.isForeign()
	if was && breaksOut[name] {
		m.breakOut()
		return false
	}
	var e element
	switch {
	case !was:
		e = roots[name]
	case m.inside(svgRoot):
		if e = svgHTML[name]; name == "svg" {
			e = svgRoot
		}
	default:
		if e = mathHTML[name]; name == "math" {
			e = mathRoot
		}
	}
	if e != 0 && !closed && len(m.foreign) < maxNested {
		m.foreign = append(m.foreign, e)
	}
	return was || e != 0
}

// leave reads an end tag.
func (m *markup) leave(name string) {
	if len(m.foreign) == 0 {
		return
	}
	if (name == "p" || name == "br") && m.isForeign() {
		m.breakOut()
		return
	}
	for i, e := range slices.Backward(m.foreign) {
		if e == roots[name] || e == svgHTML[name] || e == mathHTML[name] {
			m.foreign = m.foreign[:i]
			return
		}
	}
}

// breakOut goes back to where HTML was last.
func (m *markup) breakOut() {
	for m.isForeign() {
		m.foreign = m.foreign[:len(m.foreign)-1]
	}
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
