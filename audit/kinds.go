package audit

import (
	"strings"
	"time"
)

// Kind tells what a record is about. The kinds that end in a star in the
// comments are families: the part before the dot fixes the members, the part
// after it says what happened.
type Kind string

// The kinds that this version writes.
const (
	KindRequest Kind = "request"        // Event: one request and its response
	KindIntent  Kind = "request.intent" // Intent: a request before it is served
	KindOpening Kind = "request.open"   // Opening: a connection before it is taken over

	KindConfigChange Kind = "config.change" // ConfigChange
	KindAdminCall    Kind = "admin.call"    // AdminCall
	KindEvidenceRead Kind = "evidence.read" // EvidenceRead

	KindCertObtained Kind = "cert.obtained" // Certificate, cert.*
	KindCertRenewed  Kind = "cert.renewed"
	KindCertFailed   Kind = "cert.failed" // could not be obtained or renewed
	KindCertRevoked  Kind = "cert.revoked"
	KindCertLoaded   Kind = "cert.loaded"   // is in use, but was not seen to be obtained
	KindCertExpiring Kind = "cert.expiring" // has less time left than the threshold
	KindCertExpired  Kind = "cert.expired"

	KindUpstreamUp      Kind = "upstream.up" // UpstreamChange, upstream.*
	KindUpstreamDown    Kind = "upstream.down"
	KindUpstreamUnknown Kind = "upstream.unknown" // nothing watches it
	KindUpstreamGone    Kind = "upstream.gone"    // it is no longer configured

	KindProcessStart  Kind = "process.start" // Process, process.*
	KindProcessStop   Kind = "process.stop"
	KindProcessCrash  Kind = "process.crash" // noticed at the next start
	KindProcessSignal Kind = "process.signal"
	KindProcessLimit  Kind = "process.limit" // a limit of a resource was reached

	KindCheck Kind = "check.transition" // CheckTransition

	KindDockerfile Kind = "dockerfile.check" // DockerfileCheck

	KindReviewTriage    Kind = "review.triage" // Review, review.*
	KindReviewException Kind = "review.exception"
	KindReviewSignoff   Kind = "review.signoff"
	KindReviewDrill     Kind = "review.drill"

	KindCachePurge    Kind = "cache.purge"        // CachePurge
	KindLockout       Kind = "access.lockout"     // Lockout
	KindBreakGlass    Kind = "access.break_glass" // BreakGlass
	KindAccessReview  Kind = "access.review"      // AccessReview
	KindProtocolError Kind = "protocol.error"     // ProtocolError
	KindBrowserReport Kind = "browser.report"     // BrowserReport

	KindLimitBegin Kind = "limit.begin" // LimitChange, limit.*: a key is refused from now on
	KindLimitEnd   Kind = "limit.end"
	KindLimitBan   Kind = "limit.ban"
	KindLimitUnban Kind = "limit.unban"
	KindLimitReset Kind = "limit.reset"

	KindOpen   Kind = "log.open"   // LogOpen: the log was opened for writing
	KindClose  Kind = "log.close"  // LogClose: the log was closed in order
	KindGap    Kind = "log.gap"    // LogGap: records are missing
	KindClock  Kind = "log.clock"  // LogClock: the clock was set back
	KindErase  Kind = "log.erase"  // LogErase: records or keys were destroyed
	KindHold   Kind = "log.hold"   // LogHold: a legal hold was set or released
	KindKey    Kind = "log.key"    // LogKey: a key came or went
	KindVerify Kind = "log.verify" // LogVerify: the log verified itself
	KindAnchor Kind = "log.anchor" // LogAnchor: an outsider saw the log's head
	KindRollup Kind = "rollup"     // Rollup: a segment was sealed
)

// family returns a kind of a family. One that is not, because it has another
// prefix or more than small letters and underscores after it, becomes the
// family's kind "other": a record is never lost for a wrong name.
func family(prefix string, kind Kind) Kind {
	rest, ok := strings.CutPrefix(string(kind), prefix)
	if !ok || !isPath(rest) || strings.ContainsAny(rest, ".0123456789") {
		return Kind(prefix + "other")
	}
	return kind
}

