package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// allKinds lists the constants of type Kind in kinds.go.
func allKinds(t testing.TB) (kinds []Kind) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "kinds.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(v.Type) == "Kind" {
			kind, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, Kind(kind))
		}
		return true
	})
	if len(kinds) < 30 {
		t.Fatalf("only %d kinds were found", len(kinds))
	}
	return kinds
}

func TestEveryKindHasABody(t *testing.T) {
	for _, kind := range allKinds(t) {
		body := blank(kind)
		if body == nil {
			t.Fatalf("%s has no body", kind)
		}
		record := framed(t, body, "edge-1")
		if got := kindOf(record); got != kind {
			t.Errorf("the body of %s writes the kind %s", kind, got)
		}
		roundTrip(t, body, "edge-1")
	}
}

// framed returns the record that the log makes of a body.
func framed(t testing.TB, body Body, instance string) []byte {
	t.Helper()
	frame, err := segment.AppendFrame(nil, 1<<62, 3, body.AppendBody(nil, instance))
	if err != nil {
		t.Fatalf("%T: %v", body, err)
	}
	return segment.Record(frame)
}

// roundTrip writes a body, checks what was written, reads it and writes it
// again, which must give the same bytes. It returns what was read.
func roundTrip(t testing.TB, body Body, instance string) Body {
	t.Helper()
	record := framed(t, body, instance)
	checkRecord(t, record)
	got, err := Decode(record)
	if err != nil {
		t.Fatalf("%v:\n%s", err, record)
	}
	if got.Seq != 1<<62 || got.Pos != 3 || got.Kind != kindOf(record) || string(AppendTime(nil, got.Time)) != timeOf(record) {
		t.Errorf("the frame is read as %+v:\n%s", got, record)
	}
	if again := framed(t, got.Body, got.Instance); !bytes.Equal(again, record) {
		t.Fatalf("read and written again it is another record:\n%s\n%s", record, again)
	}
	return got.Body
}

// checkRecord checks what holds for every record.
func checkRecord(t testing.TB, record []byte) {
	t.Helper()
	if len(record) > segment.MaxRecord || !json.Valid(record) || !utf8.Valid(record) {
		t.Fatalf("%d bytes, JSON %v, UTF-8 %v:\n%s", len(record), json.Valid(record), utf8.Valid(record), record)
	}
	for _, r := range string(record) {
		if r >= 0x20 && r < 0x7f && r != '<' && r != '>' && r != '&' {
			continue
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || strings.ContainsRune("<>&", r) {
			t.Fatalf("a bare %U:\n%q", r, record)
		}
	}
}

// filler fills bodies by reflection.
type filler struct {
	*rand.Rand
	text  func(f *filler) string
	items func(f *filler) int
	zero  float64 // share of the fields that stay empty
}

func (f *filler) fill(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(f.Int64N(1<<34)-1<<33, f.Int64N(1e9)).UTC()
		return
	case *Kind: // given by whoever made the body
		return
	case *Shortened:
		return
	case *ID:
		*p = NewID(time.Unix(f.Int64N(1<<32), 0))
		return
	case *JSON:
		p.Value, _ = json.Marshal([]string{f.text(f)})
		return
	case *End:
		*p = End(f.text(f))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.text(f))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(f.Uint64()))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(f.IntN(256)))
	case reflect.Slice:
		n := f.items(f)
		if v.Type().Elem().Kind() == reflect.Uint8 {
			n *= 1000
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if f.Float64() >= f.zero {
				f.fill(field)
			}
		}
	default:
		panic("a body has a " + v.Type().String())
	}
}

func (f *filler) body(kind Kind) Body {
	body := blank(kind)
	f.fill(reflect.ValueOf(body).Elem())
	return body
}

