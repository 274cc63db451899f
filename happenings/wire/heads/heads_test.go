package heads

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// found is a fault and where it is.
type found struct {
	at    int
	fault Fault
}

// scan goes on after each fault, and feeds pieces of the given sizes in turn.
func scan(b []byte, sizes ...int) (list []found) {
	var s Scanner
	for at, turn := 0, 0; at < len(b); turn++ {
		end := min(len(b), at+max(1, sizes[turn%len(sizes)]))
		for at < end {
			n, f := s.Feed(b[at:end])
			if at += n; f != None {
				list = append(list, found{at, f})
			}
			if f == Body {
				return list
			}
		}
	}
	return list
}

// accepted is where net/http finds the heads of requests that it serves, and
// which bytes those heads are.
func accepted(b []byte) (list [][]byte, whole bool) {
	src := bytes.NewReader(b)
	r := bufio.NewReaderSize(src, 4096)
	at := func() int { return len(b) - src.Len() - r.Buffered() }
	post := false
	for {
		if post {
			peek, _ := r.Peek(4)
			n := 0
			for n < len(peek) && (peek[n] == '\r' || peek[n] == '\n') {
				n++
			}
			_, _ = r.Discard(n)
		}
		from := at()
		req, err := http.ReadRequest(r)
		if err != nil || req.ProtoMajor != 1 {
			return list, false
		}
		list = append(list, b[from:at()])
		post = req.Method == http.MethodPost
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return list, false
		}
	}
}

// naive finds faults in a whole head by splitting it.
func naive(head []byte) map[Fault]bool {
	got := map[Fault]bool{}
	lines := strings.Split(strings.ReplaceAll(string(head), "\r\n", "\n"), "\n")
	var lengths []string
	encodings := 0
	for i, line := range lines[1:] {
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			got[Fold] = true
			if name, _, ok := strings.Cut(lines[i], ":"); ok && strings.EqualFold(name, length) && len(lengths) > 0 {
				lengths[len(lengths)-1] = strings.TrimSpace(lengths[len(lengths)-1] + " " + line)
				lines[i+1] = name + ":" // it may go on
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case length:
			lengths = append(lengths, strings.TrimSpace(value))
		case encoding:
			encodings++
		}
	}
	switch {
	case encodings > 0 && len(lengths) > 0:
		got[Conflict] = true
	case encodings > 0 && strings.HasSuffix(lines[0], "HTTP/1.0"):
		got[Encoding] = true
	}
	return got
}

const host = " HTTP/1.1\r\nHost: a\r\n"

var streams = []string{
	"GET /" + host + "\r\n",
	"GET /" + host + "\r\nGET /" + host + "\r\n",
	"POST /" + host + "Content-Length: 3\r\n\r\nabc\r\n\r\nGET /" + host + "\r\n",
	"POST /" + host + "content-length:3 \r\n\r\nabcGET /" + host + "\r\n",
	"PUT /" + host + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabcGET /" + host + "\r\n",
	"PUT /" + host + "Content-Length: 3\r\nContent-Length: 03\r\n\r\nabcGET /" + host + "\r\n",
	"PUT /" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /" + host + "\r\n",
	"PUT /" + host + "TRANSFER-encoding:\tChunked\t\r\n\r\n00A;x=\"y\"\r\n0123456789\r\n1 \r\na\r\n0\r\nA: b\r\n c\r\n\r\nGET /" + host + "\r\n",
	"PUT /" + host + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /" + host + "\r\n",
	"PUT /" + host + "Content-Length:\n 2\r\n\r\nabGET /" + host + "\r\n",
	"PUT /" + host + "Content-Length: 2\n 2\r\n\r\nabGET /" + host + "\r\n",
	"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\nGET /" + host + "\r\n",
	"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n0\r\nGET /" + host + "\r\n",
	"GET / HTTP/1.1\nHost: a\n\nGET /" + host + "X: y\r\n\tz\r\n\r\nGET /" + host + "\r\n",
	"GET /" + host + "Content_Length: 1\r\nContent-Length : 4\r\nContent-Lengthy: 4\r\nContent-Lengt: 1\r\nC\r\n\r\n",
	"PUT /" + host + "Transfer-Encoding: chunked\r\n\r\n1\nab\r\n",
	"PUT /" + host + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
	"PUT /" + host + "Transfer-Encoding: chunked\r\n\r\n12345678901234567\r\n",
	"PUT /" + host + "Content-Length: 9223372036854775808\r\n\r\n",
	"PUT /" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"\r\nGET /" + host + "\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\x16\x03\x01\x00\n \x00HTTP/1.1\n\n a: b\n c",
}

// checkStream compares the faults in what net/http serves with what they
// naively are, and with those that are found in pieces.
func checkStream(t *testing.T, b []byte, sizes ...int) {
	t.Helper()
	heads, whole := accepted(b)
	got := scan(b, len(b))
	if again := scan(b, sizes...); !slices.Equal(got, again) {
		t.Errorf("%q: in pieces of %v other faults are found: %v, %v", b, sizes, again, got)
	}
	if whole && len(got) > 0 && got[len(got)-1].fault == Body {
		t.Fatalf("%q: net/http reads the body that the scanner takes for malformed: %v", b, got)
	}
	for _, head := range heads {
		from := cap(b) - cap(head)
		want := naive(head)
		for _, f := range got {
			if f.at < from || f.at >= from+len(head) {
				continue
			}
			if !want[f.fault] {
				t.Errorf("%q: fault %d in %q", b, f.fault, head)
			}
			delete(want, f.fault)
		}
		if len(want) > 0 {
			t.Errorf("%q: no fault %v in %q", b, want, head)
		}
	}
}

