package changes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes/risk"
	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/redact"
)

// maxCompared is the size of the largest configuration that is compared, in
// bytes of canonical JSON. Of a larger one the hash is kept.
const maxCompared = 16 << 20

// finish makes the record of an attempt that is over. It returns the error's
// text without secrets.
func (r *recorder) finish(a *attempt, seen result) string {
	outcome, reason := a.outcome(seen)
	if outcome == "" {
		return ""
	}
	r.order.Lock()
	defer r.order.Unlock()
	key, _ := r.tools()
	if key == nil { // no configuration with a soc2 app has run yet
		return ""
	}
	r.adopt(outcome)
	key, _ = r.tools()
	was := r.running()
	c := &a.record
	c.Outcome, c.Before = outcome, was.hash
	secrets := key.NewSecrets()
	secrets.Add(was.secrets) // the error may quote it
	if outcome == rejected {
		finishRejected(a, was, key, secrets)
		c.Error = scrub(a, secrets, reason)
	} else {
		r.finishApplied(a, was, reason, key)
	}
	secrets.Add(r.running().secrets)
	c.Path = secrets.Scrub(c.Path) // of a part that may be called after a secret
	r.counters.change(c)
	enter(a, c)
	return c.Error
}

// finishApplied compares the configuration that runs with the one that ran.
func (r *recorder) finishApplied(a *attempt, was version, reason string, key redact.Key) {
	c := &a.record
	if c.Outcome == unclear {
		c.Error = reason
	}
	var attempted any
	if a.load != nil {
		attempted = a.load.attempted
	}
	config, err := r.effective(attempted, c.Time)
	if err != nil {
		c.Error = "the configuration that runs cannot be read: " + err.Error()
		ctx := caddy.ActiveContext()
		if a.load != nil {
			ctx = a.load.ctx
		}
		if _, err := ctx.AppIfConfigured("soc2"); errors.Is(err, caddy.ErrNotConfigured) {
			c.Risks = []string{string(risk.AuditRemoved)} // that much can be seen
		}
		r.mu.Lock()
		r.version = version{}
		r.mu.Unlock()
		return
	}
	next, text := newVersion(config, key)
	compare(c, was, next, text)
	if c.Outcome == applied && c.Before == next.hash && a.load == nil {
		c.Outcome = unchanged
	}
	if next.hash == "" {
		return
	}
	r.mu.Lock()
	r.version = next
	r.mu.Unlock()
	if _, h := r.tools(); h != nil {
		if err := h.put(next.hash, text); err != nil {
			caddy.Log().Named("soc2").Error("a version of the configuration was not kept; its hash and the change are in the log", zap.Error(err))
		}
	}
}

// finishRejected compares what was sent with the configuration that runs on.
func finishRejected(a *attempt, was version, key redact.Key, secrets *redact.Secrets) {
	a.sent.learn(secrets)
	if config, ok := a.sent.document(); ok {
		next, text := newVersion(config, key)
		secrets.Add(next.secrets)
		compare(&a.record, was, next, text)
		return
	}
	if a.load == nil || a.load.attempted == nil {
		return
	}
	// What Caddy had dropped by then is taken to be as it was.
	whole, _ := a.load.attempted.(map[string]any)
	for _, name := range []string{"logging", "storage"} {
		delete(whole, name)
		if v := member(was.raw, name); v != nil {
			whole[name] = v
		}
	}
	next, text := newVersion(whole, key)
	secrets.Add(next.secrets)
	was.redacted, was.raw = withoutIDs(was.redacted), withoutIDs(was.raw)
	compare(&a.record, was, next, text)
}

// newVersion makes a version of a configuration.
func newVersion(config any, key redact.Key) (version, []byte) {
	secrets := key.NewSecrets()
	redacted := secrets.Document(config)
	text, err := jsonpatch.Canonical(redacted)
	if err != nil {
		return version{}, nil
	}
	return version{known: true, raw: config, redacted: redacted, secrets: secrets, hash: hashOf(text)}, text
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// compare puts the hash, the patch and the risks of a change into its record.
func compare(c *audit.ConfigChange, was, next version, text []byte) {
	c.After = next.hash
	if !was.known && was.hash != "" || len(text) > maxCompared {
		return // only hashes can be compared
	}
	if b, err := jsonpatch.Canonical(jsonpatch.Diff(was.redacted, next.redacted)); err == nil {
		c.Diff = audit.JSON{Value: b}
	}
	switch {
	case !was.known:
	case was.secrets == nil: // it is from the history, where tokens stand for what they stand for in the other
		c.Risks = risk.Of(was.redacted, next.redacted, caddy.DefaultAdminListen)
	default:
		c.Risks = risk.Of(was.raw, next.raw, caddy.DefaultAdminListen)
	}
}

// scrub takes secrets out of an error.
func scrub(a *attempt, secrets *redact.Secrets, reason string) string {
	if text, ok := a.sent.unreadable(); ok {
		return secrets.Quoted(reason, text, harmless)
	}
	return secrets.Scrub(reason)
}

// enter writes a record into the log of the configuration that went, and, if it
// has another log, into that of the one that came.
func enter(a *attempt, c *audit.ConfigChange) {
	if a.book != nil {
		_ = a.book.Write(c, true) // the log counts what it does not take
	}
	book := hold()
	if book == nil {
		return
	}
	defer book.Release()
	if book != a.book {
		_ = book.Write(c, true)
	}
}

// harmless reports whether a word is part of Caddy's language and no secret.
func harmless(word string) bool {
	word = strings.Trim(strings.ToLower(word), ".:-_#/@")
	return vocabulary()[word]
}
