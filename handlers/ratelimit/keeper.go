package ratelimit

import (
	"context"
	"path"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/limiter"
)

const (
	sweepEvery  = time.Second // while a key is refused
	saveEvery   = time.Minute
	saveTimeout = 10 * time.Second
)

// keep records which keys begin and cease to be refused, keeps the zone's
// snapshot and says when the zone is too small. It is the only goroutine of a zone
// and ends with it.
func (s *shared) keep() {
	defer close(s.done)
	slow := time.NewTicker(saveEvery)
	defer slow.Stop()
	fast := time.NewTimer(sweepEvery)
	defer fast.Stop()
	var lost int64
	for {
		select {
		case <-s.stop:
			s.sweep(-1)
			s.save()
			return
		case <-s.wake:
			s.sweep(s.info.Load().quiet)
		case <-fast.C:
			s.sweep(s.info.Load().quiet)
		case <-slow.C:
			s.save()
			lost = s.alarm(lost)
		}
		if s.tracker.Active() {
			fast.Reset(sweepEvery)
		}
	}
}

// alarm says, at most once a minute, that keys were forgotten.
func (s *shared) alarm(before int64) int64 {
	lost := s.zone.Lost()
	if lost > before {
		caddy.Log().Named("soc2").Warn("a limit's zone is too small: keys that had something to lose were forgotten, or not kept; set capacity to more keys",
			zap.String("zone", s.name), zap.Int64("keys", lost-before), zap.Int("capacity", s.zone.Capacity()))
	}
	return lost
}

// sweep records what happened since the last time. With a negative quiet time
// every limiting that is under way ends.
func (s *shared) sweep(quiet time.Duration) {
	if !s.tracker.Active() {
		return
	}
	write := func(audit.Body) {}
	if book := ledger.Current(); book != nil && book.Hold() {
		defer book.Release()                                    // not under the mutex: it may close the log
		write = func(r audit.Body) { _ = book.Write(r, false) } // the log counts those that it does not take
	}
	s.tell(quiet, write)
}

// End ends every limiting that is under way for the log that is about to close.
// Its last records are written with write.
func End(write func(audit.Body)) {
	each(func(s *shared) { s.tell(-1, write) })
}

// tell writes what happened since the last time.
func (s *shared) tell(quiet time.Duration, write func(audit.Body)) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	wall, now := time.Now(), limiter.Now()
	at := func(ns int64) time.Time { return wall.Add(time.Duration(ns - now)) }
	change := func(kind audit.Kind, r limiter.Refused) *audit.LimitChange {
		in := s.info.Load()
		c := &audit.LimitChange{
			Time: wall, Kind: kind, Zone: s.name, Limit: in.limit, Mode: in.mode,
			Reason: r.Verdict.String(), From: at(r.From),
		}
		c.Key, c.Pseudo = s.shown(r)
		return c
	}
	s.tracker.Sweep(now, int64(quiet), func(r limiter.Refused) {
		write(change(audit.KindLimitBegin, r))
	}, func(r limiter.Refused) {
		c := change(audit.KindLimitBan, r)
		c.Until, c.From = at(r.Until), time.Time{}
		c.Reason = "went on although it was refused"
		write(c)
	}, func(r limiter.Refused) {
		c := change(audit.KindLimitEnd, r)
		c.To, c.Refused, c.Allowed = at(r.Last), r.Refused, r.Allowed
		write(c)
	})
}

// otherKeys stands in records for keys that there are too many of to follow each.
const otherKeys = "(others)"

// shown is how a record names a key.
func (s *shared) shown(r limiter.Refused) (key string, pseudonym bool) {
	switch {
	case r.Hash == 0:
		return otherKeys, false
	case r.Name != "":
		return r.Name, false
	}
	return s.id(r.Hash), true
}

// storageKey is where the zone's snapshot is, apart from those of other
// instances with the same storage.
func (s *shared) storageKey() string {
	instance := "default"
	if id, err := caddy.InstanceID(); err == nil {
		instance = id.String()
	}
	return path.Join("soc2", "limits", instance, s.name)
}

// load reads the secret and the snapshot that an earlier process left.
func (s *shared) load(ctx context.Context, storage certmagic.Storage) (snapshot []byte) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	name := s.storageKey()
	if !storage.Exists(ctx, name) {
		return nil
	}
	b, err := storage.Load(ctx, name)
	if err != nil || len(b) < secretBytes {
		caddy.Log().Named("soc2").Error("what keys had spent before the start cannot be read", zap.String("zone", s.name), zap.Error(err))
		return nil
	}
	s.secret = b[:secretBytes:secretBytes]
	return b[secretBytes:]
}

// save writes the zone's snapshot, if a configuration ran that wants it: what a
// command like "caddy validate" loads is not newer than what it would replace.
func (s *shared) save() {
	s.mu.Lock()
	storage := s.storage
	s.mu.Unlock()
	if storage == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	b := append(s.secret[:secretBytes:secretBytes], s.zone.Snapshot(time.Now())...)
	if err := storage.Store(ctx, s.storageKey(), b); err != nil {
		caddy.Log().Named("soc2").Error("what keys have spent cannot be kept", zap.String("zone", s.name), zap.Error(err))
	}
}

// Destruct ends the zone: no configuration has it any more. It implements
// caddy.Destructor.
func (s *shared) Destruct() error {
	close(s.stop)
	<-s.done
	return nil
}
