package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// Record is a record that was read back.
type Record struct {
	Seq      int64     // index of the record in the log
	Pos      int64     // place in its commit, from 0
	Time     time.Time // in UTC
	Kind     Kind
	Instance string
	Body     Body // nil if it is of a kind that this version does not know
}

// Body is what a record says: a pointer to the type of its kind, such as
// *Event or *ConfigChange.
type Body interface {
	// AppendBody appends the record, without the members that the log adds
	// (package segment), to dst. What it appends always fits in a record; what
	// is longer is shortened by the rules in docs/records.md.
	AppendBody(dst []byte, instance string) []byte
	members(c *coder)
}

// Decode reads a record. Members that it does not know are passed over, as
// later versions may add some; all others must be what the schema says. It does
// not verify the record's checksum, which segment.Check does.
func Decode(record []byte) (Record, error) {
	d, _ := decoders.Get().(*decoder)
	r, err := d.decode(record)
	decoders.Put(d)
	if err != nil {
		return Record{}, fmt.Errorf("reading record: %w", err)
	}
	return r, nil
}

// decoder is what reading a record needs. Decoders are pooled.
type decoder struct {
	coder
	reader
}

var decoders = sync.Pool{New: func() any { return &decoder{} }}

func (d *decoder) decode(record []byte) (r Record, err error) {
	if !utf8.Valid(record) {
		return r, errors.New("it is not UTF-8")
	}
	if d.top, err = members(d.space[:0], string(record)); err != nil {
		return r, err
	}
	c := &d.coder
	*c = coder{in: &d.reader}
	if v := c.readNumber("v", true); c.err == nil && v != segment.Version {
		return r, fmt.Errorf("it has version %d, and this program reads version %d", v, segment.Version)
	}
	r.Seq, r.Pos = c.readNumber("seq", true), c.readNumber("pos", true)
	c.readText("kind", (*string)(&r.Kind))
	if r.Kind == "" {
		c.fail("kind", errMissing)
	}
	c.begin(r.Kind, &r.Time)
	r.Instance = c.instance
	if c.err != nil {
		return r, c.err
	}
	if body := blank(r.Kind); body != nil {
		d.at = 0
		body.members(c)
		r.Body = body
	}
	return r, c.err
}

