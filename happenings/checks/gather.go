package checks

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/controls"
	"github.com/caddy-soc2/caddy-soc2/happenings/certificates"
	"github.com/caddy-soc2/caddy-soc2/happenings/changes"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/happenings/process"
)

// facts is what is kept from one run to the next, because it costs time to find
// out or is seen only in comparison. It is guarded by the watcher's lock.
type facts struct {
	log       *audit.Log // of which the following is
	opened    time.Time
	waitingAt int64     // size of the checkpoint for which records wait
	waiting   time.Time // since when
	missed    missed
	failure   string
	verified  *audit.LogVerify
	first     int64 // oldest record
	oldest    time.Time
	grew      growth

	sample *controls.Sample
	sum    string // of the program
	last   time.Time
}

// missed are the records that the log did not take since it was opened.
type missed struct{ served, lost, other int64 }

// gather takes a snapshot.
func (f *facts) gather(ctx context.Context, m *Monitor, trigger string) *controls.Snapshot {
	slow := trigger != controls.TriggerChange || f.sample == nil
	endpoint := changes.Look()
	now := time.Now()
	s := &controls.Snapshot{Time: now, AdminDefault: caddy.DefaultAdminListen, Server: &controls.Server{Started: process.Born()}}
	if config, hash, known := changes.Running(); known {
		s.Config, s.ConfigSHA256 = config, hash
	}
	srv := s.Server
	m.watcher.tally.Facts(srv)
	srv.Endpoint = &controls.Endpoint{State: endpoint.State, Unexpected: endpoint.Unexpected, Missing: endpoint.Missing}
	if list, swept := certificates.InUse(); swept {
		certs := make([]controls.Certificate, 0, len(list))
		for _, c := range list {
			certs = append(certs, controls.Certificate{Names: c.Names, NotBefore: c.NotBefore, NotAfter: c.NotAfter, KeyType: c.KeyType, Managed: c.Managed})
		}
		srv.Certificates = &certs
	}
	if book := ledger.Current(); book != nil {
		f.gatherLog(ctx, book.Log(), &srv.Log, slow, now)
		m.watcher.tally.Facts(srv) // what the log missed is among it
	}
	srv.Log.Held = m.app.Held()
	for _, a := range m.app.Anchors() {
		srv.Log.Anchors = append(srv.Log.Anchors, controls.Anchor(a))
	}
	if f.sum == "" {
		f.sum = process.Describe(ctx).Program.SHA256
	}
	srv.Process = describe(f.sum)
	srv.Process.Files = modes(m.app.Guarded())
	srv.Second, srv.Sampled = m.second(), f.sample
	return s
}

func (f *facts) gatherLog(ctx context.Context, log *audit.Log, l *controls.Log, slow bool, now time.Time) {
	f.use(log, now)
	stats := log.Stats()
	f.compare(stats, now)
	l.Opened, l.Records, l.Checkpoint, l.CheckpointTime = f.opened, stats.Records, stats.Checkpoint, stats.CheckpointTime
	if stats.Failure != nil {
		l.Failure = stats.Failure.Error()
	}
	if stats.Records > stats.Checkpoint {
		if f.waiting.IsZero() || f.waitingAt != stats.Checkpoint {
			f.waiting, f.waitingAt = now, stats.Checkpoint
		}
		l.Waiting = f.waiting
	} else {
		f.waiting = time.Time{}
	}
	if v := stats.Verified; v != nil {
		l.Verified = &controls.Verification{Time: v.Time, Problems: v.Problems, Outcome: v.Outcome}
	}
	dir := log.Records()
	if first, err := dir.First(); err == nil {
		if first != f.first || f.oldest.IsZero() {
			if b, err := dir.Record(first); err == nil {
				if at, err := records.Appended(b); err == nil {
					f.first, f.oldest = first, at
				}
			}
		}
	}
	l.First, l.Oldest = f.first, f.oldest
	l.Free = free(log.Dir())
	if slow {
		f.grew.look(log.Dir(), now)
		f.sample = sample(ctx, dir)
	}
	l.Daily = f.grew.daily()
}

// use begins anew for another log.
func (f *facts) use(log *audit.Log, now time.Time) {
	if f.log == log {
		return
	}
	*f = facts{log: log, opened: now, sum: f.sum, last: f.last}
}

// compare notes what the log has missed since the last look. It reports whether
// there is news.
func (f *facts) compare(stats audit.Stats, now time.Time) (news bool) {
	var is missed
	for cause, m := range stats.Missed {
		is.served += m.Served
		is.other += m.Other
		is.lost += stats.Lost[cause]
	}
	for _, part := range []struct {
		n    int64
		what string
	}{
		{is.served - f.missed.served, "requests were served without a record"},
		{is.lost - f.missed.lost, "records were lost"},
		{is.other - f.missed.other, "other records were not taken"},
	} {
		if part.n > 0 {
			shared.tally.See(controls.SeenMissing, now, part.what, part.n)
			news = true
		}
	}
	failure := ""
	if stats.Failure != nil {
		failure = stats.Failure.Error()
	}
	news = news || failure != f.failure || stats.Verified != f.verified
	f.missed, f.failure, f.verified = is, failure, stats.Verified
	return news
}

