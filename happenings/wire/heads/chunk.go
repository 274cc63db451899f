package heads

// chunk takes a byte of what is around the data of chunks (RFC 9112, section
// 7.1). As net/http does, it wants line ends of two bytes there.
func (s *Scanner) chunk(c byte) (int, Fault) {
	next := lost
	switch s.state {
	case atSize, inSize:
		next = s.size(c)
	case afterSize:
		next = sizeEnds(c)
	case inExtension:
		switch c {
		case '\r':
			next = inSizeEnd
		case '\n':
		default:
			next = inExtension
		}
	case inSizeEnd:
		if c == '\n' {
			next = inChunk
			if s.left == 0 {
				next = atTrailer
			}
		}
	case inChunkReturn:
		if c == '\r' {
			next = inChunkEnd
		}
	case inChunkEnd:
		if c == '\n' {
			next = atSize
		}
	}
	if s.state = next; next == lost {
		return 0, Body
	}
	return 1, None
}

// size takes a byte of a chunk's size, and returns the state after it.
func (s *Scanner) size(c byte) state {
	if s.state == atSize {
		s.left, s.at = 0, 0
	}
	var digit byte
	switch {
	case c >= '0' && c <= '9':
		digit = c - '0'
	case c >= 'a' && c <= 'f':
		digit = c - 'a' + 10
	case c >= 'A' && c <= 'F':
		digit = c - 'A' + 10
	case s.state == atSize:
		return lost
	case c == ';':
		return inExtension
	default:
		return sizeEnds(c)
	}
	if s.at == maxDigits {
		return lost
	}
	s.left = s.left<<4 | uint64(digit)
	s.at++
	return inSize
}

// sizeEnds returns the state after a byte that follows a size without extension.
func sizeEnds(c byte) state {
	switch c {
	case ' ', '\t':
		return afterSize
	case '\r':
		return inSizeEnd
	}
	return lost
}

// trailerBegins is at the first byte of a line of the trailer, or after a
// carriage return there.
func (s *Scanner) trailerBegins(c byte) int {
	switch {
	case c == '\n':
		s.state = atHead
	case c == '\r' && s.state == atTrailer:
		s.state = inTrailerEnd
	default:
		s.state = inTrailer
	}
	return 1
}
