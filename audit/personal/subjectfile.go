package personal

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
)

// A file of subject keys is a header line and lines of one size. The line in
// slot n (from 0 on) is the n-th. Part of the on-disk format; do not change.
//
//	caddy-soc2-subjects-v1 2026-11-21-abcdefghijklm
//	000000 HASH SEALED CRC
//	000001 -------------------------- ------- … CRC
//
// HASH is 128 bits of an HMAC of the key's name and the subject, in base32.
// SEALED is the subject's key, sealed with a key that is derived from the day's,
// in base64. CRC is the CRC-32C of the line before it, in hex. A line of
// hyphens is a key that was destroyed. A last line that is not whole was being
// written in a crash: nothing was sealed with its key.
const (
	subjectsHeader = "caddy-soc2-subjects-v1 "
	slotDigits     = 6
	maxSlots       = 1_000_000
	hashSize       = 16
	hashText       = 26 // of hashSize bytes in base32
	sealedSize     = 12 + keySize + 16
	sealedText     = 80 // of sealedSize bytes in base64
	crcText        = 8

	hashAt   = slotDigits + 1
	sealedAt = hashAt + hashText + 1
	crcAt    = sealedAt + sealedText + 1
	lineSize = crcAt + crcText + 1

	subjectsHeaderSize = len(subjectsHeader) + keyIDSize + 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errLine means that a line is not as it was written.
var errLine = errors.New("damaged line")

// subjectHash finds a subject's line. Without the index key it tells nothing,
// and it differs between files.
func subjectHash(index []byte, id, subject string) [hashText]byte {
	return keyedText(index, "subject\x00"+id+"\x00"+subject)
}

func keyedText(key []byte, text string) (out [hashText]byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	encoding32.Encode(out[:], mac.Sum(nil)[:hashSize])
	return out
}

// appendLine appends the line of a subject's key.
func appendLine(dst []byte, slot int, hash [hashText]byte, sealed []byte) []byte {
	start := len(dst)
	dst = appendSlot(dst, slot)
	dst = append(dst, ' ')
	dst = append(dst, hash[:]...)
	dst = append(dst, ' ')
	dst = base64.RawStdEncoding.AppendEncode(dst, sealed)
	return appendCRC(dst, start)
}

// appendTombstone appends the line of a key that was destroyed.
func appendTombstone(dst []byte, slot int) []byte {
	start := len(dst)
	dst = appendSlot(dst, slot)
	dst = append(dst, ' ')
	dst = append(dst, bytes.Repeat([]byte{'-'}, hashText)...)
	dst = append(dst, ' ')
	dst = append(dst, bytes.Repeat([]byte{'-'}, sealedText)...)
	return appendCRC(dst, start)
}

func appendSlot(dst []byte, slot int) []byte {
	start := len(dst)
	dst = append(dst, "000000"...)
	for i := len(dst) - 1; i >= start; i-- {
		dst[i] = byte('0' + slot%10)
		slot /= 10
	}
	return dst
}

func appendCRC(dst []byte, start int) []byte {
	sum := crcOf(dst[start:])
	return append(append(append(dst, ' '), sum[:]...), '\n')
}

func crcOf(b []byte) (text [crcText]byte) {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(b, castagnoli))
	hex.Encode(text[:], sum[:])
	return text
}

// checkLine reports whether a line is as it was written, into that slot.
func checkLine(line []byte, slot int) bool {
	if len(line) != lineSize || line[hashAt-1] != ' ' || line[sealedAt-1] != ' ' || line[crcAt-1] != ' ' || line[lineSize-1] != '\n' {
		return false
	}
	sum := crcOf(line[:crcAt-1])
	var digits [2 * slotDigits]byte
	return bytes.Equal(sum[:], line[crcAt:crcAt+crcText]) && bytes.Equal(appendSlot(digits[:0], slot), line[:slotDigits])
}

// isTombstone reports whether the key of a line was destroyed.
func isTombstone(line []byte) bool { return line[hashAt] == '-' }

// parseLine reads the line of a slot. Sealed is nil if the key was destroyed.
func parseLine(line []byte, slot int) (hash [hashText]byte, sealed []byte, err error) {
	if !checkLine(line, slot) {
		return hash, nil, errLine
	}
	if isTombstone(line) {
		if !bytes.Equal(appendTombstone(nil, slot), line) {
			err = errLine
		}
		return hash, nil, err
	}
	copy(hash[:], line[hashAt:])
	sealed, err = base64.RawStdEncoding.Strict().AppendDecode(nil, line[sealedAt:crcAt-1])
	if err != nil || len(sealed) != sealedSize {
		return hash, nil, errLine
	}
	if _, err := encoding32.DecodeString(string(hash[:])); err != nil {
		return hash, nil, errLine
	}
	return hash, sealed, nil
}

// checkSubjects returns the whole lines of a file of subject keys.
func checkSubjects(b []byte, id string) (lines []byte, err error) {
	if len(b) < subjectsHeaderSize || string(b[:subjectsHeaderSize]) != subjectsHeader+id+"\n" {
		return nil, fmt.Errorf("it does not begin with %q: it is damaged, or of another key", subjectsHeader+id)
	}
	lines = b[subjectsHeaderSize:]
	return lines[:len(lines)/lineSize*lineSize], nil
}

// strike returns a file of subject keys in which the lines of a hash are
// tombstones, and how many were not before. Lines that are damaged stay as they
// are and are reported: they could be the subject's.
func strike(b []byte, id string, hash [hashText]byte) (struck []byte, n int, err error) {
	lines, err := checkSubjects(b, id)
	if err != nil {
		return nil, 0, err
	}
	struck = append(make([]byte, 0, len(b)), b[:subjectsHeaderSize]...)
	var damaged []int
	for slot := 0; len(lines) > 0; slot++ {
		line := lines[:lineSize]
		lines = lines[lineSize:]
		switch {
		case !checkLine(line, slot):
			damaged = append(damaged, slot)
			struck = append(struck, line...)
		case !isTombstone(line) && bytes.Equal(line[hashAt:hashAt+hashText], hash[:]):
			n++
			struck = appendTombstone(struck, slot)
		default:
			struck = append(struck, line...)
		}
	}
	if len(damaged) > 0 {
		err = fmt.Errorf("slots %v are damaged, so that nobody can tell whose keys they held: if it matters, destroy the day's key", damaged)
	}
	return struck, n, err
}

// sealSubjectKey seals a subject's key with the day's.
func sealSubjectKey(day cipher.AEAD, id string, slot int, hash [hashText]byte, key []byte) []byte {
	return day.Seal(nil, nil, key, subjectAAD(id, slot, hash)) //nolint:gosec // G407: the AEAD draws a random nonce itself
}

// openSubjectKey is the inverse of sealSubjectKey.
func openSubjectKey(day cipher.AEAD, id string, slot int, hash [hashText]byte, sealed []byte) ([]byte, error) {
	key, err := day.Open(nil, nil, sealed, subjectAAD(id, slot, hash))
	if err != nil || len(key) != keySize {
		return nil, errLine
	}
	return key, nil
}

func subjectAAD(id string, slot int, hash [hashText]byte) []byte {
	return fmt.Appendf(nil, "caddy-soc2 subject key v1\x00%s/%06d\x00%s", id, slot, hash[:])
}

func newSubjectKey() (key [keySize]byte) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}
