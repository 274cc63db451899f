package timestamp_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
)

// golden is an anchor in testdata. OpenSSL 3.0.19 made its time stamp with a
// certificate that expired a minute later.
type golden struct {
	size           int64
	note, response []byte
	roots          *x509.CertPool
	key            note.Verifier
	at             time.Time
}

func load(t testing.TB) golden {
	t.Helper()
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	g := golden{
		size: 286403, note: read("00000000000000286403.checkpoint"), response: read("00000000000000286403.tsr"),
		roots: x509.NewCertPool(), at: time.Date(2026, 11, 21, 7, 54, 30, 0, time.UTC),
	}
	if !g.roots.AppendCertsFromPEM(read("root.pem")) {
		t.Fatal("no root")
	}
	var err error
	if g.key, err = note.NewVerifier(strings.TrimSpace(string(read("log.pub")))); err != nil {
		t.Fatal(err)
	}
	return g
}

// files is a log's directory with the golden anchor.
func (g golden) files() fstest.MapFS {
	return fstest.MapFS{
		timestamp.CheckpointPath(g.size): {Data: bytes.Clone(g.note)},
		timestamp.ResponsePath(g.size):   {Data: bytes.Clone(g.response)},
	}
}

// TestStampsOutliveTheirCertificate verifies a stamp whose certificate expired
// long ago.
func TestStampsOutliveTheirCertificate(t *testing.T) {
	g := load(t)
	s, err := timestamp.Verify(g.response, g.note, g.roots)
	if err != nil {
		t.Fatal(err)
	}
	if want := (timestamp.Stamp{Time: g.at, Accuracy: time.Second, TSA: "CN=Golden time stamps,O=Golden", Policy: "1.2.3.4.1", Serial: "2"}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	if _, err := timestamp.Verify(g.response, g.note, x509.NewCertPool()); !errors.Is(err, timestamp.ErrUntrusted) {
		t.Errorf("no root: %v", err)
	}
	if _, err := timestamp.Verify(g.response, g.note, nil); !errors.Is(err, timestamp.ErrUntrusted) {
		t.Errorf("nil roots: %v", err)
	}
	if _, err := timestamp.Verify(g.response, append(bytes.Clone(g.note), '\n'), g.roots); !errors.Is(err, timestamp.ErrMismatch) {
		t.Errorf("another note: %v", err)
	}
}

// TestNoChangedByteChangesWhatIsSaid flips each bit of a response, and cuts it
// anywhere: it is refused, or says the same as before.
func TestNoChangedByteChangesWhatIsSaid(t *testing.T) {
	g := load(t)
	want, err := timestamp.Verify(g.response, g.note, g.roots)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range g.response {
		if _, err := timestamp.Verify(g.response[:i], g.note, g.roots); err == nil {
			t.Fatalf("cut at %d: accepted", i)
		}
		for bit := range 8 {
			b := bytes.Clone(g.response)
			b[i] ^= 1 << bit
			s, err := timestamp.Verify(b, g.note, g.roots)
			if err == nil && s != want {
				t.Fatalf("bit %d of byte %d: %+v", bit, i, s)
			}
			if err != nil {
				refused++
			}
		}
	}
	t.Logf("%d of %d flips refused", refused, 8*len(g.response))
	if refused < 7*len(g.response) {
		t.Error("too many flips are not seen")
	}
}

func TestVerifyIsSafeForConcurrentUse(t *testing.T) {
	g := load(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := timestamp.Verify(g.response, g.note, g.roots); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAnchorsOfALogAreChecked(t *testing.T) {
	g := load(t)
	other, _, err := note.GenerateKey(nil, "edge-1/soc2")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(other)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := note.Sign(&note.Note{Text: "edge-1/soc2\n286403\nLjKrDVhqK0Trv8FNvfXJENgfBwgDcI3iNKDK2Y2T4B0=\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	cp, tsr := timestamp.CheckpointPath(g.size), timestamp.ResponsePath(g.size)
	for name, c := range map[string]struct {
		change    func(fstest.MapFS)
		names     string // file of the problem; empty if there is none
		anchors   int
		unstamped int
	}{
		"as it is":               {func(fstest.MapFS) {}, "", 1, 0},
		"no anchors":             {func(f fstest.MapFS) { clear(f) }, "", 0, 0},
		"no stamp":               {func(f fstest.MapFS) { delete(f, tsr) }, "", 0, 1},
		"no checkpoint":          {func(f fstest.MapFS) { delete(f, cp) }, tsr, 0, 0},
		"another size":           {func(f fstest.MapFS) { f[timestamp.CheckpointPath(5)], f[timestamp.ResponsePath(5)] = f[cp], f[tsr] }, timestamp.CheckpointPath(5), 1, 0},
		"another key":            {func(f fstest.MapFS) { f[cp].Data = strange }, cp, 0, 0},
		"a changed checkpoint":   {func(f fstest.MapFS) { f[cp].Data[14]++ }, cp, 0, 0},
		"a changed stamp":        {func(f fstest.MapFS) { f[tsr].Data[400]++ }, tsr, 0, 0},
		"an empty stamp":         {func(f fstest.MapFS) { f[tsr].Data = nil }, tsr, 0, 0},
		"a huge stamp":           {func(f fstest.MapFS) { f[tsr].Data = make([]byte, 1<<20) }, tsr, 0, 0},
		"a huge checkpoint":      {func(f fstest.MapFS) { f[cp].Data = make([]byte, 1<<20) }, cp, 0, 0},
		"a foreign file":         {func(f fstest.MapFS) { f["anchors/x"] = &fstest.MapFile{} }, "anchors/x", 1, 0},
		"a number not in digits": {func(f fstest.MapFS) { f["anchors/286403.tsr"] = f[tsr] }, "anchors/286403.tsr", 1, 0},
		"a folder":               {func(f fstest.MapFS) { f["anchors/00000000000000000009.tsr/x"] = f[tsr] }, "anchors/00000000000000000009.tsr", 1, 0},
		"an interrupted write":   {func(f fstest.MapFS) { f[tsr+".tmp"] = f[tsr] }, "", 1, 0},
	} {
		files := g.files()
		c.change(files)
		got, err := timestamp.Check(files, []note.Verifier{g.key}, g.roots)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got.List) != c.anchors || len(got.Unstamped) != c.unstamped || (len(got.Problems) == 0) != (c.names == "") || c.names != "" && got.Problems[0].Path != c.names {
			t.Errorf("%s: %+v", name, got)
		}
		if c.anchors == 1 && (got.List[0].Size != g.size || !got.List[0].Time.Equal(g.at) || got.List[0].Root.String() != "LjKrDVhqK0Trv8FNvfXJENgfBwgDcI3iNKDK2Y2T4B0=") {
			t.Errorf("%s: %+v", name, got.List[0])
		}
	}
	got, err := timestamp.Check(g.files(), []note.Verifier{g.key}, nil)
	if err != nil || len(got.List) != 1 || got.List[0].Verified || !got.List[0].Time.IsZero() {
		t.Errorf("without roots: %+v, %v", got, err)
	}
	if _, err := timestamp.Check(unreadable{}, nil, nil); err == nil {
		t.Error("an unreadable folder is no error")
	}
}

type unreadable struct{}

func (unreadable) Open(string) (fs.File, error) { return nil, fs.ErrPermission }

func TestPathsReadBack(t *testing.T) {
	for _, size := range []int64{0, 7, 286403, 1<<63 - 1} {
		for path, want := range map[string]bool{timestamp.CheckpointPath(size): false, timestamp.ResponsePath(size): true} {
			if got, stamp, ok := timestamp.ParsePath(path); !ok || got != size || stamp != want {
				t.Errorf("%s: %d, %v, %v", path, got, stamp, ok)
			}
		}
	}
	for _, path := range []string{"", "anchors/", "anchors/.tsr", "00000000000000000007.tsr", "anchors/7.tsr", "anchors/-0000000000000000007.tsr", "anchors/+0000000000000000007.tsr", "anchors/00000000000000000007.TSR", "anchors/x/00000000000000000007.tsr", "anchors/99999999999999999999.tsr"} {
		if _, _, ok := timestamp.ParsePath(path); ok {
			t.Errorf("%q was taken", path)
		}
	}
}

// FuzzVerify finds neither a panic, nor a response that says something else than
// the golden one, nor one that takes long.
func FuzzVerify(f *testing.F) {
	g := load(f)
	want, err := timestamp.Verify(g.response, g.note, g.roots)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(g.response)
	f.Add([]byte{0x30, 0x80, 0x30, 0x80})
	f.Add(bytes.Repeat([]byte{0x30, 0x82, 0x7f, 0xff}, 1000))
	f.Fuzz(func(t *testing.T, response []byte) {
		began := time.Now()
		s, err := timestamp.Verify(response, g.note, g.roots)
		if err == nil && s != want {
			t.Errorf("%+v", s)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%v for %d bytes", took, len(response))
		}
	})
}

// FuzzOverwritten writes bytes over a part of the golden response, so that what
// is around them stays well formed and the parsers behind are reached.
func FuzzOverwritten(f *testing.F) {
	g := load(f)
	want, err := timestamp.Verify(g.response, g.note, g.roots)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(100), []byte{0})
	f.Add(uint16(400), []byte{2, 1, 0})
	f.Fuzz(func(t *testing.T, at uint16, with []byte) {
		response := bytes.Clone(g.response)
		copy(response[int(at)%len(response):], with)
		began := time.Now()
		s, err := timestamp.Verify(response, g.note, g.roots)
		if err == nil && s != want {
			t.Errorf("%+v", s)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%v", took)
		}
	})
}