// Unescape gives back the bytes of a text that a record holds, after JSON's
// own escapes were undone: it replaces each \xHH by the byte. It returns false
// if the text was not written by these rules, because it has another backslash.
// Texts that Decode returns are already unescaped.
func Unescape(text string) ([]byte, bool) {
	out := make([]byte, 0, len(text))
	for {
		before, after, found := strings.Cut(text, `\`)
		out = append(out, before...)
		if !found {
			return out, true
		}
		if len(after) < 3 || after[0] != 'x' {
			return nil, false
		}
		high, low := unhex(after[1]), unhex(after[2])
		if high < 0 || low < 0 {
			return nil, false
		}
		out = append(out, byte(high<<4|low))
		text = after[3:]
	}
}

// reader holds a record while it is read: its members and those of the object
// that is open.
type reader struct {
	top, sub []field
	at       int // where in the members the next one is, in the order of the encoder
	back     int // at, while an object is open
	space    [64]field
	subspace [16]field
}

var (
	errMissing = errors.New("it is missing")
	errText    = errors.New(`a text with a backslash that is not \xHH`)
)

// fail keeps the first error.
func (c *coder) fail(path string, err error) {
	if c.err == nil {
		c.err = fmt.Errorf("member %q: %w", path, err)
	}
}

// get returns the value of a member, or nothing. Members are mostly asked for in
// the order in which they are there.
func (c *coder) get(path string) string {
	list := c.in.top
	if c.skip > 0 {
		list = c.in.sub
	}
	name := path[c.skip:]
	for i := c.in.at; i < len(list); i++ {
		if list[i].key == name {
			c.in.at = i
			return list[i].value
		}
	}
	for i := range min(c.in.at, len(list)) {
		if list[i].key == name {
			return list[i].value
		}
	}
	return ""
}

func (c *coder) readObject(name string) {
	skip := c.skip
	c.skip = 0
	v := c.get(name)
	c.skip, c.in.back, c.in.at = skip, c.in.at, 0
	c.in.sub = c.in.subspace[:0]
	if v == "" {
		return
	}
	var err error
	if c.in.sub, err = members(c.in.sub, v); err != nil {
		c.fail(name, err)
	}
}

func (c *coder) readText(path string, p *string) {
	v := c.get(path)
	if v == "" {
		return
	}
	s, err := text(v)
	if err != nil {
		c.fail(path, err)
	}
	*p = s
}

// text returns the original of a text.
func text(value string) (string, error) {
	s, err := unquote(value)
	if err != nil || strings.IndexByte(s, '\\') < 0 {
		return s, err
	}
	b, ok := Unescape(s)
	if !ok {
		return "", errText
	}
	return string(b), nil
}

func (c *coder) readNumber(path string, must bool) int64 {
	v := c.get(path)
	if v == "" {
		if must {
			c.fail(path, errMissing)
		}
		return 0
	}
	n, err := wholeNumber(v)
	if err != nil {
		c.fail(path, err)
	}
	return n
}

func (c *coder) readBool(path string, must bool) bool {
	v := c.get(path)
	if v == "" && must {
		c.fail(path, errMissing)
	}
	if v != "" && v != "true" && v != "false" {
		c.fail(path, errors.New("true or false is wanted"))
	}
	return v == "true"
}

func (c *coder) readTime(path string, p *time.Time, must bool) {
	v := c.get(path)
	if v == "" {
		if must {
			c.fail(path, errMissing)
		}
		return
	}
	s, err := unquote(v)
	if err == nil {
		*p, err = parseTime(s)
	}
	if err != nil {
		c.fail(path, err)
	}
}

// parseTime reads what AppendTime writes.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || len(s) != len("2006-01-02T15:04:05.000000000Z") || s[19] != '.' || s[29] != 'Z' {
		return t, errors.New("a time in UTC with nine digits of a second is wanted")
	}
	return t.UTC(), nil
}

func (c *coder) readList(path string, p *[]string) {
	v := c.get(path)
	if v == "" {
		return
	}
	err := each(v, '[', ']', func(_, value string) error {
		s, err := text(value)
		*p = append(*p, s)
		return err
	})
	if err != nil {
		c.fail(path, err)
	}
}

func (c *coder) readHeaders(path string, p *[]Header) {
	v := c.get(path)
	if v == "" {
		return
	}
	err := each(v, '[', ']', func(_, value string) error {
		var pair [2]string
		n := 0
		err := each(value, '[', ']', func(_, value string) (err error) {
			if n < len(pair) {
				pair[n], err = text(value)
			}
			n++
			return err
		})
		if err == nil && n != len(pair) {
			err = errors.New("pairs of name and value are wanted")
		}
		*p = append(*p, Header{pair[0], pair[1]})
		return err
	})
	if err != nil {
		c.fail(path, err)
	}
}

func (c *coder) readCounts(path string, p *[]Count) {
	v := c.get(path)
	if v == "" {
		return
	}
	var err error
	if *p, err = readCounts(v); err != nil {
		c.fail(path, err)
	}
}

func readCounts(v string) (counts []Count, err error) {
	err = each(v, '{', '}', func(key, value string) error {
		name, err := text(key)
		if err != nil {
			return err
		}
		n, err := wholeNumber(value)
		counts = append(counts, Count{name, n})
		return err
	})
	return counts, err
}

func (c *coder) readBlob(path string, p *[]byte) {
	var s string
	c.readText(path, &s)
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		c.fail(path, errors.New("base64 is wanted"))
	}
	if len(b) > 0 {
		*p = b
	}
}

func (c *coder) readJSON(path string, p *JSON) {
	if v := c.get(path); v != "" {
		p.Value = []byte(v)
	}
	p.Bytes = c.readNumber(path+"_bytes", false)
	c.readText(path+"_sha256", &p.SHA256)
}

func (c *coder) readShortened(s *Shortened) {
	c.readList("cut", &s.Cut)
	c.readCounts("left_out", &s.LeftOut)
	if len(s.Cut) > maxItems || len(s.LeftOut) > maxItems {
		c.fail("cut", errors.New("too many members are named"))
	}
}
