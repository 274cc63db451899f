package tree

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// TilePath returns the path of a tile relative to the log (C2SP tlog-tiles,
// "Merkle Tree"): tile/<level>/<index>, with .p/<width> for a partial tile.
func TilePath(level int, index int64, width int) string {
	return "tile/" + strconv.Itoa(level) + "/" + indexPath(index, width)
}

// EntriesPath returns the path of an entry bundle (C2SP tlog-tiles, "Log
// entries").
func EntriesPath(index int64, width int) string {
	return "tile/entries/" + indexPath(index, width)
}

// indexPath writes a tile index in groups of three digits, all but the last
// with an x: 1234067 is x001/x234/067.
func indexPath(index int64, width int) string {
	s := fmt.Sprintf("%03d", index%1000)
	for index >= 1000 {
		index /= 1000
		s = fmt.Sprintf("x%03d/%s", index%1000, s)
	}
	if width < Width {
		s += ".p/" + strconv.Itoa(width)
	}
	return s
}

// Tile names a tile or, with level Entries, an entry bundle.
type Tile struct {
	Level int
	Index int64
	Width int
}

// Entries is the level of an entry bundle.
const Entries = -1

// ParsePath is the inverse of TilePath and EntriesPath.
func ParsePath(path string) (Tile, error) {
	bad := func() (Tile, error) { return Tile{}, fmt.Errorf("%q is not the path of a tile", path) }
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return bad()
	}
	levelText, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return bad()
	}
	t := Tile{Level: Entries, Width: Width}
	if levelText != "entries" {
		level, err := strconv.Atoi(levelText)
		if err != nil || level < 0 || level > 7 {
			return bad()
		}
		t.Level = level
	}
	if before, after, partial := strings.Cut(rest, ".p/"); partial {
		width, err := strconv.Atoi(after)
		if err != nil || width < 1 || width >= Width {
			return bad()
		}
		t.Width, rest = width, before
	}
	if len(rest) > 7*5 {
		return bad()
	}
	for part := range strings.SplitSeq(rest, "/") {
		n, err := strconv.Atoi(strings.TrimPrefix(part, "x"))
		if err != nil {
			return bad()
		}
		t.Index = t.Index*1000 + int64(n)
	}
	if t.path() != path { // one spelling a tile
		return bad()
	}
	return t, nil
}

func (t Tile) path() string {
	if t.Level == Entries {
		return EntriesPath(t.Index, t.Width)
	}
	return TilePath(t.Level, t.Index, t.Width)
}

// Join returns the bytes of a tile.
func Join(hashes []Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// Split returns the hashes of a tile's bytes.
func Split(b []byte) ([]Hash, error) {
	if len(b) == 0 || len(b) > TileBytes || len(b)%tlog.HashSize != 0 {
		return nil, fmt.Errorf("a tile of %d bytes; a full tile has %d", len(b), TileBytes)
	}
	hashes := make([]Hash, len(b)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], b[i*tlog.HashSize:])
	}
	return hashes, nil
}
