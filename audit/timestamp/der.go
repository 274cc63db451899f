package timestamp

import "errors"

// maxDepth is deeper than any token with certificates goes, which is 15.
const maxDepth = 40

// Errors of wellFormed.
var (
	errShort    = errors.New("it ends within an element")
	errEncoding = errors.New("it is not DER: a tag or a length has a form that DER does not have")
	errDepth    = errors.New("its elements are nested too deeply")
	errTrailing = errors.New("something follows it")
)

// wellFormed reports whether b is one element of DER (X.690) with elements
// inside that fill it. The parsers of the libraries take more than DER, and
// panic on some of it; they see only what passes here.
func wellFormed(b []byte) error {
	rest, err := element(b, 0)
	if err == nil && len(rest) > 0 {
		err = errTrailing
	}
	return err
}

// element reads one element and returns what follows.
func element(b []byte, depth int) (rest []byte, err error) {
	const constructed, highTag, octetString = 0x20, 0x1f, 0x04
	if depth > maxDepth {
		return nil, errDepth
	}
	if len(b) < 2 {
		return nil, errShort
	}
	tag := b[0]
	if tag&highTag == highTag || tag == octetString|constructed {
		return nil, errEncoding
	}
	length, b, err := lengthOf(b[1:])
	if err != nil {
		return nil, err
	}
	if length > len(b) {
		return nil, errShort
	}
	inner, rest := b[:length], b[length:]
	for tag&constructed != 0 && len(inner) > 0 {
		if inner, err = element(inner, depth+1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// lengthOf reads a definite length in its shortest form, of at most 3 bytes.
func lengthOf(b []byte) (length int, rest []byte, err error) {
	first := int(b[0])
	b = b[1:]
	if first < 0x80 {
		return first, b, nil
	}
	n := first & 0x7f
	if n == 0 || n > 3 {
		return 0, nil, errEncoding
	}
	if len(b) < n {
		return 0, nil, errShort
	}
	for _, c := range b[:n] {
		length = length<<8 | int(c)
	}
	if length < 0x80 || n > 1 && length < 1<<(8*(n-1)) {
		return 0, nil, errEncoding
	}
	return length, b[n:], nil
}
