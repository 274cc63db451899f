package sbom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime/debug"
	"strings"
)

// What the Go linker writes, since Go 1.18, in each format of executables: 14
// bytes that mark it, two of flags, 16 that are not used, then the version of Go
// and the text of the modules, each behind its length. Two numbers of 16 bytes
// enclose the text. debug/buildinfo looks for the mark in the section of an
// executable, for which it needs the readers of all formats, which have no other
// use here. The enclosing numbers say as well that it is not something else.
const (
	markLen    = 14
	headLen    = 32
	flagInline = 2 // the strings follow; before Go 1.18 pointers to them did
	frameLen   = 16
	maxStrings = 4 << 20 // more than any program has
)

var (
	// In two parts, so that this program has it once.
	mark = append([]byte("\xff Go build"), "inf:"...)

	frameBegin = []byte("\x30\x77\xaf\x0c\x92\x74\x08\x02\x41\xe1\xc1\x07\xe6\xd6\x18\xe6")
	frameEnd   = []byte("\xf9\x32\x43\x31\x86\x18\x20\x72\x00\x82\x42\x10\x41\x16\xd8\xf2")
)

var errNoInfo = errors.New("there is nothing from a Go linker in it")

// readInfo finds the build information in an executable.
func readInfo(r io.ReaderAt) (*debug.BuildInfo, error) {
	block := make([]byte, 1<<20)
	old := false
	for off := int64(0); ; off += int64(len(block) - markLen + 1) {
		n, err := r.ReadAt(block, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		for at := 0; ; at++ {
			i := bytes.Index(block[at:n], mark)
			if i < 0 {
				break
			}
			at += i
			info, inline, err := infoAt(r, off+int64(at))
			if err != nil || info != nil {
				return info, err
			}
			old = old || !inline
		}
		if n < len(block) {
			break
		}
	}
	if old {
		return nil, errors.New("its Go is older than 1.18, or it was built without modules")
	}
	return nil, errNoInfo
}

// infoAt reads what follows a mark; nil if it is only like one. inline is unset
// if it may be that of an older Go.
func infoAt(r io.ReaderAt, off int64) (info *debug.BuildInfo, inline bool, err error) {
	b, err := io.ReadAll(io.NewSectionReader(r, off, maxStrings))
	if err != nil {
		return nil, false, err
	}
	if len(b) < headLen {
		return nil, true, nil
	}
	if b[markLen+1]&flagInline == 0 {
		return nil, false, nil
	}
	version, rest := text(b[headLen:])
	framed, _ := text(rest)
	if !bytes.HasPrefix(version, []byte("go")) && !bytes.HasPrefix(version, []byte("devel")) ||
		len(framed) < 2*frameLen || !bytes.HasPrefix(framed, frameBegin) || !bytes.HasSuffix(framed, frameEnd) {
		return nil, len(framed) > 0, nil
	}
	info, err = debug.ParseBuildInfo(string(framed[frameLen : len(framed)-frameLen]))
	if err != nil {
		return nil, true, err
	}
	info.GoVersion = strings.ToValidUTF8(string(version), "")
	return info, true, nil
}

// text cuts a text off that has its length before it; nil if it is cut.
func text(b []byte) (value, rest []byte) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil
	}
	return b[used : used+int(n)], b[used+int(n):]
}
