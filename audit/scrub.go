package audit

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// Scrub says how the log verifies itself.
type Scrub struct {
	Every time.Duration // how often; default 24 h
	Rate  int64         // bytes a second that are read at most; default 8 MiB
}

// The defaults of Scrub.
const (
	scrubEvery = 24 * time.Hour
	scrubRate  = 8 << 20
)

// scrubber reads the log and verifies all of it, slowly, again and again, in a
// goroutine of its own. What disks forget is so found while there is a copy.
type scrubber struct {
	log    *Log
	cfg    atomic.Pointer[Scrub]
	woken  chan struct{} // the settings changed
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
}

func newScrubber(l *Log) *scrubber {
	s := &scrubber{log: l, woken: make(chan struct{}, 1), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.set(l.cfg.Scrub)
	return s
}

func (s *scrubber) set(cfg Scrub) {
	if cfg.Every <= 0 {
		cfg.Every = scrubEvery
	}
	if cfg.Rate <= 0 {
		cfg.Rate = scrubRate
	}
	s.cfg.Store(&cfg)
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// SetScrub changes how the log verifies itself.
func (l *Log) SetScrub(cfg Scrub) { l.scrubber.set(cfg) }

func (s *scrubber) close() {
	s.cancel()
	<-s.ended
}

func (s *scrubber) run() {
	defer close(s.ended)
	last := time.Now()
	for {
		due := time.NewTimer(time.Until(last.Add(s.cfg.Load().Every)))
		select {
		case <-s.ctx.Done():
			due.Stop()
			return
		case <-s.woken:
			due.Stop()
		case <-due.C:
			if err := s.log.Scrub(s.ctx); err != nil && s.ctx.Err() == nil {
				s.log.cfg.Logger.Error("the audit log could not verify itself", "error", err)
			}
			last = time.Now()
		}
	}
}

// Scrub verifies all of the log at the configured rate and records the result.
// That the log is being written meanwhile does no harm.
func (l *Log) Scrub(ctx context.Context) error {
	began := time.Now()
	files := &slowFS{FS: l.dir.FS, ctx: ctx, rate: func() int64 { return l.scrubber.cfg.Load().Rate }}
	report, err := verify.Dir(files, l.cfg.verifiers(), verify.Options{})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	r := LogVerify{Time: l.cfg.Now(), Outcome: "verified", Records: report.Records, Bytes: files.bytes(), Duration: time.Since(began)}
	if !report.OK() {
		r.Outcome = "problems"
		for _, p := range report.Problems {
			r.Problems = append(r.Problems, p.String())
		}
		l.cfg.Logger.Error("the audit log does not verify", "problems", r.Problems)
	}
	l.scrubbed.Store(&r)
	_, err = l.Append(ctx, r.AppendBody(nil, l.cfg.Instance))
	return err
}

// Scrubbed is the result of the newest self-verification, or nil.
func (l *Log) Scrubbed() *LogVerify { return l.scrubbed.Load() }

// slowFS reads files at a bounded rate, until its context ends. The verifier
// reads several at a time.
type slowFS struct {
	fs.FS
	ctx  context.Context
	rate func() int64

	mu   sync.Mutex // guards the fields below
	read int64
	free time.Time // when what was read has taken as long as the rate asks for
}

// Open implements fs.FS.
func (s *slowFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if dir, ok := f.(fs.ReadDirFile); ok {
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return &slowFile{f, s}, nil
}

// Lstat, with ReadLink, implements fs.ReadLinkFS: without it what is no regular
// file would have to be opened to see that it is none, and opening a pipe waits
// for ever.
func (s *slowFS) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(s.FS, name) }

// ReadLink implements fs.ReadLinkFS.
func (s *slowFS) ReadLink(name string) (string, error) { return fs.ReadLink(s.FS, name) }

// wait accounts for n bytes that were read.
func (s *slowFS) wait(n int) error {
	s.mu.Lock()
	s.read += int64(n)
	if now := time.Now(); s.free.Before(now) {
		s.free = now
	}
	s.free = s.free.Add(time.Duration(int64(n)) * time.Second / time.Duration(max(s.rate(), 1)))
	until := s.free
	s.mu.Unlock()
	pause := time.NewTimer(time.Until(until))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// bytes is how much was read.
func (s *slowFS) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

type slowFile struct {
	fs.File
	fs *slowFS
}

// piece is the most that is read at a time.
const piece = 256 << 10

func (f *slowFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p[:min(len(p), piece)])
	if werr := f.fs.wait(n); werr != nil {
		return n, werr
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (f *slowFile) ReadAt(p []byte, off int64) (int, error) {
	at, ok := f.File.(io.ReaderAt)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	n, err := at.ReadAt(p, off)
	if werr := f.fs.wait(n); werr != nil {
		return n, werr
	}
	return n, err
}
