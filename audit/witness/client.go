package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
)

// Errors of Submit on which a caller acts. ErrAhead and ErrFork are evidence
// for a log that was rolled back or rewritten; somebody must look.
var (
	// ErrAhead: the witness has cosigned a larger tree of this log than the
	// one submitted. The log lost records, an older state of it was put back,
	// or an older checkpoint was submitted after a newer one.
	ErrAhead = errors.New("the witness has already cosigned a larger tree of this log")
	// ErrFork: the tree that the witness has cosigned is not a prefix of the
	// submitted one.
	ErrFork = errors.New("the witness has cosigned another history of this log")
	// ErrUnknownLog: the witness does not know the origin.
	ErrUnknownLog = errors.New("the witness does not know this log: have its operator add the origin and the verifier key")
	// ErrKey: the witness does not know the key that signed the checkpoint.
	ErrKey = errors.New("the witness does not accept the signature of this log: have its operator add the verifier key")
)

// DefaultTimeout bounds each request of a Client.
const DefaultTimeout = 10 * time.Second

// Client asks one witness. Its fields must not change while it is used; its
// methods may be called from several goroutines.
type Client struct {
	// URL is the witness's submission prefix, without /add-checkpoint.
	URL string
	// Verifier is the witness's key. Signatures by other keys are ignored.
	Verifier *cosignature.Verifier
	// HTTP makes the requests; its CheckRedirect is not used, because
	// redirects are not followed. Default: http.DefaultTransport.
	HTTP *http.Client
	// Timeout bounds each of the at most two requests of a submission.
	// Default: DefaultTimeout.
	Timeout time.Duration
}

// Validate says what is wrong with the fields.
func (c *Client) Validate() error {
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("URL of the witness: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("URL of the witness: %q must read https://HOST/PATH, without query and fragment", u.Redacted())
	}
	if c.Verifier == nil {
		return fmt.Errorf("witness %s: its verifier key, NAME+HASH+KEY, is missing", u.Redacted())
	}
	if c.Timeout < 0 {
		return fmt.Errorf("witness %s: the timeout is negative", u.Redacted())
	}
	return nil
}

// Cosignature is a witness's answer.
type Cosignature struct {
	checkpoint.Cosignature
	Line string // the signature line, canonical, with its newline
}

// Submit asks the witness to cosign a checkpoint that the log has signed. old
// is the size that the witness acknowledged last, 0 if that is not known: the
// witness then tells, and is asked once more. The cosignature was verified.
func (c *Client) Submit(ctx context.Context, old int64, signed []byte, prove Prover) (Cosignature, error) {
	cosig, err := c.submit(ctx, old, signed, prove)
	if err != nil {
		return Cosignature{}, fmt.Errorf("witness %s: %w", c.Verifier.Name(), err)
	}
	return cosig, nil
}

func (c *Client) submit(ctx context.Context, old int64, signed []byte, prove Prover) (Cosignature, error) {
	head, err := checkpoint.Peek(signed)
	if err != nil {
		return Cosignature{}, err
	}
	if head.Size > maxSize || old < 0 || old > head.Size {
		return Cosignature{}, fmt.Errorf("there is no proof from size %d to size %d", old, head.Size)
	}
	a, err := c.post(ctx, old, head.Size, signed, prove)
	if err != nil {
		return Cosignature{}, err
	}
	if seen, conflict := a.conflict(); conflict {
		if seen > head.Size {
			return Cosignature{}, fmt.Errorf("%w: of size %d; submitted was size %d", ErrAhead, seen, head.Size)
		}
		if seen == old {
			return Cosignature{}, fmt.Errorf("it wants a proof from size %d, which is what it got", seen)
		}
		old = seen
		if a, err = c.post(ctx, old, head.Size, signed, prove); err != nil {
			return Cosignature{}, err
		}
	}
	return c.read(a, old, signed, head)
}

// answer is a response that was read.
type answer struct {
	status int
	kind   string // Content-Type
	body   []byte
}

