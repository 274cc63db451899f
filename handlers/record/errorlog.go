package record

import (
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// field is a field of a header.
type field struct {
	name   string
	values []string
}

// fieldsOf returns what is in a header now. Few requests fail, so it costs less
// than a copy of the map; the values are not copied.
func fieldsOf(h http.Header) []field {
	fields := make([]field, 0, len(h))
	for name, values := range h {
		fields = append(fields, field{name, values})
	}
	return fields
}

// logError says in the server's log what went wrong inside the server, with the
// fields that Caddy gives such a line, and the request id. The request is shown
// as it arrived: handlers may have put secrets for the upstream into its header.
func (h *Handler) logError(x *exchange, r *http.Request) {
	err, ok := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	if !ok || errorStatus(err) < http.StatusInternalServerError {
		return
	}
	arrived := *r
	arrived.Host, arrived.Header = x.Host, make(http.Header, len(x.fields))
	for _, f := range x.fields {
		arrived.Header[f.name] = f.values
	}
	request := caddyhttp.LoggableHTTPRequest{Request: &arrived}
	names := []string{""}
	if srv, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && srv != nil && srv.Logs != nil {
		request.ShouldLogCredentials = srv.Logs.ShouldLogCredentials
		names = loggerNames(srv.Logs, r)
	}
	message, details := errorFields(err)
	details = append([]zap.Field{zap.Object("request", request), zap.Duration("duration", x.Duration)}, details...)
	details = append(details, zap.String("request_id", x.ID.String()))
	for _, name := range names {
		h.errors.Named(name).Error(message, details...)
	}
}

// errorFields returns what a line about an error says of it.
func errorFields(err error) (message string, fields []zap.Field) {
	he, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		return err.Error(), []zap.Field{zap.Error(err)}
	}
	message = err.Error()
	if he.Err != nil {
		message = he.Err.Error()
	}
	return message, []zap.Field{zap.Int("status", he.StatusCode), zap.String("err_id", he.ID), zap.String("err_trace", he.Trace)}
}

// loggerNames returns the loggers below http.log.error that the configuration
// chooses for a request: those that the directive log_name names, or those of
// the host. An empty name is http.log.error itself; a host without any logs
// nothing.
func loggerNames(logs *caddyhttp.ServerLogConfig, r *http.Request) []string {
	if chosen, ok := caddyhttp.GetVar(r.Context(), caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		names := make([]string, 0, len(chosen))
		for _, v := range chosen {
			if name, ok := v.(string); ok {
				names = append(names, name)
			}
		}
		return names
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.ToLower(host)
	if names, ok := logs.LoggerNames[host]; ok {
		return names
	}
	// One label after the other, from the left, becomes a star and stays one.
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*"
		if names, ok := logs.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{logs.DefaultLoggerName}
}
