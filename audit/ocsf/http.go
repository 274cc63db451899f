package ocsf

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// methods are the activities of HTTP Activity 4002.
var methods = map[string]int{
	"CONNECT": 1, "DELETE": 2, "GET": 3, "HEAD": 4, "OPTIONS": 5, "POST": 6, "PUT": 7, "TRACE": 8, "PATCH": 9,
}

// http describes a request, and its response if it has one.
func (ev *event) http(r audit.Record, b *audit.Event, answered bool) {
	activity, known := methods[b.Method]
	if !known {
		activity = other
	}
	ev.is(4002, activity, visible(b.Method))
	ev.Message = visible(b.Method + " " + b.Host + b.Path)
	ev.Metadata.Correlation = b.ID.String()
	ev.Source = address(b.ClientIP, number(b.ClientPort))
	if b.Peer != "" {
		ev.profile("network_proxy")
		ev.Proxy = hostPort(b.Peer)
	}
	ev.Destination = hostPort(b.Listener)
	if ev.Destination == nil {
		ev.Destination = &endpoint{}
	}
	ev.Destination.Service, ev.Destination.Instance = visible(b.Server), r.Instance
	if *ev.Destination == (endpoint{}) {
		ev.Destination.Name = "unknown"
	}
	ev.Connection = &connection{DirectionID: directionIn, UID: b.Conn}
	ev.httpRequest(b, known)
	if b.TLS.Version != "" {
		ev.TLS = &tlsInfo{b.TLS.Version, b.TLS.Cipher, visible(b.TLS.ServerName)}
		ev.unmapped("tls_group", b.TLS.Group)
		ev.unmapped("tls_alpn", visible(b.TLS.ALPN))
		ev.unmapped("client_certificate_sha256", b.TLS.ClientCert)
	}
	if b.Trace != "" {
		ev.profile("trace")
		ev.Trace = &uid{b.Trace}
	}
	if b.User != "" {
		ev.profile("host")
		ev.Actor = &actor{User: &user{visible(b.User)}}
		ev.unmapped("auth_method", visible(b.AuthMethod))
	}
	ev.decision(b)
	if answered {
		ev.httpResponse(b)
	}
	ev.unmapped("cache", visible(b.Cache))
	ev.unmapped("upstream", visible(b.Upstream.Address))
}

func (ev *event) httpRequest(b *audit.Event, known bool) {
	q := &request{UID: b.ID.String(), Version: strings.TrimPrefix(b.Proto, "HTTP/"), UserAgent: visible(b.Agent)}
	if known {
		q.Method = b.Method
	}
	scheme := "http"
	if b.TLS.Version != "" {
		scheme = "https"
	}
	host, port := b.Host, 0
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], number(host[i+1:])
	}
	q.URL = &url{Scheme: scheme, Hostname: visible(host), Port: port, Path: visible(b.Path), Query: visible(b.Query)}
	q.Headers = headers(b.RequestHeaders)
	ev.Request = q
}

func (ev *event) httpResponse(b *audit.Event) {
	ev.Response = &response{Code: b.Status, Length: b.Bytes, Latency: b.Upstream.Latency.Milliseconds(), Headers: headers(b.ResponseHeaders)}
	ev.Traffic = &traffic{BytesOut: b.Bytes}
	ev.StartTime, ev.EndTime = ev.Time, millis(b.Start.Add(b.Duration))
	ev.Duration = b.Duration.Milliseconds()
	ev.StatusCode = strconv.Itoa(b.Status)
	ev.StatusDetail = string(b.End)
	ev.StatusID = statusSuccess
	switch {
	case b.Status >= 500 || b.End == audit.EndPanicked || b.End == audit.EndDropped:
		ev.StatusID, ev.SeverityID = statusFailure, severityMedium
	case b.Status >= 400:
		ev.StatusID, ev.SeverityID = statusFailure, severityLow
	case b.End == audit.EndAborted || b.End == audit.EndTruncated:
		ev.StatusID = statusFailure
	}
	ev.unmapped("error_id", b.Error)
}

// decision maps what access control and the limiter decided.
func (ev *event) decision(b *audit.Event) {
	d, denied := b.Access, b.Access.Outcome == "deny"
	if b.Limit.Outcome == "limited" {
		d, denied = b.Limit, true
	}
	if d.Outcome == "" {
		return
	}
	ev.profile("security_control")
	ev.ActionID, ev.DispositionID = actionAllowed, dispositionAllowed
	if denied {
		ev.ActionID, ev.DispositionID = actionDenied, dispositionBlocked
	}
	if d.Rule != "" {
		ev.FirewallRule = &named{visible(d.Rule), visible(d.Reason)}
	}
}

func headers(list []audit.Header) (out []header) {
	for _, h := range list {
		out = append(out, header{visible(h.Name), visible(h.Value)})
	}
	return out
}

func (ev *event) protocolError(b *audit.ProtocolError) {
	const fail = 4
	ev.is(4001, fail, "")
	ev.Message = fmt.Sprintf("%s: %s", b.Layer, visible(b.Reason))
	ev.Destination = hostPort(b.Listener)
	if ev.Destination == nil {
		ev.Destination = &endpoint{Name: "unknown"}
	}
	ev.Connection = &connection{DirectionID: directionIn}
	ev.Count, ev.StatusID = b.Count, statusFailure
	ev.StartTime, ev.EndTime = millis(b.From), millis(b.To)
	ev.profile("security_control")
	ev.ActionID, ev.DispositionID = actionDenied, dispositionRejected
	if b.Status != 0 {
		ev.StatusCode = strconv.Itoa(b.Status)
	}
	ev.StatusDetail = visible(b.Example)
	ev.unmapped("client_prefix", b.Prefix)
}
