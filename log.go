package soc2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/checkpoint"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/audit/policy"
	"github.com/caddy-soc2/caddy-soc2/happenings/checks"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/happenings/metrics"
	"github.com/caddy-soc2/caddy-soc2/happenings/wire"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// logs holds the open logs of this process by directory. On a reload the new
// configuration is provisioned before the old one is cleaned up, and requests
// of the old one may outlive both: all of them share one writer.
var logs = caddy.NewUsagePool()

// sharedLog is an open log that configurations share, and the requests that
// they serve. It is closed when neither are left: Caddy does not wait for
// requests when it cleans a configuration up.
type sharedLog struct {
	dir      string
	instance string // name of this server in records that no configuration writes
	log      atomic.Pointer[audit.Log]
	notary   atomic.Pointer[notary.Notary]
	lost     atomic.Bool // a record could not be kept; said in the server's log
	bare     atomic.Bool // personal data could not be protected; said in the server's log
	rejoin   sync.Mutex  // serializes reopening

	counters policy.Counters // requests that policies left out

	life   sync.Mutex    // guards the fields below, and that the log is closed once
	wire   *wire.Teller  // tells what reached no handler
	teller chan struct{} // closed when the telling of the counters is to end; nil: shut
	told   chan struct{} // closed when it has ended

	users     users         // who keeps it open
	closeWait time.Duration // for the disk when it is closed; default: the constant
}

