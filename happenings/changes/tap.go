package changes

import (
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// The tap stands between Caddy's default logger and its outputs. It sees what
// Caddy logs about its admin API and about changes, whatever levels and names
// the outputs leave out, and changes none of it. It works in the goroutine that
// logs, before that goes on.
//
// A configuration brings a new default logger, which has no tap until Begin puts
// one in, some milliseconds later. What is logged in between is not seen.

var installing sync.Mutex

// install puts a tap into the default logger, unless it has one.
func install() {
	installing.Lock()
	defer installing.Unlock()
	if tapped(caddy.Log()) {
		return
	}
	// This pair of functions is how Caddy lets others replace its default logger.
	// What is logged between them is kept, and lost to the tap.
	_, logger, _ := caddy.BufferedLog()
	caddy.UnbufferDefaultLogger(logger.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return &tap{Core: c, record: process}
	})))
}

func tapped(l *zap.Logger) bool {
	_, ok := l.Core().(*tap)
	return ok
}

// tap is a core that passes everything on to another.
type tap struct {
	zapcore.Core
	record *recorder
	fields []zapcore.Field
}

// Enabled says yes also to what the outputs leave out. Check asks them again.
func (t *tap) Enabled(zapcore.Level) bool { return true }

// With implements zapcore.Core.
func (t *tap) With(fields []zapcore.Field) zapcore.Core {
	return &tap{t.Core.With(fields), t.record, slices.Concat(t.fields, fields)}
}

// Check implements zapcore.Core.
func (t *tap) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	checked = t.Core.Check(e, checked)
	if said[line{e.LoggerName, e.Message}] == nil {
		return checked
	}
	return checked.AddCore(e, observer{zapcore.NewNopCore(), t})
}

// observer takes the lines that matter. The outputs have taken theirs.
type observer struct {
	zapcore.Core
	tap *tap
}

// Write implements zapcore.Core.
func (o observer) Write(e zapcore.Entry, fields []zapcore.Field) error {
	said[line{e.LoggerName, e.Message}](o.tap.record, slices.Concat(o.tap.fields, fields))
	return nil
}

// line is a line of Caddy's log, as its source has it.
type line struct{ logger, message string }

// said is what the lines mean. They are Caddy's own text, which a test compares
// with Caddy's source.
var said = map[line]func(*recorder, []zapcore.Field){
	{"admin.api", "received request"}: (*recorder).heardCall,
	{"admin.api", "request error"}:    (*recorder).heardError,

	{"admin", "admin endpoint started"}:                              (*recorder).heardEndpoint,
	{"admin.remote", "secure admin remote control endpoint started"}: (*recorder).heardEndpoint,

	{"", "config is unchanged"}: func(r *recorder, _ []zapcore.Field) { r.said("", true) },

	{"watcher", "config file changed; reloading"}: func(r *recorder, f []zapcore.Field) { r.announced(sourceFile, "config_file", f) },
	{"watcher", "applying latest config"}:         (*recorder).heardFailure,

	{"", "reloading config from last-known source"}:                         func(r *recorder, f []zapcore.Field) { r.announced(sourceSignal, "file", f) },
	{"", "failed to reload config from file"}:                               (*recorder).heardFailure,
	{"", "reload from source unavailable in this process; ignored SIGUSR1"}: (*recorder).heardNothing,
	{"config_loader", "applying dynamically-loaded config"}:                 func(r *recorder, f []zapcore.Field) { r.announced(sourceLoader, "module", f) },
	{"config_loader", "failed to run dynamically-loaded config"}:            (*recorder).heardFailure,
}

// announced begins an attempt that Caddy said it makes.
func (r *recorder) announced(source, file string, fields []zapcore.Field) {
	a := new(attempt)
	a.record.Source, a.record.Actor = source, audit.Actor{Known: knownNone}
	a.record.File, a.record.Adapter = textField(fields, file), textField(fields, "adapter")
	r.announce(a)
}

func (r *recorder) heardFailure(fields []zapcore.Field) {
	r.said(firstOf(errorField(fields), "not said"), false)
}

// heardNothing forgets an attempt that was not made after all.
func (r *recorder) heardNothing([]zapcore.Field) {
	r.attemptsMu.Lock()
	a := r.current()
	r.attemptsMu.Unlock()
	if a != nil && r.take(a) {
		a.release()
	}
}

func textField(fields []zapcore.Field, name string) string {
	for _, f := range fields {
		if f.Key == name && f.Type == zapcore.StringType {
			return f.String
		}
	}
	return ""
}

func numberField(fields []zapcore.Field, name string) int {
	for _, f := range fields {
		if f.Key == name {
			return int(f.Integer)
		}
	}
	return 0
}

func errorField(fields []zapcore.Field) string {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return err.Error()
		}
	}
	return ""
}

// headerField returns the headers of a request, in the type that Caddy logs
// them with: a struct that embeds them.
func headerField(fields []zapcore.Field) http.Header {
	for _, f := range fields {
		if f.Key != "headers" {
			continue
		}
		v := reflect.ValueOf(f.Interface)
		if v.Kind() != reflect.Struct {
			return nil
		}
		if h := v.FieldByName("Header"); h.IsValid() && h.CanInterface() {
			header, _ := reflect.TypeAssert[http.Header](h)
			return header
		}
	}
	return nil
}
