package drill

import (
	"context"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
)

// Directory is a live log that is read from its directory. It may be open in a
// server.
type Directory struct{ Dir records.Dir }

// Checkpoint implements Live.
func (d Directory) Checkpoint(context.Context) ([]byte, error) {
	h, err := tiles.Directory{Dir: d.Dir}.Head()
	return h.Note, err
}

// Consistency implements Live.
func (d Directory) Consistency(ctx context.Context, from, to int64) (tlog.TreeProof, error) {
	return tiles.Reader{Records: d.Dir, Size: to}.Consistency(ctx, from)
}

// Appended implements Live.
func (d Directory) Appended(_ context.Context, seq int64) (time.Time, error) {
	record, err := d.Dir.Record(seq)
	if err != nil {
		return time.Time{}, err
	}
	return records.Appended(record)
}

var _ Live = Directory{}