// joinLog opens the log of an app or joins it if it is open. One whose files
// were replaced is opened again.
func joinLog(a *App) (*sharedLog, error) {
	dir, err := filepath.Abs(a.Audit.Dir)
	if err != nil {
		return nil, fmt.Errorf("soc2: audit dir %s: %w", a.Audit.Dir, err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // one log has one name here
	}
	keys, err := logKeys(a, dir)
	if err != nil {
		return nil, fmt.Errorf("soc2: audit key: %w", err)
	}
	v, _, err := logs.LoadOrNew(dir, func() (caddy.Destructor, error) {
		if s := takeBack(dir); s != nil {
			return s, nil
		}
		log, err := openLog(a, dir, keys)
		if err != nil {
			return nil, err
		}
		s := &sharedLog{dir: dir, instance: a.InstanceName}
		s.use(log, a.InstanceName)
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	s, _ := v.(*sharedLog)
	if err := s.join(a, keys); err != nil {
		return nil, errors.Join(err, s.leave())
	}
	return s, nil
}

// logKeys reads the log's keys. A log that is to be begun gets one if there is
// none; one that exists needs its own.
func logKeys(a *App, dir string) (audit.KeySet, error) {
	source, err := audit.ParseSource(a.Audit.Key)
	if err != nil {
		return audit.KeySet{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, checkpoint.File)); err == nil {
		keys, err := source.LoadSet()
		if _, inFile := source.File(); inFile && errors.Is(err, fs.ErrNotExist) { // of others the error says what to do
			return keys, fmt.Errorf("%w: it is the key of the log in %s: put it back, or set audit dir to another directory to begin a new log", err, dir)
		}
		return keys, err
	}
	if _, err := source.Ensure(durable.OS{}, a.InstanceName+"/soc2"); err != nil {
		if _, inFile := source.File(); !inFile {
			return audit.KeySet{}, err
		}
		return audit.KeySet{}, remedy(err, "make it writable, or set data_dir or audit key to a place that is")
	}
	return source.LoadSet()
}

func openLog(a *App, dir string, keys audit.KeySet) (*audit.Log, error) {
	log, err := audit.Open(audit.Config{
		Dir: dir, Key: keys.Key, Cosigners: keys.Cosigners(), Instance: a.InstanceName,
		CheckpointEvery: time.Duration(a.Audit.CheckpointInterval),
		QueueBytes:      a.Audit.QueueBytes,
		Deadline:        time.Duration(a.Audit.Deadline),
		StateFile:       filepath.Join(a.DataDir, filepath.FromSlash(stateFile)),
		Logger:          slogger(),
	})
	switch {
	case err == nil:
		return log, nil
	case errors.Is(err, durable.ErrLocked):
		err = fmt.Errorf("%w: stop it, or change its configuration with \"caddy reload\", or set audit dir to another directory", err)
	case errors.Is(err, audit.ErrDamaged):
		err = fmt.Errorf("%w: run \"caddy soc2 verify %s\" to see where, and keep the directory as evidence; to begin a new log set audit dir to another directory", err, dir)
	default:
		err = remedy(err, "make it writable, or set data_dir or audit dir to a place that is")
	}
	return nil, fmt.Errorf("soc2: audit dir: %w", err)
}

// remedy adds what to do to an error of the file system.
func remedy(err error, what string) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) || errors.As(err, new(*fs.PathError)) {
		return fmt.Errorf("%w: %s", err, what)
	}
	return err
}

// join checks that a configuration may use the open log. A log that failed heals
// itself, and counts what it misses until then, so it is left alone; but one
// whose directory is another now waits for somebody to open it again.
func (s *sharedLog) join(a *App, keys audit.KeySet) error {
	s.rejoin.Lock()
	defer s.rejoin.Unlock()
	log := s.get()
	if log.Key().Public() != keys.Key.Public() {
		return fmt.Errorf("soc2: audit key %s: the log in %s is open with another key: restart to change it", a.Audit.Key, s.dir)
	}
	if n := len(keys.Cosigners()); n != len(log.Keys())-1 {
		caddy.Log().Named("soc2").Warn("the log's keys have changed; a restart takes them up", zap.String("key", a.Audit.Key))
	}
	if !errors.Is(log.Err(), audit.ErrReplaced) {
		return nil
	}
	return s.reopen(a, keys)
}

// reopen opens the log's directory anew. The log that was open is given up only
// when the new one is there: where another directory has its name. In its own
// directory, which it locks, it must be closed before. In either case what it
// counts, also while there is no new one, is told by the next.
func (s *sharedLog) reopen(a *App, keys audit.KeySet) error {
	old := s.get()
	log, err := openLog(a, s.dir, keys)
	if errors.Is(err, durable.ErrLocked) {
		_ = s.shut(s.patience()) // it failed already, and has said why
		log, err = openLog(a, s.dir, keys)
	}
	if err != nil {
		return err
	}
	_ = s.shut(s.patience())
	s.use(log, a.InstanceName)
	log.Inherit(old)
	s.lost.Store(false)
	return nil
}

// use makes a log that was just opened the one that is shared.
func (s *sharedLog) use(log *audit.Log, instance string) {
	s.life.Lock()
	defer s.life.Unlock()
	s.log.Store(log)
	s.notary.Store(newNotary(log, instance))
	s.teller, s.told = make(chan struct{}), make(chan struct{})
	go s.tell(instance, s.teller, s.told)
	s.tellWire(instance)
}

// tellEvery is how often the requests that policies leave out are recorded.
const tellEvery = time.Minute

// tell records, until stop is closed and once more then, how many requests
// policies left out of the log.
func (s *sharedLog) tell(instance string, stop <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tellOmitted(instance)
		case <-stop:
			s.tellOmitted(instance)
			return
		}
	}
}

func (s *sharedLog) tellOmitted(instance string) {
	list := s.counters.Take()
	for i, o := range list {
		r := audit.LogGap{Time: o.To, Cause: "policy", Rule: o.Rule, Reason: o.Reason, From: o.From, To: o.To, Served: o.Count}
		if err := s.appendNow(&r, instance, false); err != nil {
			s.counters.Return(list[i:])
			return
		}
	}
}

func (s *sharedLog) get() *audit.Log { return s.log.Load() }

// configure applies the settings of the configuration that now runs.
func (s *sharedLog) configure(a *App) error {
	log := s.get()
	log.SetCheckpointInterval(time.Duration(a.Audit.CheckpointInterval))
	log.SetLimits(a.Audit.QueueBytes, time.Duration(a.Audit.Deadline))
	log.SetRetention(audit.Retention{Keep: time.Duration(a.Audit.Retain), Held: a.privacy.held})
	log.SetScrub(audit.Scrub{Every: time.Duration(a.Audit.ScrubInterval), Rate: int64(a.Audit.ScrubRate)})
	if err := s.notary.Load().Set(a.anchors); err != nil {
		return err
	}
	ledger.Set(s)
	return nil
}

