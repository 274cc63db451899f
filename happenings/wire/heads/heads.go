// Package heads finds the heads of HTTP/1 requests in what a client sends, and
// those among them whose framing another server might read differently: the
// requests that smuggling is made of (RFC 9112, section 11.2).
//
// A Scanner takes the bytes of a connection in any pieces. It follows bodies
// just enough to know where the next head begins, keeps nothing of what it has
// seen, allocates nothing, and goes by net/http: it finds the begin of each head
// where net/http's server does, in all that this server accepts. What net/http
// refuses is left to it.
package heads

import "bytes"

// Fault is what is wrong with a request.
type Fault uint8

// The faults.
const (
	None Fault = iota

	// Conflict is a head with both Content-Length and Transfer-Encoding
	// (RFC 9112, section 6.1).
	Conflict

	// Lengths is a head with several lines of Content-Length whose values differ
	// (RFC 9112, section 6.3).
	Lengths

	// Fold is a line that continues the one before it (obs-fold; RFC 9112,
	// section 5.2).
	Fold

	// Encoding is a Transfer-Encoding in HTTP/1.0, which has none (RFC 9112,
	// section 6.1).
	Encoding

	// Body is a body whose chunks are malformed (RFC 9112, section 7.1). It is a
	// fault of no head: net/http tells whoever reads the body.
	Body
)

// The states of a Scanner: what the next byte belongs to.
type state uint8

const (
	atHead        state = iota // the first line, after up to skip line ends
	inFirstLine                // the rest of it
	atLine                     // the begin of a line of the head
	inName                     // a name that may be one of the two
	inOther                    // a line of another name
	inLength                   // the value of Content-Length
	inEncoding                 // the value of Transfer-Encoding
	inEnd                      // the line feed that ends the head, after a carriage return
	inBody                     // a body of known length
	atSize                     // the begin of a chunk's size
	inSize                     // its digits
	afterSize                  // white space after it
	inExtension                // the chunk's extension
	inSizeEnd                  // the line feed
	inChunk                    // the data
	inChunkReturn              // the carriage return after the data
	inChunkEnd                 // the line feed
	atTrailer                  // the begin of a line of the trailer
	inTrailer                  // the rest of it
	inTrailerEnd               // the line feed after a carriage return
	lost                       // no request that net/http serves
)

// Scanner is at a place in the bytes of a connection. The zero value is at their
// begin.
type Scanner struct {
	state state
	line  state  // inOther, inLength or inEncoding: what the last line was
	skip  uint8  // line ends that may come before a head
	at    uint8  // bytes of a name, of a method or of digits
	name  string // that the line may have
	tail  [len(version) + 1]byte
	left  uint64 // of the body or chunk; the size of a chunk that is being read
	heads int64

	post   bool // the method is POST
	old    bool // HTTP/1.0
	fields bool // the head has a field
	folded bool // a line that continues another was told
	told   bool // the fault of the whole head was told

	length    number
	encodings int // lines of Transfer-Encoding
}

const (
	version  = "HTTP/1.1"
	length   = "content-length"
	encoding = "transfer-encoding"
	post     = "POST "

	maxSkip   = 4  // as many net/http skips after a POST
	maxDigits = 16 // of a chunk's size
)

// Heads is how many heads are complete.
func (s *Scanner) Heads() int64 { return s.heads }

// Feed takes the next bytes. It returns how many it took, which are all unless
// it found a fault. A fault is found at the first byte that it did not take. To
// go on all the same, call Feed with that byte and those after it.
func (s *Scanner) Feed(b []byte) (int, Fault) {
	for i := 0; i < len(b); {
		n, f := s.step(b[i:])
		i += n
		if f != None {
			return i, f
		}
	}
	return len(b), None
}

// step takes some of the bytes.
func (s *Scanner) step(b []byte) (int, Fault) {
	switch s.state {
	case atHead:
		return s.begin(b[0]), None
	case inFirstLine:
		return s.firstLine(b), None
	case atLine, inEnd:
		return s.lineBegins(b[0])
	case inName:
		return s.nameGoes(b), None
	case inOther, inEncoding:
		return s.skipLine(b, atLine), None
	case inLength:
		return s.lengthGoes(b), None
	case inBody:
		n := s.pass(b)
		if s.left == 0 {
			s.state = atHead
		}
		return n, None
	case inChunk:
		n := s.pass(b)
		if s.left == 0 {
			s.state = inChunkReturn
		}
		return n, None
	case atTrailer, inTrailerEnd:
		return s.trailerBegins(b[0]), None
	case inTrailer:
		return s.skipLine(b, atTrailer), None
	case lost:
		return len(b), None
	}
	return s.chunk(b[0])
}

