package soc2

import (
	"errors"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/happenings/wire"
)

var errNotMine = errors.New("another log takes the counts")

// tellWire begins to record what reached no handler, until the log is shut: its
// last records are written then. The counts are the process's, and belong into
// the log of the configuration that runs.
func (s *sharedLog) tellWire(instance string) {
	s.wire = wire.Tell(wire.All, wire.Book{
		Ready: func() error {
			if b := ledger.Current(); b != nil && b != ledger.Book(s) && isOpen(b) {
				return errNotMine
			}
			return s.get().Err()
		},
		Write: func(r audit.Body) error { return s.appendNow(r, instance, false) },
	})
}

// isOpen reports whether a log takes records or may take them again.
func isOpen(b ledger.Book) bool { return !errors.Is(b.Log().Ready(), audit.ErrClosed) }
