package packer_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// TestWhateverClientsSendBothVerifiersReadTheSame: what is in texts of records,
// and from there in tables and in the names of counters, comes from anybody.
func TestWhateverClientsSendBothVerifiersReadTheSame(t *testing.T) {
	s := newSite(t, "edge-1/soc2")
	s.open()
	s.pass(49 * time.Hour)
	pieces := []string{
		"a", "A", "ſ", "K", "\u2028", "\u2029", "\u0085", "\u00a0", "\u1680", "\u180e", "\u200b", "\u202e", "\u3000", "\ufeff", "\x00", "\x1c", "\x1f", "\x7f", "\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80",
		"\\", `\.`, `\x41`, `\u0041`, `"`, "'", ",", ";", "\r", "\n", "\t", " ", "=", "+", "-", "@", "＝", "＠", "<script>", "&", "😀", "e\u0301", "none", "(other)", "__proto__", "NaN", "1e3", "-0", "null", "true",
	}
	r := rand.New(rand.NewPCG(1, 1))
	text := func() (s string) {
		for range 1 + r.IntN(4) {
			s += pieces[r.IntN(len(pieces))]
		}
		return s
	}
	send := func(method, host, path, agent, user string) {
		ev := &audit.Event{Start: s.now, Method: method, Host: host, Path: path, Query: agent, Proto: "HTTP/1.1", Status: 403, Duration: time.Millisecond, End: "complete"}
		ev.ClientIP, ev.Agent, ev.User, ev.AuthMethod = "203.0.113.9", agent, user, "basic"
		ev.Access.Outcome, ev.Access.Rule, ev.Upstream.Address = "deny", user, host
		s.append(ev)
		s.pass(time.Second)
	}
	for _, p := range pieces {
		send(p, p, p, p, p)
		send("x"+p, "x"+p, "x"+p, "x"+p, "x"+p)
	}
	for range 400 {
		send(text(), text(), text(), text(), text())
	}
	s.pass(40 * time.Hour)
	s.close()
	for _, full := range []bool{true, false} {
		agree(t, s, full)
	}
}