// glance looks at what does not announce itself.
func (w *watcher) glance(now time.Time) {
	if !w.mu.TryLock() {
		return // a run is on, which looks at the same
	}
	defer w.mu.Unlock()
	w.facts.jumps(w.tally, now)
	book := ledger.Current()
	if book == nil || book.Log() != w.facts.log {
		return
	}
	if w.facts.compare(book.Log().Stats(), now) {
		w.tally.Notify()
	}
}

// maxJump is how much the clock may differ from the monotonic one between two
// glances. The threshold of the check is applied by Monitor.
const maxJump = time.Second

// jumps compares the clock with the monotonic one, which nobody sets.
func (f *facts) jumps(t *controls.Tally, now time.Time) {
	if !f.last.IsZero() {
		wall := now.Round(0).Sub(f.last.Round(0))
		if jump := wall - now.Sub(f.last); jump.Abs() > maxJump {
			t.See(controls.SeenClock, now, "jumped by "+jump.Round(time.Millisecond).String(), 1)
		}
	}
	f.last = now
}

// growth is how fast the log grows.
type growth struct {
	from, to   time.Time
	size, more int64
}

const (
	growthEvery = 10 * time.Minute // how often the directory is looked at
	growthLeast = 10 * time.Minute // for how long it was watched before a rate is known
	growthMost  = 24 * time.Hour
)

func (g *growth) look(dir string, now time.Time) {
	if !g.to.IsZero() && now.Sub(g.to) < growthEvery {
		return
	}
	size := int64(0)
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	if g.from.IsZero() || size < g.size || now.Sub(g.from) > growthMost {
		g.from, g.size = now, size
	}
	g.to, g.more = now, size-g.size
}

// daily is in bytes, or 0 if it is not known.
func (g *growth) daily() float64 {
	d := g.to.Sub(g.from)
	if d < growthLeast {
		return 0
	}
	return float64(g.more) / d.Hours() * 24
}

// sampled is how many of the newest records are searched for secrets.
const sampled = 64

// sample searches the newest records of requests for what looks like a secret.
func sample(ctx context.Context, dir records.Dir) *controls.Sample {
	s := new(controls.Sample)
	n := 0
	err := dir.Newest(func(seq int64, record []byte) bool {
		n++
		if string(records.Kind(record)) == string(audit.KindRequest) {
			if r, err := audit.Decode(record); err == nil {
				if ev, ok := r.Body.(*audit.Event); ok {
					s.Look(seq, ev)
				}
			}
		}
		return s.Records < sampled && n < 16*sampled && ctx.Err() == nil
	})
	if err != nil {
		caddy.Log().Named("soc2").Warn("the newest records could not be read for a check", zap.Error(err))
		return nil
	}
	return s
}

// second is Caddy's own count of the requests of the configuration; nil if its
// metrics are off.
func (m *Monitor) second() *controls.Count {
	registry := m.ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	ours := m.counted.Load()
	families, err := registry.Gather()
	if err != nil {
		return nil
	}
	c := &controls.Count{Source: "caddy_http_requests_total", Ours: ours}
	found := false
	for _, f := range families {
		switch f.GetName() {
		case "caddy_http_requests_total":
			found = true
			c.Theirs = int64(total(f))
		case "caddy_http_requests_in_flight":
			c.Flight = int64(total(f))
		}
	}
	if !found {
		return nil
	}
	c.Flight += max(0, m.counted.Load()-ours) // while it was counted
	return c
}

// total sums up the samples of the handler that makes records.
func total(f *dto.MetricFamily) (sum float64) {
	for _, sample := range f.GetMetric() {
		for _, l := range sample.GetLabel() {
			if l.GetName() == "handler" && l.GetValue() == "soc2_audit" {
				sum += sample.GetCounter().GetValue() + sample.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// modes looks at files. Those that do not exist are left out.
func modes(list []controls.File) (found []controls.File) {
	for _, f := range list {
		info, err := os.Stat(f.Path)
		if err != nil {
			continue
		}
		f.Mode, f.Dir = uint32(info.Mode().Perm()), info.IsDir()
		found = append(found, f)
	}
	return found
}

// describe looks at the process.
func describe(sum string) *controls.Process {
	c := process.Clock()
	p := &controls.Process{
		AdminEnv: strings.TrimSpace(os.Getenv("CADDY_ADMIN")), SHA256: sum, UID: os.Geteuid(),
		ClockKnown: c.Known, ClockSynced: c.Synced,
	}
	privileges(p)
	return p
}
