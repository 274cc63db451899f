package quarter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"filippo.io/age"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/personal"
)

// setBack sets the clock back.
func (s *site) setBack(d time.Duration, mark audit.Body) {
	s.t.Helper()
	s.settle()
	s.request(0, "") // on disk at this very time
	s.flush()
	was := s.now
	s.now = s.now.Add(-d)
	s.clock.Store(s.now.UnixNano())
	kind, at, _, cells := cellsOf(mark)
	s.others = append(s.others, other{cells: cells, body: mark})
	s.note(kind, at, fact{n: int32(len(s.others) - 1)})
	s.put(mark.AppendBody(nil, instance), true)
	s.own("log.clock", s.now, other{cells: map[string]string{"from": was.Format(stamp), "to": s.now.Format(stamp)}})
}

// missed has the log count what it has no record of, and say so.
func (s *site) missed(cause audit.Cause, name string, m audit.Missed) {
	s.t.Helper()
	s.settle()
	s.flush()
	s.log.Miss(cause, m)
	s.must(s.log.Sign(context.Background(), int64(len(s.facts))))
	if s.log.Next() == int64(len(s.facts)) { // the newest checkpoint was already of all records
		s.t.Fatal("the gap was not told")
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	cells := map[string]string{"cause": name, "from": s.now.Format(stamp), "to": s.now.Format(stamp), "refused": n(m.Refused), "served": n(m.Served), "late": n(m.Late), "lost": "0", "other": n(m.Other)}
	if m.Other == 0 {
		delete(cells, "other")
	}
	s.own("log.gap", s.now, other{cells: cells})
	s.signed = int64(len(s.facts))
}

// crash ends the process as kill -9 does: the directory is left as it is on
// disk, with a torn record behind the last whole one, and records that had not
// reached the disk are nowhere. It returns how many bytes are torn.
func (s *site) crash() (torn int64) {
	s.t.Helper()
	s.settle()
	s.request(0, "")
	s.flush()
	left := filepath.Join(s.root, "crashed")
	s.must(os.CopyFS(left, os.DirFS(s.dir)))
	open, err := filepath.Glob(filepath.Join(left, "segments", "*.log"))
	if err != nil || len(open) != 1 {
		s.t.Fatal(open, err)
	}
	content, err := os.ReadFile(open[0])
	s.must(err)
	whole := len(bytes.TrimRight(content, "\x00"))
	body := (&audit.ConfigChange{Time: s.now, Outcome: "applied", Source: "admin", Reason: "lost in the crash"}).AppendBody(nil, instance)
	half := binary.BigEndian.AppendUint16(nil, uint16(len(body)+60))
	half = append(half, body[:len(body)/2]...)
	content = append(content[:whole], half...)
	s.must(os.WriteFile(open[0], append(content, make([]byte, 8192)...), 0o600))
	for range 25 { // they were answered, and reach the log that is not there any more
		s.buf = (&audit.AdminCall{Time: s.now, Outcome: "allowed"}).AppendBody(s.buf[:0], instance)
		_, err := s.log.Enqueue(context.Background(), s.buf)
		s.must(err)
	}
	s.must(s.log.Close())
	s.must(os.RemoveAll(s.dir))
	s.must(os.Rename(left, s.dir))
	return int64(len(half))
}

// protect begins to seal personal members and to use pseudonyms.
func (s *site) protect() {
	s.t.Helper()
	keys := filepath.Join(s.root, "personal")
	var err error
	s.sealer, err = personal.OpenSealer(personal.SealerConfig{
		FS: disk{}, Dir: keys, Recipients: []age.Recipient{s.identity.Recipient()}, Subjects: true, Hold: s.holds.Check, Now: s.time,
		Members: []string{personal.ClientIP, personal.ClientPort, personal.User, personal.Agent},
	})
	s.must(err)
	s.names, err = personal.OpenPseudonyms(personal.PseudonymConfig{FS: disk{}, Dir: keys, Hold: s.holds.Check, Now: s.time})
	s.must(err)
	s.t.Cleanup(func() { _, _ = s.sealer.Close(), s.names.Close() })
	s.veil, err = personal.NewProtector(s.sealer, s.names, []string{personal.ClientIP, personal.User})
	s.must(err)
}