// ends is where the scanner takes heads to end, as the number of bytes up to
// there.
func ends(b []byte) (list []int) {
	var s Scanner
	for at := 0; at < len(b); {
		before := s.Heads()
		n, f := s.Feed(b[at : at+1])
		at += n
		if f == Body {
			break
		}
		if s.Heads() != before {
			list = append(list, at)
		}
	}
	return list
}

// TestHeadsEndWhereNetHTTPEndsThem compares with net/http's own parser.
func TestHeadsEndWhereNetHTTPEndsThem(t *testing.T) {
	for _, b := range streams {
		sameEnds(t, []byte(b))
		checkStream(t, []byte(b), 1)
		checkStream(t, []byte(b), 1, 2, 3)
	}
}

func sameEnds(t *testing.T, b []byte) {
	t.Helper()
	heads, _ := accepted(b)
	got := ends(b)
	for i, head := range heads {
		end := cap(b) - cap(head) + len(head)
		if i >= len(got) || got[i] != end {
			t.Fatalf("%q: head %d ends at %d for net/http, and at %v for the scanner", b, i, end, got)
		}
	}
}

// TestFaultsAreFound in the order of the bytes.
func TestFaultsAreFound(t *testing.T) {
	for send, want := range map[string]Fault{
		"GET /" + host + "\r\n": None,
		"GET /" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n":                     Conflict,
		"GET /" + host + "TRANSFER-ENCODING: x\r\ncontent-length:\r\n\r\n":                             Conflict,
		"GET /" + host + "Content-Length: 1\r\nA: b\r\nContent-Length: 2\r\n\r\n":                      Lengths,
		"GET /" + host + "Content-Length: 1\r\nContent-Length: 01\r\n\r\n":                             Lengths,
		"GET /" + host + "Content-Length: 1\r\nContent-Length:  1 \r\n\r\n":                            None,
		"GET /" + host + "A: b\r\n c\r\n\r\n":                                                          Fold,
		"GET /" + host + "A: b\n\t\n\n":                                                                Fold,
		"GET / HTTP/1.1\r\n Host: a\r\n\r\n":                                                           None,
		"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n":                                         Encoding,
		"GET / HTTP/1.0\nTransfer-Encoding: chunked\n\n":                                               Encoding,
		"PUT /" + host + "Transfer-Encoding: chunked\r\n\r\n0\n":                                       Body,
		"PUT /" + host + "Content-Length: 40\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n":              None,
		"PUT /" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n c\r\n": Fold,
	} {
		var s Scanner
		n, f := s.Feed([]byte(send))
		if f != want {
			t.Errorf("%q: fault %d, want %d", send, f, want)
		}
		if f == None && n != len(send) {
			t.Errorf("%q: %d bytes taken", send, n)
		}
	}
}

// TestPoisonIsRefused holds that net/http refuses a head when what Poison says
// takes the place of the byte at a fault.
func TestPoisonIsRefused(t *testing.T) {
	for _, b := range streams {
		poisoned(t, []byte(b))
	}
}

func poisoned(t *testing.T, b []byte) {
	t.Helper()
	var s Scanner
	n, f := s.Feed(b)
	if f == None {
		return
	}
	before, _ := accepted(b)
	after, whole := accepted(append(append([]byte{}, b[:n]...), Poison...))
	most := s.Heads()
	if whole || int64(len(after)) > most || f != Body && len(before) > int(most) && int64(len(after)) != most {
		t.Fatalf("%q: fault %d at %d after %d heads, and net/http serves %d, of %d", b, f, n, most, len(after), len(before))
	}
}

// FuzzHeads compares with net/http's parser, in pieces.
func FuzzHeads(f *testing.F) {
	for _, s := range streams {
		f.Add([]byte(s), uint8(1), uint8(7))
	}
	f.Fuzz(func(t *testing.T, b []byte, one, two uint8) {
		b = slices.Clip(b)
		sameEnds(t, b)
		checkStream(t, b, int(one), int(two))
		poisoned(t, b)
	})
}

// BenchmarkRequest is what a request of a browser costs.
func BenchmarkRequest(b *testing.B) {
	for name, head := range map[string]string{
		"short":   "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"browser": browser + "\r\n",
		"body":    "POST" + browser[3:] + "Content-Length: " + strconv.Itoa(len(payload)) + "\r\n\r\n" + payload,
		"chunked": "POST" + browser[3:] + "Transfer-Encoding: chunked\r\n\r\n400\r\n" + payload + "\r\n0\r\n\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			var s Scanner
			in := []byte(head)
			b.ReportAllocs()
			for b.Loop() {
				if n, f := s.Feed(in); n != len(in) || f != None {
					b.Fatal(n, f)
				}
			}
		})
	}
}

var payload = strings.Repeat("0123456789abcdef", 64)

const browser = "GET /assets/app.js HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n"
