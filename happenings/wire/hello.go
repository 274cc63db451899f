package wire

// The types of TLS records (RFC 8446, section 5.1) and of the handshake message
// that a client begins with (section 4).
const (
	recordCipherChange = 20
	recordAlert        = 21
	recordHandshake    = 22
	recordData         = 23

	messageClientHello = 1
)

const (
	recordHead  = 5 // type, version, length
	messageHead = 4 // type, length
	alertSize   = 2 // level, description
)

// opening is what the first bytes of a connection are.
type opening uint8

const (
	nothing   opening = iota // no byte
	partHello                // a part of a ClientHello
	fullHello                // a ClientHello
	likeHTTP                 // a method, in letters
	foreign                  // something else
)

// hello follows the records that a TLS client sends, as far as they are in the
// clear. It keeps no bytes but heads of records and messages. The zero value is
// at the begin of a connection.
type hello struct {
	what   opening
	done   bool // what follows is encrypted, or is not TLS
	alert  byte // description of an alert in the clear, if hasAlert
	warned bool // there was such an alert

	head   [recordHead]byte
	have   uint8 // bytes of head
	rest   int   // bytes of the record that are still to come
	inside [messageHead]byte
	inHave uint8 // bytes of inside: of the first message, or of an alert
	need   int   // bytes of the ClientHello that are still to come
}

// feed takes the next bytes that the client sent.
func (h *hello) feed(b []byte) {
	if h.what == nothing && len(b) > 0 && b[0] != recordHandshake && b[0] != recordAlert {
		h.what, h.done = foreign, true
		if b[0] >= 'A' && b[0] <= 'Z' {
			h.what = likeHTTP
		}
		return
	}
	for len(b) > 0 && !h.done {
		if h.have < recordHead {
			n := copy(h.head[h.have:], b)
			h.have += uint8(n)
			b = b[n:]
			h.begin()
			continue
		}
		n := min(h.rest, len(b))
		h.body(b[:n])
		b = b[n:]
		if h.rest -= n; h.rest == 0 {
			h.have = 0
		}
	}
}

// begin looks at the head of a record, when it is complete.
func (h *hello) begin() {
	if h.what == nothing {
		h.what = partHello
	}
	if h.have < recordHead {
		return
	}
	h.rest = int(h.head[3])<<8 | int(h.head[4])
	switch h.head[0] {
	case recordHandshake:
	case recordAlert:
		h.inHave = 0
		h.done = h.rest != alertSize
	default: // the client's next records are encrypted
		h.done = true
	}
	if h.rest == 0 {
		h.have = 0
	}
}

// body takes a part of the content of a record.
func (h *hello) body(b []byte) {
	if h.head[0] == recordAlert {
		n := copy(h.inside[h.inHave:alertSize], b)
		if h.inHave += uint8(n); h.inHave == alertSize {
			h.alert, h.warned = h.inside[1], true
		}
		return
	}
	if h.what != partHello {
		return
	}
	if h.inHave < messageHead {
		n := copy(h.inside[h.inHave:], b)
		h.inHave += uint8(n)
		b = b[n:]
		if h.inHave < messageHead {
			return
		}
		if h.inside[0] != messageClientHello {
			h.what, h.done = foreign, true
			return
		}
		h.need = int(h.inside[1])<<16 | int(h.inside[2])<<8 | int(h.inside[3])
	}
	if h.need -= len(b); h.need <= 0 {
		h.what = fullHello
	}
}
