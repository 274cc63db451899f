package pack

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
)

// compare returns a writer that compares what is written with a file.
func (c *logCheck) compare(name string) (io.WriteCloser, error) {
	path := c.path(name)
	c.v.used[path] = true
	e := c.v.archive.Entry(path)
	if e == nil {
		return nil, c.v.stop("%s is missing", path)
	}
	return &comparer{v: c.v, path: path, in: bufio.NewReaderSize(c.v.archive.Open(e), 64<<10), row: 1}, nil
}

// comparer compares.
type comparer struct {
	v    *verifier
	path string
	in   *bufio.Reader
	buf  []byte
	row  int64
	bad  bool
}

func (c *comparer) Write(b []byte) (int, error) {
	if c.bad {
		return len(b), nil
	}
	if cap(c.buf) < len(b) {
		c.buf = make([]byte, len(b))
	}
	got := c.buf[:len(b)]
	n, _ := io.ReadFull(c.in, got)
	if n == len(b) && bytes.Equal(got, b) {
		c.row += int64(bytes.Count(b, []byte("\n")))
		return len(b), nil
	}
	at := 0
	for at < n && got[at] == b[at] {
		at++
	}
	c.bad = true
	c.v.problem("%s: line %d is not the one that the records give: a row is missing, was added or was changed", c.path, c.row+int64(bytes.Count(b[:at], []byte("\n"))))
	return len(b), nil
}

func (c *comparer) Close() error {
	if c.bad {
		return nil
	}
	if _, err := c.in.ReadByte(); err == nil {
		c.v.problem("%s: it goes on after line %d, the last that the records give", c.path, c.row-1)
	}
	return nil
}

// compareReports lists where a report is not the one that was made again.
func compareReports(got, want *Report) []string {
	a, err1 := generic(got)
	b, err2 := generic(want)
	if err1 != nil || err2 != nil {
		return []string{"it cannot be compared"}
	}
	var list []string
	differ("", a, b, &list)
	return list
}

// differ compares two JSON values.
func differ(path string, got, want any, list *[]string) {
	if len(*list) >= 20 {
		return
	}
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		names := maps.Clone(g)
		maps.Copy(names, w)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			differ(path+"."+name, g[name], w[name], list)
		}
		return
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		for i := range max(len(g), len(w)) {
			var x, y any
			if i < len(g) {
				x = g[i]
			}
			if i < len(w) {
				y = w[i]
			}
			differ(fmt.Sprintf("%s[%d]", path, i), x, y, list)
		}
		return
	}
	x, _ := json.Marshal(got)
	y, _ := json.Marshal(want)
	if !bytes.Equal(x, y) {
		*list = append(*list, fmt.Sprintf("%s is %s, but the records give %s", path[min(1, len(path)):], short(x), short(y)))
	}
}

func short(b []byte) string {
	if string(b) == "null" {
		return "not there"
	}
	if len(b) > 80 {
		return string(b[:80]) + "…"
	}
	return string(b)
}

// Notes splits a file of signed notes, each of which follows the one before
// after an empty line.
func Notes(b []byte) ([][]byte, error) { return checkpoint.Several(b) }
