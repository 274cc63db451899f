package review_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
	"github.com/caddy-soc2/caddy-soc2/audit/tree"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

var (
	from = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	to   = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 11, 5, 0, 0, 0, 0, time.UTC)
)

// bench is a log in memory.
type bench struct {
	t      testing.TB
	first  int64 // older records were removed
	leaves []tree.Hash
	frames []byte
	all    [][]byte // records
}

func newBench(t testing.TB) *bench { t.Helper(); return &bench{t: t} }

func (b *bench) add(bodies ...audit.Body) {
	b.t.Helper()
	for _, body := range bodies {
		frame, err := segment.AppendFrame(nil, int64(len(b.all)), 0, body.AppendBody(nil, "edge-1"))
		if err != nil {
			b.t.Fatal(err)
		}
		record := segment.Record(frame)
		b.all, b.leaves = append(b.all, record), append(b.leaves, tlog.RecordHash(record))
		if int64(len(b.all)) > b.first {
			b.frames = append(b.frames, frame...)
		}
	}
}

// dir is the log as it is, with a signed checkpoint.
func (b *bench) dir() records.Dir {
	b.t.Helper()
	skey, _, err := note.GenerateKey(zero{}, "edge-1/soc2")
	if err != nil {
		b.t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		b.t.Fatal(err)
	}
	text, err := checkpoint.Sign(checkpoint.Head{Origin: "edge-1/soc2", Size: int64(len(b.all)), Root: b.root(len(b.all))}, signer)
	if err != nil {
		b.t.Fatal(err)
	}
	return records.Dir{FS: fstest.MapFS{
		checkpoint.File:                        {Data: text},
		records.Segment{First: b.first}.Path(): {Data: b.frames},
	}}
}

// root is the head of RFC 6962, section 2.1, by its definition.
func (b *bench) root(n int) tree.Hash {
	var mth func(d []tree.Hash) tree.Hash
	mth = func(d []tree.Hash) tree.Hash {
		if len(d) == 1 {
			return d[0]
		}
		k := 1
		for k*2 < len(d) {
			k *= 2
		}
		left, right := mth(d[:k]), mth(d[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
	return mth(b.leaves[:n])
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (b *bench) make(g *review.Grants, edit func(*review.Options)) (*review.Document, error) {
	b.t.Helper()
	o := review.Options{Period: review.Period{From: from, To: to}, Now: func() time.Time { return now }}
	if edit != nil {
		edit(&o)
	}
	g.Merge()
	return review.Make(context.Background(), b.dir(), g, o)
}

func (b *bench) must(g *review.Grants, edit func(*review.Options)) *review.Document {
	b.t.Helper()
	d, err := b.make(g, edit)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

const (
	hashA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hashB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	hashX = "ffffffffffffffffffffffffffffffff" // of a policy that is not in the configuration
)

// grants are those of two policies.
func grants() *review.Grants {
	return &review.Grants{
		Configuration: review.Configuration{Source: "file", SHA256: "00"},
		Policies: []review.Policy{
			{Names: []string{"shop"}, Hash: hashA, Mode: "enforce", Assign: map[string][]string{"ops": {"user-1"}}, Rules: []review.Rule{
				{Name: "r0", Roles: []string{"staff"}},
				{Name: "r1", Deny: true},
				{Name: "r2", Principals: []string{"user-*"}},
				{Name: "r3", Roles: []string{"user:ops"}},
				{Name: "never"},
				{Name: "s0", Deny: true, Shadow: true},
			}},
			{Names: []string{"shop"}, Hash: hashB, Mode: "shadow", Rules: []review.Rule{{Name: "r0"}, {Name: "never"}}},
		},
		Accounts: []review.Account{
			{Kind: review.APIKey, Name: "user-0", Roles: []string{"staff"}, Sources: []string{"keys"}},
			{Kind: review.APIKey, Name: "user-0", Roles: []string{"more"}, Sources: []string{"other keys"}, Expires: from},
			{Kind: review.APIKey, Name: "idle", Sources: []string{"keys"}},
			{Kind: review.Password, Name: "user-1", Sources: []string{"accounts"}},
			{Kind: review.Basic, Name: "user-2", Sources: []string{"basic_auth"}},
			{Kind: review.MTLS, Name: "user-3", Sources: []string{"roles"}},
			{Kind: review.Listed, Name: "user-4", Sources: []string{"assign"}},
			{Kind: review.Pattern, Name: "user-*", Sources: []string{"rule"}},
			{Kind: review.Pattern, Name: "robot-*", Sources: []string{"rule"}},
		},
	}
}

func pick(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

// random is a request, or something else that a review reads.
func random(r *rand.Rand, users int) audit.Body {
	at := from.Add(-48*time.Hour + time.Duration(r.Int64N(int64(34*24*time.Hour))))
	switch r.IntN(20) {
	case 0:
		return &audit.Lockout{Time: at, Action: pick(r, "lock", "extend", "unlock", "expire"), What: pick(r, "principal", "network"), Subject: fmt.Sprint("s", r.IntN(3)), Rule: "site", Attempts: r.Int64N(9)}
	case 1:
		return &audit.BreakGlass{Time: at, Action: pick(r, "open", "close"), Grant: fmt.Sprint("bg-", r.IntN(4)), Policy: "shop", Principal: fmt.Sprint("user-", r.IntN(3)), Reason: "down"}
	case 2:
		return &audit.Intent{Start: at, ID: audit.NewID(at), User: "user-0", Access: audit.Decision{Outcome: "allow", Rule: "r0"}, AccessPolicy: hashA}
	}
	ev := &audit.Event{Start: at, Duration: time.Duration(r.Int64N(1e9)), ID: audit.NewID(at), Method: "GET", Path: "/", Status: 200}
	if r.IntN(5) > 0 {
		ev.User, ev.AuthMethod = fmt.Sprint("user-", r.IntN(users)), pick(r, "api_key", "password", "jwt", "mtls", "")
	}
	ev.AccessPolicy = pick(r, hashA, hashA, hashB, hashX)
	switch r.IntN(10) {
	case 0, 1, 2, 3, 4:
		ev.Access = audit.Decision{Outcome: "allow", Rule: pick(r, "r0", "r2", "r3"), Reason: "rule"}
	case 5, 6:
		ev.Access = audit.Decision{Outcome: "deny", Rule: pick(r, "r1", "r0", ""), Reason: pick(r, "rule", "mfa_required", "no_rule")}
	case 7:
		ev.Access = audit.Decision{Outcome: "shadow_deny", Rule: pick(r, "r1", ""), Reason: pick(r, "rule", "no_rule")}
	case 8:
		ev.Access = audit.Decision{Outcome: "break_glass", Rule: "r1", Reason: fmt.Sprint("bg-", r.IntN(5))}
	default:
		ev.AccessPolicy = ""
	}
	if r.IntN(4) == 0 && ev.AccessPolicy != "" {
		ev.AccessShadow = "s0"
	}
	return ev
}
