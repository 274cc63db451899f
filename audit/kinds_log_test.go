package audit_test

import (
	"bytes"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/segment"
)

// TestRecordsOfALogDecode reads what a log writes about itself, open, close and
// rollup among it, and writes it again.
func TestRecordsOfALogDecode(t *testing.T) {
	b := newBench(t, audit.Config{SegmentBytes: 4096})
	b.append(40)
	b.close()
	b.open()
	b.append(1)
	kinds := map[audit.Kind]int{}
	_, err := b.log.Records().Scan(0, func(seq int64, record []byte) error {
		got, err := audit.Decode(record)
		if err != nil {
			t.Fatalf("%v:\n%s", err, record)
		}
		kinds[got.Kind]++
		frame, err := segment.AppendFrame(nil, got.Seq, got.Pos, got.Body.AppendBody(nil, got.Instance))
		if err != nil || got.Seq != seq || !bytes.Equal(segment.Record(frame), record) {
			t.Errorf("record %d, %v: read and written again it is\n%s\nnot\n%s", seq, err, frame, record)
		}
		return nil
	})
	if err != nil || kinds[audit.KindOpen] != 2 || kinds[audit.KindClose] != 1 || kinds[audit.KindRollup] == 0 || kinds[audit.KindRequest] != 41 {
		t.Errorf("%v, %v", kinds, err)
	}
	b.close()
}
