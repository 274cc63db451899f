package wire

import "encoding/binary"

// The parts of HTTP/2 that are looked at (RFC 9113, sections 4.1 and 6).
const (
	frameHead = 9 // length, type, flags, stream

	frameHeaders   = 1
	frameRSTStream = 3
	frameGoAway    = 7

	flagPadded   = 0x8
	flagPriority = 0x20

	peekSize = 16 // bytes of a frame's content that are looked at
)

// frame is what is looked at of an HTTP/2 frame.
type frame struct {
	kind, flags byte
	stream      uint32
	content     []byte // the first bytes
}

// scanner finds the frames in a stream of bytes that comes in pieces. It keeps
// at most the head and the first bytes of one frame. The zero value is at the
// begin of a frame.
type scanner struct {
	head [frameHead]byte
	have int // bytes of head
	peek [peekSize]byte
	want int // bytes of peek that are still to come
	got  int // bytes of peek
	rest int // bytes of the frame that are still to come
}

// feed takes the next bytes, and calls see for each frame whose first bytes are
// complete. The frame is valid until see returns.
func (s *scanner) feed(b []byte, see func(frame)) {
	for len(b) > 0 {
		switch {
		case s.have < frameHead:
			n := copy(s.head[s.have:], b)
			s.have += n
			b = b[n:]
			if s.have == frameHead {
				s.begin(see)
			}
		case s.want > 0:
			n := copy(s.peek[s.got:s.got+s.want], b)
			s.got, s.want, s.rest = s.got+n, s.want-n, s.rest-n
			b = b[n:]
			if s.want == 0 {
				s.seen(see)
			}
		default:
			n := min(s.rest, len(b))
			s.rest -= n
			b = b[n:]
		}
		if s.have == frameHead && s.rest == 0 {
			s.have = 0
		}
	}
}

func (s *scanner) begin(see func(frame)) {
	s.rest = int(s.head[0])<<16 | int(s.head[1])<<8 | int(s.head[2])
	s.got, s.want = 0, 0
	switch s.head[3] {
	case frameHeaders, frameRSTStream, frameGoAway:
		if s.want = min(s.rest, peekSize); s.want == 0 {
			s.seen(see)
		}
	}
}

func (s *scanner) seen(see func(frame)) {
	see(frame{s.head[3], s.head[4], binary.BigEndian.Uint32(s.head[5:]) &^ (1 << 31), s.peek[:s.got]})
}

// code is the error code of a RST_STREAM or GOAWAY frame.
func (f frame) code() (uint32, bool) {
	at := 0
	if f.kind == frameGoAway {
		at = 4 // after the last stream
	}
	if len(f.content) < at+4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(f.content[at:]), true
}

// status returns the status that a HEADERS frame of a server begins with, if it
// is 400 or 431, and else 0. Servers put it first (RFC 9113, section 8.3.2). In
// HPACK's static table 400 is entry 12; 431 is not in it, and is at first
// written in digits, after the name of one of the entries 8 to 14 (RFC 7541,
// section 6 and appendix A).
func (f frame) status() int {
	b := f.content
	if f.flags&flagPadded != 0 && len(b) > 0 {
		b = b[1:]
	}
	if f.flags&flagPriority != 0 {
		b = b[min(5, len(b)):]
	}
	for len(b) > 0 && b[0]&0xe0 == 0x20 { // a new size of the dynamic table
		b = b[1:]
	}
	switch {
	case len(b) > 0 && b[0] == 0x80|12:
		return 400
	case len(b) >= 5 && literalStatus(b[0]) && string(b[1:5]) == "\x03431":
		return 431
	}
	return 0
}

// literalStatus reports whether a byte begins a :status that is not in a table:
// to be put into it, not to be, or never to be.
func literalStatus(b byte) bool {
	if b&0xc0 == 0x40 {
		b &= 0x3f
	} else {
		b &^= 0x10
	}
	return b >= 8 && b <= 14
}

// codeNames are the names of error codes (RFC 9113, section 7).
var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

const (
	codeNoError  = 0
	codeInternal = 2
	codeCancel   = 8
)

func codeName(code uint32) string {
	if code < uint32(len(codeNames)) {
		return codeNames[code]
	}
	return "an unknown error code"
}
