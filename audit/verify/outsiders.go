package verify

import (
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp"
)

// Outsiders are those who saw the head of a log, as far as the verifier knows
// and trusts them. Its Vouch is for Options.Vouch.
type Outsiders struct {
	keys      []note.Verifier
	witnesses []*cosignature.Verifier
	roots     *x509.CertPool
	seen      map[string]int64 // size that each witness cosigned last
	stamps    int              // time stamps that are there
}

// NewOutsiders reads the verifier keys of witnesses, NAME+HASH+KEY, and a file
// with the root certificates (PEM) of time-stamping authorities. It returns nil
// if there are neither.
func NewOutsiders(keys []note.Verifier, witnesses []string, roots string) (*Outsiders, error) {
	if len(witnesses) == 0 && roots == "" {
		return nil, nil //nolint:nilnil // nobody is known
	}
	o := &Outsiders{keys: keys, seen: map[string]int64{}}
	for _, vkey := range witnesses {
		v, err := cosignature.NewVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("--witness %q: %w", vkey, err)
		}
		o.witnesses = append(o.witnesses, v)
	}
	if roots == "" {
		return o, nil
	}
	pem, err := os.ReadFile(roots)
	if err != nil {
		return nil, fmt.Errorf("--timestamp-roots: %w", err)
	}
	if o.roots = x509.NewCertPool(); !o.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--timestamp-roots %s: it holds no PEM certificate", roots)
	}
	return o, nil
}

// Vouch verifies the cosignatures and the time stamp on a checkpoint.
func (o *Outsiders) Vouch(a Anchor) (string, error) {
	if a.Path == witnessed {
		return o.cosigned(a)
	}
	if a.Stamp == nil {
		return "", nil // the checkpoint of a stamp that was yet to come
	}
	o.stamps++
	if o.roots == nil {
		return "its time stamp was not verified: give --timestamp-roots", nil
	}
	stamp, err := timestamp.Verify(a.Stamp, a.Note, o.roots)
	if err != nil {
		return "", fmt.Errorf("its time stamp: %w", err)
	}
	return fmt.Sprintf("%d records existed on %s, says the time stamp of %s", a.Head.Size, stamp.Time.Format(time.RFC3339), stamp.TSA), nil
}

func (o *Outsiders) cosigned(a Anchor) (string, error) {
	h, by, others, err := checkpoint.Cosigned(a.Note, o.keys, o.witnesses)
	if err != nil {
		return "", err
	}
	var says []string
	for _, c := range by {
		id := c.Witness.String()
		o.seen[id] = max(o.seen[id], h.Size)
		says = append(says, fmt.Sprintf("%s on %s", c.Witness.Name(), c.Time.Format(time.RFC3339)))
	}
	if len(others) > 0 {
		says = append(says, fmt.Sprintf("and, not verified, %s", strings.Join(others, ", ")))
	}
	return fmt.Sprintf("%d records were cosigned by %s", a.Head.Size, strings.Join(says, ", ")), nil
}

// lagging tells which witnesses did not see the newest checkpoint that another
// has seen.
func (o *Outsiders) lagging() (notes []string) {
	newest := int64(0)
	for _, size := range o.seen {
		newest = max(newest, size)
	}
	for _, w := range o.witnesses {
		if size, ok := o.seen[w.String()]; ok && size < newest {
			notes = append(notes, fmt.Sprintf("the witness %s cosigned %d records last, %d fewer than the newest cosigned checkpoint has", w.Name(), size, newest-size))
		}
	}
	return notes
}

// missing tells which outsiders should have seen the log and did not.
func (o *Outsiders) missing() (problems []Problem) {
	for _, w := range o.witnesses {
		if _, ok := o.seen[w.String()]; !ok {
			problems = append(problems, Problem{Path: witnessed, What: fmt.Sprintf("the witness %s has not cosigned it", w.Name())})
		}
	}
	if o.roots != nil && o.stamps == 0 {
		problems = append(problems, Problem{Path: anchorFolder, What: "there is no time stamp"})
	}
	return problems
}
