package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func frames(t testing.TB, first int64, n int) []byte {
	t.Helper()
	var b []byte
	var err error
	for i := range int64(n) {
		body := fmt.Sprintf(`"time":"2026-01-01T00:00:00Z","kind":"request","path":"/%d"`, first+i)
		if b, err = AppendFrame(b, first+i, 0, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestFrameIsTheDocumentedRecord(t *testing.T) {
	b, err := AppendFrame(nil, 4711, 0, []byte(`"kind":"x"`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"seq":4711,"pos":0,"kind":"x","crc":"` // CRC-32C is checked by Check
	record, rest, err := Next(b)
	if err != nil || len(rest) != 0 || !bytes.HasPrefix(record, []byte(want)) || len(record) != len(want)+10 {
		t.Fatalf("%q, rest %q, %v", record, rest, err)
	}
	if err := Check(record, 4711); err != nil {
		t.Error(err)
	}
	if err := Check(record, 4712); !errors.Is(err, ErrDamaged) {
		t.Errorf("as another record: %v", err)
	}
}

func TestBodyLimits(t *testing.T) {
	if _, err := AppendFrame(nil, 0, 0, nil); err == nil {
		t.Error("an empty body was accepted")
	}
	if _, err := AppendFrame(nil, 0, 0, make([]byte, MaxBody+1)); err == nil {
		t.Error("a body over the limit was accepted")
	}
	b, err := AppendFrame(nil, 1<<62, 0, bytes.Repeat([]byte{'x'}, MaxBody))
	if err != nil || len(b) > prefix+MaxRecord {
		t.Errorf("the largest record has %d bytes: %v", len(b), err)
	}
}

// TestEveryFlipIsSeen flips each bit of a short segment: the scan must stop at
// or before the flipped record.
func TestEveryFlipIsSeen(t *testing.T) {
	b := frames(t, 250, 12)
	_, want, err := Scan(b, 250, nil)
	if err != nil || want != 262 {
		t.Fatal(want, err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			valid, next, err := Scan(b, 250, nil)
			if err == nil && next == want {
				t.Fatalf("bit %d of byte %d: not seen", bit, i)
			}
			if valid > i {
				t.Fatalf("bit %d of byte %d: %d bytes called valid", bit, i, valid)
			}
			b[i] ^= 1 << bit
		}
	}
}

func TestScanStopsAtEveryCut(t *testing.T) {
	b := frames(t, 0, 4)
	for cut := range b {
		for _, tail := range [][]byte{nil, make([]byte, 100)} { // without and with a reserve
			valid, _, err := Scan(append(bytes.Clone(b[:cut]), tail...), 0, nil)
			if valid > cut {
				t.Fatalf("cut at %d: %d bytes called valid", cut, valid)
			}
			whole := err == nil
			if whole && cut != valid && NotBlank(b[valid:cut]) >= 0 {
				t.Fatalf("cut at %d inside a record passed for an end", cut)
			}
		}
	}
}

func TestSealRoundTrips(t *testing.T) {
	for _, c := range []struct{ first, n int }{{0, 1}, {0, 256}, {0, 257}, {250, 6}, {250, 7}, {250, 1000}, {255, 1}, {256, 512}} {
		raw := frames(t, int64(c.first), c.n)
		sealed, err := Seal(raw, int64(c.first))
		if err != nil {
			t.Fatal(err)
		}
		back, err := Open(int64(c.first), sealed)
		if err != nil || !bytes.Equal(back, raw) {
			t.Fatalf("%v: does not round trip: %v", c, err)
		}
		table, err := ReadTable(int64(c.first), int64(len(sealed)), func(p []byte, off int64) error { copy(p, sealed[off:]); return nil })
		if err != nil {
			t.Fatal(err)
		}
		for seq := int64(c.first); seq < int64(c.first+c.n); seq += 17 {
			i, ok := table.Find(seq)
			if !ok {
				t.Fatalf("%v: record %d not found", c, seq)
			}
			off, size, first := table.Bundle(i)
			bundle, err := table.Unseal(i, sealed[off:off+size])
			if err != nil {
				t.Fatal(err)
			}
			found := false
			_, _, err = Scan(bundle, first, func(s int64, _ []byte) error { found = found || s == seq; return nil })
			if err != nil || !found {
				t.Fatalf("%v: record %d is not in bundle %d: %v", c, seq, i, err)
			}
		}
	}
}

func TestSealRefusesAReserve(t *testing.T) {
	if _, err := Seal(append(frames(t, 0, 3), 0, 0, 0), 0); err == nil {
		t.Error("sealed a reserve")
	}
	if _, err := Seal(nil, 0); err == nil {
		t.Error("sealed nothing")
	}
}

// TestSealedIsPlainZstd decompresses a sealed segment with the zstd tool.
func TestSealedIsPlainZstd(t *testing.T) {
	tool, err := exec.LookPath("zstd")
	if err != nil {
		if os.Getenv("SOC2_REQUIRE_ALL") != "" {
			t.Fatal("the zstd tool is not installed")
		}
		t.Skip("the zstd tool is not installed")
	}
	raw := frames(t, 100, 600)
	sealed, err := Seal(raw, 100)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), Name(100, true))
	if err := os.WriteFile(name, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "-dc", name).Output()
	if err != nil || !bytes.Equal(out, raw) {
		t.Fatalf("zstd -dc gives %d bytes, want %d: %v", len(out), len(raw), err)
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		name := Name(4096, sealed)
		if first, s, ok := ParseName(name); first != 4096 || s != sealed || !ok {
			t.Errorf("%s: %d %v %v", name, first, s, ok)
		}
	}
	for _, bad := range []string{"", "x.log", "4096.log", "-0000000000000000001.log", "00000000000000004096.log.tmp", "+0000000000000004096.log", "99999999999999999999.log"} {
		if _, _, ok := ParseName(bad); ok {
			t.Errorf("%q is taken for a segment", bad)
		}
	}
}

func TestAppendFrameDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	body := bytes.Repeat([]byte{'x'}, 600)
	if n := testing.AllocsPerRun(100, func() { _, _ = AppendFrame(buf, 1<<40, 0, body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzScan(f *testing.F) {
	f.Add(frames(f, 0, 3))
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		valid, next, _ := Scan(b, 0, nil)
		again, n, err := Scan(b[:valid], 0, nil)
		if err != nil || again != valid || n != next {
			t.Errorf("the valid prefix of %d bytes scans as %d, %d, %v", valid, again, n, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	sealed, err := Seal(frames(f, 250, 20), 250)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = Open(250, b) })
}

// TestSeekTableClaimsNoMoreThanASegmentHas makes tables, in files that are
// mostly holes, which claim more memory than there is.
func TestSeekTableClaimsNoMoreThanASegmentHas(t *testing.T) {
	le := binary.LittleEndian
	table := func(entries int, size, raw uint32) []byte {
		b := le.AppendUint32(nil, 0x184D2A5E)
		b = le.AppendUint32(b, uint32(entries*8+9))
		for range entries {
			b = le.AppendUint32(le.AppendUint32(b, size), raw)
		}
		b = le.AppendUint32(b, uint32(entries))
		return le.AppendUint32(append(b, 0), 0x8F92EAB1)
	}
	for name, c := range map[string]struct {
		entries   int
		size, raw uint32
	}{
		"compressed":   {1, MaxSealedBundle + 1, 10},
		"decompressed": {1, 10, 1 << 30},
		"entries":      {1<<20 + 1, 1, 1},
	} {
		end := table(c.entries, c.size, c.raw)
		hole := int64(c.entries) * int64(c.size)
		_, err := ReadTable(0, hole+int64(len(end)), func(p []byte, off int64) error {
			if len(p) > 8<<20+8 {
				t.Errorf("%s: %d bytes are read at a time", name, len(p))
			}
			copy(p, end[off-hole:])
			return nil
		})
		if !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), "can have") {
			t.Errorf("%s: %v", name, err)
		}
	}
	bundles := 100 // of 16 MiB each
	bomb := append(make([]byte, bundles*10), table(bundles, 10, 16<<20)...)
	if _, err := Open(0, bomb); !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), "at a time") {
		t.Errorf("%v", err)
	}
}
