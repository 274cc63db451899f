package audit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
)

// The members of a coder that are more than one text or number.

// list is a list of texts. An empty one is not written.
func (c *coder) list(path string, p *[]string, items int) {
	if c.in != nil {
		c.readList(path, p)
		return
	}
	if len(*p) == 0 {
		return
	}
	kept := c.keep(path, len(*p), items)
	c.key(path[c.skip:])
	c.b = append(c.b, '[')
	for i, s := range (*p)[:kept] {
		if i > 0 {
			c.b = append(c.b, ',')
		}
		c.quote(c.cut(path, s, maxText))
		if c.full() {
			break
		}
	}
	c.b = append(c.b, ']')
}

// keep returns how many of n items are kept.
func (c *coder) keep(path string, n, items int) int {
	kept := min(n, items, c.limit.items)
	if kept < n {
		c.note(path, int64(n-kept))
	}
	return kept
}

// headers is a list of header fields, each a pair of name and value.
func (c *coder) headers(path string, p *[]Header) {
	if c.in != nil {
		c.readHeaders(path, p)
		return
	}
	if len(*p) == 0 {
		return
	}
	mark := len(c.b)
	c.key(path[c.skip:])
	c.b = append(c.b, '[')
	first := len(c.b)
	for _, h := range (*p)[:c.keep(path, len(*p), maxItems)] {
		at := len(c.b)
		if at > first {
			c.b = append(c.b, ',')
		}
		c.b = append(c.b, '[')
		c.quote(c.cut(path, h.Name, maxText))
		c.b = append(c.b, ',')
		c.quote(c.cut(path, h.Value, maxValue))
		c.b = append(c.b, ']')
		if len(c.b)-at > c.limit.header {
			c.b = c.b[:at]
			c.note(path, 1)
		}
		if c.full() {
			break
		}
	}
	if len(c.b) == first {
		c.b = c.b[:mark]
		return
	}
	c.b = append(c.b, ']')
}

// counts is an object of counters. A name that is too long is left out, not
// cut, so that no two become the same.
func (c *coder) counts(path string, p *[]Count, items int) {
	if c.in != nil {
		c.readCounts(path, p)
		return
	}
	if len(*p) == 0 {
		return
	}
	mark := c.encoder.open(path[c.skip:])
	c.counters(path, *p, items)
	c.encoder.close(mark)
}

func (c *coder) counters(path string, counts []Count, items int) {
	for _, n := range counts[:c.keep(path, len(counts), items)] {
		if len(n.Name) > min(maxText, c.limit.text) {
			c.note(path, 1)
			continue
		}
		c.name(n.Name)
		c.b = strconv.AppendInt(c.b, n.N, 10)
		if c.full() {
			break
		}
	}
}

// name starts a member whose name comes from outside.
func (c *coder) name(s string) {
	if c.b[len(c.b)-1] != '{' {
		c.b = append(c.b, ',')
	}
	c.quote(s)
	c.b = append(c.b, ':')
}

// blob is bytes, in base64 (RFC 4648, section 4). They are whole or left out.
func (c *coder) blob(path string, p *[]byte, limit int) {
	switch {
	case c.in != nil:
		c.readBlob(path, p)
	case len(*p) > limit:
		c.note(path, 1)
	case len(*p) > 0:
		c.key(path)
		c.b = append(c.b, '"')
		c.b = base64.StdEncoding.AppendEncode(c.b, *p)
		c.b = append(c.b, '"')
	}
}

// json is a member that is JSON itself. If it is too long, or not the compact
// JSON that it should be, the record has only its size and its SHA-256.
func (c *coder) json(path string, p *JSON) {
	if c.in != nil {
		c.readJSON(path, p)
		return
	}
	if len(p.Value) == 0 {
		count(c, path+"_bytes", &p.Bytes)
		c.text(path+"_sha256", &p.SHA256, maxText)
		return
	}
	mark := len(c.b)
	if c.limit.json && len(p.Value) <= maxJSON && validJSON(p.Value) {
		c.key(path)
		at := len(c.b)
		if c.b = appendSafe(c.b, p.Value); len(c.b)-at <= maxJSON {
			return
		}
		c.b = c.b[:mark]
	}
	c.note(path, 0)
	hash := sha256.Sum256(p.Value)
	c.number(path+"_bytes", int64(len(p.Value)))
	c.key(path + "_sha256")
	c.b = append(c.b, '"')
	c.b = hex.AppendEncode(c.b, hash[:])
	c.b = append(c.b, '"')
}

// query is the query string of a request. Only its keys are written. Values,
// and parts without a key, are secrets often enough that each becomes a star:
// a=1&b=2&xyz is a=*&b=*&*. What does not fit is cut between two parts.
func (c *coder) query(path string, p *string) {
	if c.in != nil {
		c.readText(path, p)
		return
	}
	limit := min(maxQuery, c.limit.text)
	mark, size := len(c.b), 0
	for raw := *p; raw != ""; {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		key, _, ok := strings.Cut(part, "=")
		if !ok {
			key = ""
		}
		if size += len(key) + len("=*&"); size > limit {
			c.note(path, 0)
			break
		}
		if len(c.b) == mark {
			c.key(path[c.skip:])
			c.b = append(c.b, '"')
		} else {
			c.escape("&")
		}
		if ok {
			c.escape(key)
			c.b = append(c.b, '=')
		}
		c.b = append(c.b, '*')
	}
	if len(c.b) > mark {
		c.b = append(c.b, '"')
	}
}
