// Package reports is the endpoint that browsers report violations of a site's
// policies to. It counts reports that are alike and appends the counts to the
// audit log, as records of the kind browser.report.
//
// Anybody can send a report, so nothing in one is taken as it is: it has to be
// about a page of the host that it is sent to, types come from a fixed list,
// what was blocked is reduced to an origin, and a page to its path. The memory
// and the records that reports can use are bounded, whatever comes.
package reports

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
	"github.com/caddy-soc2/caddy-soc2/internal/secret"
)

// Handler takes the reports of browsers: application/reports+json (Reporting
// API) and application/csp-report (CSP level 2). It answers 204, or an error for
// what is no report; the pages of a site name it with the option reports_to of
// soc2_headers.
type Handler struct {
	// Rate is how many bodies are read in a second, from all clients together;
	// as many as in four seconds may come at once. More get 429. Default: 50.
	Rate int `json:"rate,omitempty"`

	// Interval is how long reports that are alike are counted before the count
	// becomes a record. Default: 1m. Minimum: 1s.
	Interval caddy.Duration `json:"interval,omitempty"`

	// Groups is how many different reports are told apart in an interval; the
	// rest is counted together. Default: 256.
	Groups int `json:"groups,omitempty"`

	patience time.Duration // with a body
	now      func() time.Time
	write    func(*audit.BrowserReport) error
	logger   *zap.Logger
	bucket   *bucket
	tally    *tally
	stop     chan struct{}
	done     chan struct{}
}

// maxBody is how many bytes a body may have.
const maxBody = 64 << 10

// bodyTime is how long a body may take. Together with Rate it bounds how many
// are held at once.
const bodyTime = 10 * time.Second

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.soc2_reports",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision begins to count.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := secret.Fill(h); err != nil {
		return fmt.Errorf("soc2_reports: %w", err)
	}
	if err := h.prepare(); err != nil {
		return err
	}
	h.logger = ctx.Logger()
	h.stop, h.done = make(chan struct{}), make(chan struct{})
	go h.run()
	return nil
}

func (h *Handler) prepare() error {
	if h.Rate == 0 {
		h.Rate = 50
	}
	if h.Groups == 0 {
		h.Groups = 256
	}
	if h.Interval == 0 {
		h.Interval = caddy.Duration(time.Minute)
	}
	switch {
	case h.Rate < 1 || h.Rate > 100_000:
		return fmt.Errorf("rate %d: it is at least 1 and at most 100000", h.Rate)
	case h.Groups < 1 || h.Groups > 10_000:
		return fmt.Errorf("groups %d: it is at least 1 and at most 10000", h.Groups)
	case time.Duration(h.Interval) < time.Second:
		return fmt.Errorf("interval %s: it is at least 1s", time.Duration(h.Interval))
	}
	if h.now == nil {
		h.now, h.write = time.Now, appendRecord
	}
	h.patience = bodyTime
	h.bucket = &bucket{rate: float64(h.Rate), room: 4 * float64(h.Rate), left: 4 * float64(h.Rate)}
	h.tally = newTally(h.Groups)
	return nil
}

// run appends the counts until Cleanup. It owns the ticker.
func (h *Handler) run() {
	defer close(h.done)
	t := time.NewTicker(time.Duration(h.Interval))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			h.flush()
		case <-h.stop:
			h.flush()
			return
		}
	}
}

// flush appends what was counted. What the log does not take is counted by the
// log itself.
func (h *Handler) flush() {
	for _, r := range h.tally.take(h.now()) {
		if err := h.write(r); err != nil {
			h.logger.Error("browsers' reports have no record", zap.Int64("count", r.Count), zap.Error(err))
		}
	}
}

// Cleanup appends what was counted so far and stops.
func (h *Handler) Cleanup() error {
	if h.stop == nil {
		return nil
	}
	close(h.stop)
	<-h.done
	h.stop = nil
	return nil
}

var errNoLog = errors.New("there is no audit log: add a soc2 block to the global options")

func appendRecord(r *audit.BrowserReport) error {
	book := ledger.Current()
	if book == nil || !book.Hold() {
		return errNoLog
	}
	defer book.Release()
	return book.Write(r, false)
}

// ServeHTTP takes reports.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("reports are posted"))
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != typeReports && media != typeCSP {
		return caddyhttp.Error(http.StatusUnsupportedMediaType, errors.New("this is no report of a browser"))
	}
	if r.ContentLength > maxBody {
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, errors.New("the report is too long"))
	}
	if !h.bucket.take(h.now()) {
		outcomes[limited].Add(1)
		w.Header().Set("Retry-After", "60")
		return caddyhttp.Error(http.StatusTooManyRequests, errors.New("too many reports"))
	}
	// Not each writer has deadlines; those of Caddy's servers have.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.patience))
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return caddyhttp.Error(http.StatusRequestTimeout, err)
	case err != nil:
		return caddyhttp.Error(http.StatusBadRequest, err)
	case len(body) > maxBody:
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, errors.New("the report is too long"))
	}
	list, err := parse(media, body)
	if err != nil {
		outcomes[malformed].Add(1)
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	h.count(list, hostOf(r.Host))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) count(list []report, host string) {
	now := h.now()
	for i := range list {
		switch k, page, ok := list[i].reduce(host); {
		case !ok:
			outcomes[foreign].Add(1)
		case h.tally.add(k, page, now):
			outcomes[counted].Add(1)
		default:
			outcomes[overflowed].Add(1)
		}
	}
}

func hostOf(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.ToLower(host)
}

// bucket bounds a rate.
type bucket struct {
	rate, room float64

	mu   sync.Mutex
	left float64
	at   time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.at).Seconds(); !b.at.IsZero() && passed > 0 {
		b.left = min(b.room, b.left+passed*b.rate)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// What becomes of a report.
const (
	counted = iota
	overflowed
	foreign
	malformed
	limited
)

var (
	outcomeNames = [...]string{"counted", "overflowed", "foreign", "malformed", "limited"}
	outcomes     [len(outcomeNames)]atomic.Int64
)

// Counts tells what became of the reports since the process began.
func Counts(emit func(outcome string, n int64)) {
	for i, name := range outcomeNames {
		emit(name, outcomes[i].Load())
	}
}

// ParseCaddyfile sets up the handler from a Caddyfile. Syntax:
//
//	soc2_reports [<matcher>] {
//		rate     <number>
//		interval <duration>
//		groups   <number>
//	}
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens, as
// ParseCaddyfile says.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		name := d.Val()
		var arg string
		if !d.AllArgs(&arg) {
			return d.Errf("%s takes one argument", name)
		}
		var err error
		switch name {
		case "rate":
			h.Rate, err = strconv.Atoi(arg)
		case "groups":
			h.Groups, err = strconv.Atoi(arg)
		case "interval":
			var v time.Duration
			v, err = caddy.ParseDuration(arg)
			h.Interval = caddy.Duration(v)
		default:
			return d.Errf("soc2_reports has no option %q: it has rate, interval and groups", name)
		}
		if err == nil && (name == "rate" && h.Rate == 0 || name == "groups" && h.Groups == 0) {
			err = errors.New("it is at least 1")
		}
		if err != nil {
			return d.Errf("%s %q: %v", name, arg, err)
		}
		probe := Handler{Rate: h.Rate, Groups: h.Groups, Interval: h.Interval}
		if err := probe.prepare(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