// conflict returns the size that a witness says it has cosigned, if the answer
// is of that kind.
func (a answer) conflict() (size int64, ok bool) {
	kind, _, _ := strings.Cut(a.kind, ";")
	if a.status != http.StatusConflict || strings.TrimSpace(kind) != sizeType {
		return 0, false
	}
	text, ended := strings.CutSuffix(string(a.body), "\n")
	size, err := parseSize(text)
	return size, ended && err == nil
}

func (c *Client) post(ctx context.Context, old, size int64, signed []byte, prove Prover) (answer, error) {
	r := request{old: old, note: signed}
	if old > 0 && old < size {
		var err error
		if r.proof, err = prove(ctx, old, size); err != nil {
			return answer{}, fmt.Errorf("proving size %d from size %d: %w", size, old, err)
		}
		if len(r.proof) > maxProof {
			return answer{}, fmt.Errorf("the proof of size %d from size %d has %d hashes; the longest has %d", size, old, len(r.proof), maxProof)
		}
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.send(ctx, r.append(nil))
}

func (c *Client) send(ctx context.Context, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+addPath, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	var h http.Client
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := h.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	if len(b) > maxBody {
		return answer{}, fmt.Errorf("its answer is longer than %d bytes", maxBody)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), b}, nil
}

// read turns the final answer into a cosignature or an error.
func (c *Client) read(a answer, old int64, signed []byte, head checkpoint.Head) (Cosignature, error) {
	switch a.status {
	case http.StatusOK:
		return c.cosignature(a.body, signed)
	case http.StatusConflict:
		seen, ok := a.conflict()
		switch {
		case ok && seen > head.Size:
			return Cosignature{}, fmt.Errorf("%w: of size %d; submitted was size %d", ErrAhead, seen, head.Size)
		case ok:
			return Cosignature{}, fmt.Errorf("it is at size %d, no longer at %d: another instance submits checkpoints of this log", seen, old)
		case old == head.Size: // C2SP tlog-witness v1.0.0; later versions answer 422
			return Cosignature{}, fmt.Errorf("%w: another root at size %d", ErrFork, old)
		}
		return Cosignature{}, fmt.Errorf("its answer to a conflict has no size: %w", a.err())
	case http.StatusUnprocessableEntity:
		return Cosignature{}, fmt.Errorf("%w, or the proof from size %d to %d is wrong: %w", ErrFork, old, head.Size, a.err())
	case http.StatusNotFound:
		return Cosignature{}, fmt.Errorf("%w: %w", ErrUnknownLog, a.err())
	case http.StatusForbidden:
		return Cosignature{}, fmt.Errorf("%w: %w", ErrKey, a.err())
	}
	return Cosignature{}, a.err()
}

// err is the answer of a witness that did not cosign. What the witness wrote is
// shortened and quoted: it goes to a log.
func (a answer) err() error {
	line, _, _ := strings.Cut(string(a.body), "\n")
	return fmt.Errorf("it answered %d %s: %.200q", a.status, http.StatusText(a.status), line)
}

// cosignature finds and verifies the witness's own line in its answer.
func (c *Client) cosignature(body, signed []byte) (Cosignature, error) {
	text, _, err := splitNote(signed)
	if err != nil {
		return Cosignature{}, err
	}
	lines, err := parseSigLines(body)
	if err != nil {
		return Cosignature{}, fmt.Errorf("reading its answer: %w", err)
	}
	for _, line := range lines {
		if line.by(c.Verifier) {
			return verified(line, c.Verifier, text)
		}
	}
	return Cosignature{}, fmt.Errorf("its answer has no signature by %s", c.Verifier)
}

func verified(line sigLine, v *cosignature.Verifier, text []byte) (Cosignature, error) {
	if !v.Verify(text, line.sig) {
		return Cosignature{}, fmt.Errorf("the cosignature by %s does not verify", v)
	}
	s := line.String()
	encoded := strings.TrimSuffix(s[strings.LastIndexByte(s, ' ')+1:], "\n")
	t, err := cosignature.Time(note.Signature{Name: line.name, Hash: line.hash, Base64: encoded})
	if err != nil {
		return Cosignature{}, err
	}
	return Cosignature{checkpoint.Cosignature{Witness: v, Time: t}, s}, nil
}