// pass takes bytes of a body or chunk.
func (s *Scanner) pass(b []byte) int {
	n := min(uint64(len(b)), s.left)
	s.left -= n
	return int(n)
}

// skipLine takes the rest of a line.
func (s *Scanner) skipLine(b []byte, next state) int {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return len(b)
	}
	s.state = next
	return i + 1
}

// begin is at the first byte of a head, or at a line end before it.
func (s *Scanner) begin(c byte) int {
	if s.skip > 0 && (c == '\r' || c == '\n') {
		s.skip--
		return 1
	}
	*s = Scanner{state: inFirstLine, heads: s.heads}
	return 0
}

// firstLine takes bytes of the request line. Of it matter whether the method is
// POST, and the version.
func (s *Scanner) firstLine(b []byte) int {
	n := bytes.IndexByte(b, '\n')
	whole := n >= 0
	if !whole {
		n = len(b)
	}
	for i := 0; i < n && int(s.at) < len(post); i++ {
		if b[i] != post[s.at] {
			s.at = uint8(len(post)) + 1
			break
		}
		s.at++
	}
	if keep := len(s.tail) - n; keep > 0 {
		copy(s.tail[:keep], s.tail[n:])
		copy(s.tail[keep:], b[:n])
	} else {
		copy(s.tail[:], b[n-len(s.tail):n])
	}
	if !whole {
		return n
	}
	s.post = int(s.at) == len(post)
	v := s.tail[1:]
	if s.tail[len(s.tail)-1] == '\r' {
		v = s.tail[:len(version)]
	}
	s.state = atLine
	if minor := v[len(v)-1]; string(v[:len(v)-1]) != version[:len(version)-1] || minor < '0' || minor > '9' {
		s.state = lost
	}
	s.old = v[len(v)-1] == '0'
	return n + 1
}

// lineBegins is at the first byte of a line, or after a carriage return there.
func (s *Scanner) lineBegins(c byte) (int, Fault) {
	switch {
	case c == '\n':
		return s.headEnds()
	case s.state == inEnd: // a line that has no colon, which net/http refuses
		s.state = lost
		return 1, None
	case c == '\r':
		s.state = inEnd
		return 1, None
	case c == ' ' || c == '\t':
		if s.fields && !s.folded { // net/http refuses it before the first field
			s.folded = true
			return 0, Fold
		}
		s.state = max(s.line, inOther)
		s.length.feed(c)
		return 1, None
	}
	s.closeField()
	s.fields = true
	s.line, s.at, s.state = inOther, 0, inName
	switch c {
	case 'C', 'c':
		s.name = length
	case 'T', 't':
		s.name = encoding
	default:
		s.state = inOther
	}
	return 0, None
}

// nameGoes compares the name of a field.
func (s *Scanner) nameGoes(b []byte) int {
	for i, c := range b {
		if int(s.at) < len(s.name) && lower(c) == s.name[s.at] {
			s.at++
			continue
		}
		s.state = inOther
		if c != ':' || int(s.at) != len(s.name) {
			return i
		}
		s.state = inEncoding
		if s.name == length {
			s.state = inLength
		}
		s.line = s.state
		return i + 1
	}
	return len(b)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// lengthGoes takes bytes of the value of Content-Length.
func (s *Scanner) lengthGoes(b []byte) int {
	for i, c := range b {
		if c == '\n' {
			s.state = atLine
			return i + 1
		}
		s.length.feed(c)
	}
	return len(b)
}

// closeField ends the field whose lines have come.
func (s *Scanner) closeField() {
	switch s.line {
	case inLength:
		s.length.close()
	case inEncoding:
		s.encodings++
	}
	s.line = inOther
}

// headEnds is at the line feed that ends a head.
func (s *Scanner) headEnds() (int, Fault) {
	s.closeField()
	if f := s.fault(); f != None && !s.told {
		s.told = true
		return 0, f
	}
	s.heads++
	s.skip = 0
	if s.post {
		s.skip = maxSkip
	}
	switch {
	case s.encodings > 0 && !s.old: // net/http refuses all but "chunked"
		s.state = atSize
	case s.length.first.n > 0:
		s.state, s.left = inBody, s.length.first.n
	default:
		s.state = atHead
	}
	return 1, None
}

func (s *Scanner) fault() Fault {
	switch {
	case s.encodings > 0 && s.length.lines > 0:
		return Conflict
	case s.encodings > 0 && s.old:
		return Encoding
	case s.length.differ:
		return Lengths
	}
	return None
}

// Poison is what a server's parser gets in the place of the byte at a fault, so
// that it refuses the head, or the chunk: a line without a colon, and no line
// end that chunks may have. The byte at a fault of a head is the first of a
// line, or the line feed that ends the head.
const Poison = "\x00\n"
