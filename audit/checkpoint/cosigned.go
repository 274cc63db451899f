package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
)

// Cosignature says that a witness saw the checkpoint, and that it agreed with
// every checkpoint of the log that the witness had cosigned before.
type Cosignature struct {
	Witness *cosignature.Verifier
	Time    time.Time // when, by the witness's clock; UTC, whole seconds
}

// Cosigned is Open for a checkpoint that witnesses may have cosigned. It must
// be signed by at least one of the log's keys: witnesses cannot stand in for
// them. A signature by a known witness must verify. The cosignatures are in the
// order of witnesses, at most one for each; how many are enough is the
// caller's decision.
func Cosigned(b []byte, keys []note.Verifier, witnesses []*cosignature.Verifier) (h Head, by []Cosignature, others []string, err error) {
	if h, _, err = Open(b, keys...); err != nil {
		return Head{}, nil, nil, err
	}
	all := slices.Clone(keys)
	for _, w := range witnesses {
		all = append(all, w)
	}
	n, err := open(b, all)
	if err != nil {
		return Head{}, nil, nil, err
	}
	for _, w := range witnesses {
		for _, s := range n.Sigs {
			if s.Name != w.Name() || s.Hash != w.KeyHash() {
				continue
			}
			t, err := cosignature.Time(s)
			if err != nil {
				return Head{}, nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
			}
			by = append(by, Cosignature{w, t})
		}
	}
	return h, by, signers(n), nil
}

// ParseText reads the text of a checkpoint of any log, which unlike ours may
// have extension lines after the first three (C2SP tlog-checkpoint, "Note
// text"). It is for a witness, who must cosign them unread.
func ParseText(text string) (Head, error) {
	lines := strings.SplitAfterN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "\n" {
		return Head{}, fmt.Errorf("%w: it does not have three lines", ErrMalformed)
	}
	h, err := parse(strings.Join(lines[:3], ""))
	if err != nil {
		return Head{}, err
	}
	if lines[2] != h.Root.String()+"\n" {
		return Head{}, fmt.Errorf("%w: its root hash is not in canonical base64", ErrMalformed)
	}
	if rest := lines[3]; rest != "" && (rest[0] == '\n' || rest[len(rest)-1] != '\n' || strings.Contains(rest, "\n\n")) {
		return Head{}, fmt.Errorf("%w: an extension line is empty or not ended", ErrMalformed)
	}
	return h, nil
}