// Shortened says what a record that was read back had lost when it was written:
// a record that is too long is shortened, never dropped. Writers leave it empty.
type Shortened struct {
	Cut     []string // paths of the members whose text was cut or, if JSON, replaced by its hash
	LeftOut []Count  // by path, how many items of a list, counters or boxes were left out
}

// Count is a number with a name.
type Count struct {
	Name string
	N    int64
}

// JSON is a member that is JSON itself.
type JSON struct {
	Value []byte // compact JSON in UTF-8, at most 32 KiB as written

	// In a record that was read back and whose value was longer: its size and
	// the SHA-256, in hex, of the value that the writer had.
	Bytes  int64
	SHA256 string
}

// Actor is who did something.
type Actor struct {
	Name       string // verified name: subject of a certificate, user of the operating system, principal
	Known      string // how good the name is: verified, asserted, none, ambiguous
	How        string // how it is known: mtls, peer (credentials of a Unix socket), oidc, header, tcp, …
	Claim      string // name that the actor gave itself in a header; nothing proves it
	Address    string // where the call came from
	ClientCert string // SHA-256 of the verified client certificate, hex
}

func (a *Actor) members(c *coder) {
	c.open("actor")
	c.text("actor.name", &a.Name, maxText)
	c.text("actor.known", &a.Known, maxText)
	c.text("actor.how", &a.How, maxText)
	c.text("actor.claim", &a.Claim, maxText)
	c.text("actor.address", &a.Address, maxText)
	c.text("actor.client_cert", &a.ClientCert, maxText)
	c.close()
}

// blank returns the empty body of a kind, or nil for an unknown one.
func blank(kind Kind) Body {
	switch kind {
	case KindRequest:
		return &Event{}
	case KindIntent:
		return &Intent{}
	case KindOpening:
		return &Opening{}
	case KindConfigChange:
		return &ConfigChange{}
	case KindAdminCall:
		return &AdminCall{}
	case KindEvidenceRead:
		return &EvidenceRead{}
	case KindCheck:
		return &CheckTransition{}
	case KindDockerfile:
		return &DockerfileCheck{}
	case KindCachePurge:
		return &CachePurge{}
	case KindLockout:
		return &Lockout{}
	case KindBreakGlass:
		return &BreakGlass{}
	case KindAccessReview:
		return &AccessReview{}
	case KindProtocolError:
		return &ProtocolError{}
	case KindBrowserReport:
		return &BrowserReport{}
	case KindRollup:
		return &Rollup{}
	}
	if body := blankLog(kind); body != nil {
		return body
	}
	return blankFamily(kind)
}

func blankLog(kind Kind) Body {
	switch kind {
	case KindOpen:
		return &LogOpen{}
	case KindClose:
		return &LogClose{}
	case KindGap:
		return &LogGap{}
	case KindClock:
		return &LogClock{}
	case KindErase:
		return &LogErase{}
	case KindHold:
		return &LogHold{}
	case KindKey:
		return &LogKey{}
	case KindVerify:
		return &LogVerify{}
	case KindAnchor:
		return &LogAnchor{}
	}
	return nil
}

func blankFamily(kind Kind) Body {
	prefix, _, _ := strings.Cut(string(kind), ".")
	if family(prefix+".", kind) != kind {
		return nil
	}
	switch prefix {
	case "cert":
		return &Certificate{Kind: kind}
	case "upstream":
		return &UpstreamChange{Kind: kind}
	case "process":
		return &Process{Kind: kind}
	case "limit":
		return &LimitChange{Kind: kind}
	case "review":
		return &Review{Kind: kind}
	}
	return nil
}

// span is a period of time.
func (c *coder) span(from, to *time.Time) {
	c.time("from", from)
	c.time("to", to)
}