var bits = []string{"a", "example.com", "é", "€", "𝄞", "\xff", "\xc3", "\xed\xa0\x80", `\`, `\x41`, `"`, "\x00", "\n", "\r\n", "\x1b[2J", "\x7f", "\u0085", "\u202e", "\u2028", "\ufeff", "<", ">", "&", "=", "\ufffd", "'", "=1+1", "%0a"}

// odd is text with everything that is hard to write, mostly short.
func odd(f *filler) string {
	var b strings.Builder
	n := f.IntN(8)
	if f.IntN(20) == 0 {
		n = f.IntN(3000)
	}
	for range n {
		b.WriteString(bits[f.IntN(len(bits))])
	}
	return b.String()
}

func newFiller(seed uint64) *filler {
	return &filler{
		Rand: rand.New(rand.NewPCG(seed, 1)), text: odd, zero: 0.2,
		items: func(f *filler) int {
			if f.IntN(10) == 0 {
				return f.IntN(80)
			}
			return f.IntN(5)
		},
	}
}

func TestEveryKindReadsBackAsWritten(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for _, kind := range allKinds(t) {
		for seed := range uint64(rounds) {
			f := newFiller(seed)
			body := f.body(kind)
			got := roundTrip(t, body, odd(f))
			if s := shortened(got); s.Cut != nil || s.LeftOut != nil || kind == KindIntent || kind == KindOpening {
				continue // it cannot be the same
			}
			clear := asRead(body)
			if !reflect.DeepEqual(got, clear) {
				t.Fatalf("%s, seed %d: written\n%+v\nread\n%+v", kind, seed, clear, got)
			}
		}
	}
}

func shortened(body Body) Shortened {
	return reflect.ValueOf(body).Elem().FieldByName("Shortened").Interface().(Shortened)
}

// asRead drops from a body what a record does not keep on purpose.
func asRead(body Body) Body {
	switch b := body.(type) {
	case *Event:
		b.Query = redacted(b.Query)
		if b.Upstream.Address == "" {
			b.Upstream = Upstream{}
		}
		if b.Upstream.Status == 0 {
			b.Upstream.Latency = 0
		}
	case *AdminCall:
		b.Query = redacted(b.Query)
	case *EvidenceRead:
		b.Query = redacted(b.Query)
	case *ConfigChange:
		b.Diff.Value = appendSafe(nil, b.Diff.Value)
	case *CheckTransition:
		b.Evidence.Value = appendSafe(nil, b.Evidence.Value)
	case *DockerfileCheck:
		b.Findings.Value = appendSafe(nil, b.Findings.Value)
	case *AccessReview:
		b.Decisions.Value = appendSafe(nil, b.Decisions.Value)
	case *Review:
		b.Figures.Value = appendSafe(nil, b.Figures.Value)
	case *Rollup:
		b.Requests.Value = appendSafe(nil, b.Requests.Value)
	case *LogOpen:
		if b.Clean {
			b.Unsigned, b.Torn = 0, 0
		}
	case *Process:
		if !b.Clock.Known {
			b.Clock = Clock{}
		}
	}
	dropEmpty(reflect.ValueOf(body).Elem())
	return body
}

// dropEmpty makes empty lists nil, which is how they are read.
func dropEmpty(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
		}
		for i := range v.Len() {
			dropEmpty(v.Index(i))
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				dropEmpty(field)
			}
		}
	}
}

// redacted is the rule for query strings, said another way.
func redacted(query string) string {
	query = strings.TrimSuffix(query, "&")
	if query == "" {
		return ""
	}
	parts := strings.Split(query, "&")
	for i, p := range parts {
		parts[i] = "*"
		if key, _, ok := strings.Cut(p, "="); ok {
			parts[i] = key + "=*"
		}
	}
	return strings.Join(parts, "&")
}

func TestStrangeKindOfAFamilyIsOther(t *testing.T) {
	for _, kind := range []Kind{"", "cert.", "cert", "upstream.up", "cert.a.b", `cert."x`, "cert.\x00", "cert.x9", Kind("cert." + strings.Repeat("x", 100))} {
		if got := kindOf(framed(t, &Certificate{Kind: kind}, "")); got != "cert.other" {
			t.Errorf("%q is written as %q", kind, got)
		}
	}
	if got := kindOf(framed(t, &Certificate{Kind: "cert.stapled"}, "")); got != "cert.stapled" {
		t.Errorf("a later kind is written as %q", got)
	}
}

func TestTimesOutsideOfRFC3339AreBounded(t *testing.T) {
	for year, want := range map[int]string{-5: "0000-01-01T00:00:00.000000000Z", 12000: "9999-12-31T23:59:59.999999999Z", 0: "0000-01-01T00:00:00.000000000Z"} {
		if got := string(AppendTime(nil, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))); got != want {
			t.Errorf("the year %d is written as %s", year, got)
		}
	}
}

func TestAnnotatingNoEventDoesNothing(t *testing.T) {
	var none *Event
	none.SetAccess(Decision{})
	none.SetLimit(Decision{})
	none.SetAccessPolicy("0f", "rule")
	none.SetCache("hit")
	none.SetUser("alice", "mtls")
	none.SetHeaders("strict", nil)
	ev := &Event{}
	ev.SetAccess(Decision{"allow", "staff", "role"})
	ev.SetLimit(Decision{"allow", "login", ""})
	ev.SetCache("hit")
	ev.SetUser("alice", "mtls")
	if ev.Access.Rule != "staff" || ev.Limit.Rule != "login" || ev.Cache != "hit" || ev.User != "alice" || ev.AuthMethod != "mtls" {
		t.Errorf("%+v", ev)
	}
}
