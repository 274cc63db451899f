package reconcile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"strings"
	"time"
)

// maxLine is the longest line of an access log that is read.
const maxLine = 1 << 20

// entry is a request as the access log has it.
type entry struct {
	id     id // zero: it has none
	start  time.Time
	status int
}

// errNoEntry means that a line is of something else than a request.
var errNoEntry = errors.New("it is not of a request")

// parseEntry reads a line of Caddy's access log (its JSON encoder with the
// default names). ts is when the request ended.
func parseEntry(line []byte) (e entry, err error) {
	var v struct {
		Logger   string              `json:"logger"`
		TS       json.RawMessage     `json:"ts"`
		Duration json.RawMessage     `json:"duration"`
		Status   *int                `json:"status"`
		Request  *struct{}           `json:"request"`
		Headers  map[string][]string `json:"resp_headers"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return e, fmt.Errorf("it is not JSON: %w", err)
	}
	if v.Status == nil || v.Request == nil || v.Logger != "" && !strings.HasPrefix(v.Logger, "http.log.access") {
		return e, errNoEntry
	}
	if *v.Status < 0 || *v.Status > 999 {
		return e, fmt.Errorf("its status, %d, is none", *v.Status)
	}
	end, err := parseTime(v.TS)
	if err != nil {
		return e, err
	}
	took, err := parseDuration(v.Duration)
	if err != nil {
		return e, err
	}
	e.status, e.start = *v.Status, end.Add(-took)
	for name, values := range v.Headers {
		if strings.EqualFold(name, "X-Request-Id") && len(values) == 1 {
			if parsed, ok := parseID(values[0]); ok {
				e.id, e.start = parsed, parsed.time()
			}
		}
	}
	return e, nil
}

// parseTime reads a time in seconds, milliseconds or nanoseconds since 1970, or
// as RFC 3339 or ISO 8601.
func parseTime(raw json.RawMessage) (time.Time, error) {
	var n float64
	if json.Unmarshal(raw, &n) == nil {
		switch {
		case n > 1e8 && n < 1e11:
			s, part := math.Modf(n)
			return time.Unix(int64(s), int64(part*1e9)).UTC(), nil
		case n > 1e11 && n < 1e14:
			return time.UnixMilli(int64(n)).UTC(), nil
		case n > 1e17 && n < 9e18:
			return time.Unix(0, int64(n)).UTC(), nil
		}
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700"} {
			if t, err := time.Parse(form, s); err == nil {
				return t.UTC(), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("its ts, %.40s, is no time that can be read: configure the encoder with time_format rfc3339_nano or without one", raw)
}

// parseDuration reads a duration in seconds, or as text.
func parseDuration(raw json.RawMessage) (time.Duration, error) {
	if len(raw) == 0 {
		return 0, nil
	}
	var n float64
	if json.Unmarshal(raw, &n) == nil && n >= 0 && n < 1e9 {
		return time.Duration(n * 1e9), nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		if d, err := time.ParseDuration(s); err == nil && d >= 0 {
			return d, nil
		}
	}
	return 0, fmt.Errorf("its duration, %.40s, cannot be read", raw)
}

// id is that of a request, a UUIDv7.
type id [16]byte

// parseID reads an id in the one form in which responses carry it.
func parseID(s string) (v id, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || strings.ToLower(s) != s {
		return v, false
	}
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil || b[6]>>4 != 7 {
		return v, false
	}
	return id(b), true
}

func (v id) String() string {
	s := hex.EncodeToString(v[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// time is when the request began, to the millisecond (RFC 9562, section 5.7).
func (v id) time() time.Time {
	var ms int64
	for _, b := range v[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

// File is an access log that was read.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // in hex
}

// readFile calls fn for each line of a file, which may be compressed with gzip.
// A line that is too long is given as nil.
func readFile(name string, fn func(line []byte) error) (f File, err error) {
	file, err := os.Open(name)
	if err != nil {
		return f, fmt.Errorf("reading the access log: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	sum := sha256.New()
	counted := &counter{r: file, sum: sum}
	in := bufio.NewReaderSize(counted, 1<<16)
	var text io.Reader = in
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if text, err = gzip.NewReader(in); err != nil {
			return f, fmt.Errorf("reading the access log %s: %w", name, err)
		}
	}
	if err := lines(text, fn); err != nil {
		return f, fmt.Errorf("reading the access log %s: %w", name, err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return f, fmt.Errorf("reading the access log %s: %w", name, err)
	}
	return File{name, counted.n, hex.EncodeToString(sum.Sum(nil))}, nil
}

func lines(text io.Reader, fn func(line []byte) error) error {
	in := bufio.NewReaderSize(text, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			line, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if long {
			line = nil
		}
		if long || len(bytes.TrimSpace(line)) > 0 {
			if ferr := fn(line); ferr != nil {
				return ferr
			}
		}
		if err != nil {
			return nil
		}
	}
}

// counter counts and hashes what is read.
type counter struct {
	r   io.Reader
	sum hash.Hash
	n   int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}
