package limiter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"time"
)

// A snapshot is what a later process needs to go on:
//
//	magic      8 bytes: soc2lim1
//	wall       8 bytes: nanoseconds since 1970 when it was made
//	interval   8 bytes: nanoseconds of a unit, 0 without a rate
//	size       8 bytes: times of a log, 0 without logs
//	keys       8 bytes: how many of the next
//	  key        8 bytes: hash, then
//	             8 bytes: TAT from then on, then
//	             8 bytes for each time of a log, from then on, the newest first
//	bans       8 bytes: how many of the next
//	  ban        8 bytes: hash, then
//	             8 bytes: end from then on, then
//	             8 bytes: bans in a row
//	sum        4 bytes: CRC-32C of all before
//
// All numbers are little-endian. The hashes mean something only to a
// KeyedHasher with the same secret.
const snapshotMagic = "soc2lim1"

// ErrSnapshot means that bytes are not a snapshot, or not all of it.
var ErrSnapshot = errors.New("not a snapshot of a zone")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot is the state of the zone, without the requests under way. wall is the
// time of day, which is all that the next process knows of the time in between.
func (z *Zone) Snapshot(wall time.Time) []byte {
	st, now := z.state.Load(), z.now()
	word := binary.LittleEndian.AppendUint64
	b := word([]byte(snapshotMagic), uint64(wall.UnixNano()))
	var interval, size uint64
	if st.Rate != nil {
		interval = uint64(st.Rate.interval)
	}
	if st.logs != nil {
		size = uint64(st.logs.size)
	}
	b = word(word(b, interval), size)
	b = section(b, &st.table, func(b []byte, slot int, fp uint64, tat int64) []byte {
		if tat <= now-st.grace {
			return b
		}
		b = word(word(b, fp), uint64(tat-now))
		for k := range int(size) {
			b = word(b, uint64(*st.logs.newest(slot, k+1)-now))
		}
		return b
	}, 16+8*int(size))
	b = section(b, st.bans.table, func(b []byte, _ int, fp uint64, v int64) []byte {
		until, count := unpackBan(v)
		if until+int64(st.Ban.Memory) <= now {
			return b
		}
		return word(word(word(b, fp), uint64(until-now)), uint64(count))
	}, 24)
	return appendSum(b)
}

func appendSum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// section writes the slots of a table and, before them, their number.
func section(b []byte, t *table, put func(b []byte, slot int, fp uint64, v int64) []byte, each int) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint64(b, 0)
	if t != nil {
		t.each(func(slot int, fp uint64, v *int64) bool { b = put(b, slot, fp, *v); return true })
	}
	binary.LittleEndian.PutUint64(b[at:], uint64((len(b)-at-8)/each))
	return b
}

// Restore adds what a snapshot has to a zone, usually an empty one, and returns
// how many keys it has that are not fully recovered. The time that
// has passed since is the difference of the times of day. If that is negative
// because the clock was set back, no time has passed. Nothing can lie further
// ahead than a key can spend and owe, whatever the clock says.
func (z *Zone) Restore(snapshot []byte, wall time.Time) (keys int, err error) {
	r, err := openSnapshot(snapshot)
	if err != nil {
		return 0, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	passed := max(0, wall.UnixNano()-int64(r.word()))
	passed = min(passed, maxHorizon)
	interval, size := int64(r.word()), r.word()
	if size > MaxExact || interval < 0 {
		return 0, fmt.Errorf("%w: a log of %d", ErrSnapshot, size)
	}
	st, now := z.state.Load(), z.now()
	for range r.count(16 + 8*int(size)) {
		hash, tat := r.word(), int64(r.word())-passed
		times := r.words(int(size))
		if st.table.buckets == nil || interval == 0 || tat <= -st.grace {
			continue
		}
		keys++
		if st.restore(hash, tat, times, interval, now, passed) {
			z.lost.Add(1)
		}
	}
	for range r.count(24) {
		st.bans.restore(now, r.word(), int64(r.word())-passed, int64(r.word()), &z.lost)
	}
	return keys, r.err
}

// restore puts a key back whose TAT is ahead of now under an old interval. It
// reports whether that or another key is not kept.
func (s *state) restore(hash uint64, ahead int64, times []byte, interval, now, passed int64) (lost bool) {
	was := &Rate{interval: interval}
	tat := s.Rate.convert(now+min(ahead, maxHorizon), now, was, s.Debt)
	slot, lost := s.adopt(fingerprint(hash), min(tat, now+s.Rate.horizon(s.Debt)), now)
	if slot < 0 || s.logs == nil {
		return lost
	}
	s.logs.reset(slot)
	if len(times) == 0 {
		s.logs.add(slot, now, spent(s.Rate, tat, now))
	}
	for ; len(times) > 0; times = times[:len(times)-8] { // the oldest first
		at := int64(binary.LittleEndian.Uint64(times[len(times)-8:]))
		if at > -maxHorizon/2 {
			s.logs.add(slot, now+min(0, at-passed), 1)
		}
	}
	return lost
}

// restore puts a ban back.
func (s *bans) restore(now int64, hash uint64, ahead, count int64, lost *atomic.Int64) {
	ahead = max(-maxHorizon/2, min(ahead, int64(MaxWindow)))
	fp, b := fingerprint(hash), s.table.bucket(hash)
	b.lock()
	defer b.unlock()
	if b.find(fp) >= 0 {
		return
	}
	s.any.Store(true)
	b.claimBan(fp, now, packBan(now+ahead, max(0, count)), lost)
}

// reader reads the numbers of a snapshot.
type reader struct {
	b   []byte
	err error
}

func openSnapshot(b []byte) (*reader, error) {
	const least = len(snapshotMagic) + 5*8 + 4
	if len(b) < least || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return nil, ErrSnapshot
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrSnapshot)
	}
	return &reader{b: body[len(snapshotMagic):]}, nil
}

func (r *reader) word() uint64 {
	if len(r.b) < 8 {
		r.err, r.b = ErrSnapshot, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) words(n int) []byte {
	if len(r.b) < 8*n {
		r.err, r.b = ErrSnapshot, nil
		return nil
	}
	v := r.b[:8*n]
	r.b = r.b[8*n:]
	return v
}

// count reads how many entries follow, of so many bytes each.
func (r *reader) count(each int) uint64 {
	n := r.word()
	if n > uint64(len(r.b)/each) {
		r.err, r.b = ErrSnapshot, nil
		return 0
	}
	return n
}
