package changes

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestListeningSocketsAreThoseOfThisProcess(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "with space.sock")
	unix, err := net.Listen("unix", path) //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	has := func(address string) bool {
		list, err := listening()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list, parseWhere(address).covers)
	}
	if !has(tcp.Addr().String()) || !has("unix/"+path) {
		t.Error("an open socket is not seen")
	}
	_, _ = tcp.Close(), unix.Close()
	if has(tcp.Addr().String()) || has("unix/"+path) {
		t.Error("a closed socket is seen")
	}
}

func FuzzTablesOfSockets(f *testing.F) {
	f.Add("  0: 0100007F:07E3 00000000:0000 0A 0:0 0:0 0 0 0 42 1\n", "0000: 00000002 00000000 00010000 0001 01 42 /run/a b\n")
	f.Fuzz(func(t *testing.T, tcp, unix string) {
		own := map[string]bool{"42": true}
		_ = readTCP(strings.NewReader(tcp), own)
		_ = readUnix(strings.NewReader(unix), own)
	})
}
