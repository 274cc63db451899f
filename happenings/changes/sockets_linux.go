package changes

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// maxSockets bounds how many lines of a table of the kernel are read: it has
// those of all processes of the network namespace.
const maxSockets = 1 << 20

// listening returns the sockets on which this process listens, as the kernel
// knows them.
func listening() ([]where, error) {
	own, err := ownSockets()
	if err != nil {
		return nil, fmt.Errorf("looking for this process's sockets: %w", err)
	}
	var list []where
	for _, table := range []struct {
		name string
		read func(io.Reader, map[string]bool) []where
	}{
		{"tcp", readTCP}, {"tcp6", readTCP}, {"unix", readUnix},
	} {
		f, err := os.Open("/proc/self/net/" + table.name)
		if os.IsNotExist(err) {
			continue // no IPv6 here
		}
		if err != nil {
			return nil, fmt.Errorf("looking for listening sockets: %w", err)
		}
		list = append(list, table.read(f, own)...)
		_ = f.Close()
	}
	return list, nil
}

// ownSockets returns the inodes of this process's sockets.
func ownSockets() (map[string]bool, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, e := range entries {
		target, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			continue // closed since
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return own, nil
}

// readTCP reads /proc/net/tcp or tcp6: "sl local remote st … inode".
func readTCP(r io.Reader, own map[string]bool) (list []where) {
	const listen = "0A"
	lines := bufio.NewScanner(r)
	for n := 0; lines.Scan() && n < maxSockets; n++ {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != listen || !own[f[9]] {
			continue
		}
		if w, ok := parseSocket(f[1]); ok {
			list = append(list, w)
		}
	}
	return list
}

// parseSocket reads an address of the kernel: words of four bytes in the
// machine's order, in hex, and the port.
func parseSocket(text string) (where, bool) {
	host, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if !ok || err != nil || len(b) != 4 && len(b) != 16 {
		return where{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	ip, good := netip.AddrFromSlice(b)
	return where{host: ip.Unmap().String(), port: uint16(p)}, err == nil && good
}

// readUnix reads /proc/net/unix: "num refcount protocol flags type state inode path".
func readUnix(r io.Reader, own map[string]bool) (list []where) {
	const accepts = 1 << 16 // __SO_ACCEPTCON
	lines := bufio.NewScanner(r)
	for n := 0; lines.Scan() && n < maxSockets; n++ {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || !own[f[6]] {
			continue
		}
		flags, err := strconv.ParseUint(f[3], 16, 64)
		if err != nil || flags&accepts == 0 {
			continue
		}
		_, path, _ := strings.Cut(lines.Text(), " "+f[6]+" ") // it may have spaces
		list = append(list, where{unix: true, path: path})
	}
	return list
}