var _ ledger.Numbered = (*sharedLog)(nil)

// Write implements ledger.Book.
func (s *sharedLog) Write(r audit.Body, wait bool) error {
	err := s.appendNow(r, s.instance, wait)
	if err != nil {
		s.miss(err, audit.Missed{Other: 1})
	}
	checks.Happened(r)
	return err
}

// Enter implements ledger.Numbered.
func (s *sharedLog) Enter(r *audit.Review) (seq int64, err error) {
	seq, err = s.appendAs(r, s.instance, true)
	if err != nil {
		s.miss(err, audit.Missed{Other: 1})
		return seq, err
	}
	checks.Decided(seq, r)
	return seq, nil
}

// Log implements ledger.Book.
func (s *sharedLog) Log() *audit.Log { return s.get() }

func (s *sharedLog) leave() error {
	_, err := logs.Delete(s.dir)
	return err
}

// bodies pools the buffers in which records are encoded.
var bodies = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// appendNow encodes and appends a record, and waits for it to be durable if
// wait is set.
func (s *sharedLog) appendNow(r audit.Body, instance string, wait bool) error {
	_, err := s.appendAs(r, instance, wait)
	return err
}

// appendAs is appendNow that returns the record's index.
func (s *sharedLog) appendAs(r audit.Body, instance string, wait bool) (seq int64, err error) {
	buf, _ := bodies.Get().(*[]byte)
	defer bodies.Put(buf)
	*buf = r.AppendBody((*buf)[:0], instance)
	if wait {
		began := time.Now()
		seq, err = s.get().Append(context.Background(), *buf)
		metrics.Durable(time.Since(began))
		return seq, err
	}
	return s.get().Enqueue(context.Background(), *buf)
}

// record appends the record of a request. It ends what begin began.
func (s *sharedLog) record(ev *audit.Event, instance string, wait, counts bool) error {
	if !s.beginRecord() { // it was counted when it was cut off
		s.end()
		if counts {
			return nil
		}
		return audit.ErrClosed
	}
	defer s.endRecord()
	err := s.appendNow(ev, instance, wait)
	if err == nil {
		metrics.Count(metrics.Of(ev))
		return nil
	}
	s.count(err, !wait || counts)
	if !s.lost.Swap(true) {
		caddy.Log().Named("soc2").Error("the record of a request was not kept; this is said once, and log.gap records tell how many there were",
			zap.Bool("response_withheld", wait && !counts), zap.String("request_id", ev.ID.String()), zap.Error(err))
	}
	if counts {
		return nil
	}
	return err
}

// unprotected says, once, that personal data could not be protected. The record
// is kept without it.
func (s *sharedLog) unprotected(err error) {
	if err != nil && !s.bare.Swap(true) {
		caddy.Log().Named("soc2").Error("records are kept without the members that were to be protected; this is said once", zap.Error(err))
	}
}

// count counts a request that has no record, for the log.gap record.
func (s *sharedLog) count(err error, served bool) {
	if served {
		metrics.Count(metrics.Unrecorded)
		s.miss(err, audit.Missed{Served: 1})
		return
	}
	metrics.Count(metrics.Refused)
	if errors.Is(err, audit.ErrStalled) {
		s.get().Miss(causeOf(err), audit.Missed{Late: 1})
		return
	}
	s.miss(err, audit.Missed{Refused: 1})
}

// miss counts a record that was not taken.
func (s *sharedLog) miss(err error, m audit.Missed) {
	switch {
	case errors.Is(err, audit.ErrLost): // the log counts those itself
	case errors.Is(err, audit.ErrStalled): // it is on its way
	default:
		s.get().Miss(causeOf(err), m)
	}
}

// causeOf tells why a record was not taken.
func causeOf(err error) audit.Cause {
	switch {
	case errors.Is(err, audit.ErrStalled), errors.Is(err, audit.ErrFull):
		return audit.CauseStall
	case errors.Is(err, audit.ErrClosed):
		return audit.CauseExit
	}
	return audit.CauseFailure
}
