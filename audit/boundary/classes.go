package boundary

func network() []Class {
	return []Class{
		invisible("ip", "kernel", "Packets, SYN floods, connections that the kernel refuses or drops before they are accepted",
			"No program sees them. The kernel's counters do (nstat TcpExtListenDrops), and firewalls."),
		count("tcp", "accept_failed", "Connections that the operating system could not hand over, such as for want of file descriptors",
			"The listener gets an error number and no connection."),
		count("tcp", "closed_unused", "Connections without TLS that the client ended without a byte",
			"Load balancers' probes, port scans, connections made in advance."),
		count("tcp", "timed_out_unused", "The same, ended by read_header_timeout", "The client sent nothing."),
		count("tcp", "dropped_unused", "The same, ended by the server for a reload or its exit", "The client sent nothing."),
	}
}

func tlsLayer() []Class {
	return []Class{
		count("tls", "closed_unused", "Connections to a TLS port that the client ended without a byte", "Load balancers' probes, port scans."),
		count("tls", "timed_out_unused", "The same, ended by a timeout", "The client sent nothing."),
		count("tls", "dropped_unused", "The same, ended by the server for a reload or its exit", "The client sent nothing."),
		count("tls", "http_on_https", "HTTP requests on a TLS port", "net/http answers 400, and does so for five methods only."),
		count("tls", "not_tls", "First bytes that are neither TLS nor HTTP", "crypto/tls ends the connection."),
		count("tls", "malformed", "Handshakes that break the protocol", "crypto/tls sends an alert."),
		count("tls", "unsupported_version", "Handshakes without a protocol version in common", "crypto/tls sends an alert."),
		count("tls", "no_shared_cipher", "Handshakes without a cipher suite, group or signature algorithm in common", "crypto/tls sends an alert."),
		count("tls", "no_shared_alpn", "Handshakes without an application protocol in common", "crypto/tls sends an alert."),
		count("tls", "no_certificate", "Handshakes for a name that has no certificate or no connection policy", "CertMagic or Caddy refuses."),
		count("tls", "dropped_by_policy", "Handshakes that a connection policy with drop ends", "Caddy refuses."),
		count("tls", "client_certificate_missing", "Handshakes without the client certificate that is required", "crypto/tls sends an alert."),
		count("tls", "client_certificate_refused", "Handshakes with a client certificate that does not verify", "crypto/tls or a verifier of Caddy refuses."),
		count("tls", "server_certificate_refused", "Handshakes whose client refuses the server's certificate",
			"The client's alert says so. A client that just closes is counted as handshake_cut_off."),
		count("tls", "client_alert", "Handshakes that another alert of the client ends", "crypto/tls names the alert."),
		count("tls", "handshake_timed_out", "Handshakes that began and timed out", "net/http gives them read_header_timeout."),
		count("tls", "handshake_cut_off", "Handshakes that began and whose connection the client ended", "There is no alert."),
		count("tls", "handshake_dropped", "Handshakes that the server cut off for a reload or its exit", "Their connection is closed."),
		count("tls", "other", "Handshakes that failed in another way", "The example has the error's text."),
		invisible("tls", "after_handshake", "Alerts and damaged records after the handshake",
			"They are encrypted below, and crypto/tls reports them to net/http alone. A request that they cut off has its record, or counts as http1/head_cut_off."),
		invisible("tls", "tcp_resets", "How a connection ended that had carried requests", "Its requests have their records, which say how each ended."),
	}
}

func http1() []Class {
	return []Class{
		record("http1", "request", "Requests whose head is complete and well formed, with whatever status, also 400, 405, 421 of Caddy, aborted, or unmatched",
			"The listener wrapper puts the handler that records before all routes and error routes."),
		count("http1", "closed_unused", "Completed TLS handshakes after which the client ended the connection without a request", "Connections made in advance."),
		count("http1", "timed_out_unused", "The same, ended by a timeout", "The client sent nothing."),
		count("http1", "dropped_unused", "The same, ended by the server for a reload or its exit", "The client sent nothing."),
		count("http1", "malformed", "Malformed requests, answered 400", "net/http answers before any handler. Under TLS with a block cipher the status is not known."),
		count("http1", "tls_on_http", "TLS handshakes on a port without TLS, answered 400", "net/http answers before any handler."),
		count("http1", "expectation_failed", "Requests with an unknown Expect, answered 417", "net/http answers before any handler."),
		count("http1", "head_too_large", "Requests with too long a head, answered 431", "net/http answers before any handler."),
		count("http1", "transfer_encoding", "Requests with an unknown transfer coding, answered 501", "net/http answers before any handler."),
		count("http1", "version", "Requests of another version of HTTP, answered 505", "net/http answers before any handler."),
		count("http1", "options_asterisk", "\"OPTIONS *\", answered 200", "net/http answers before any handler."),
		count("http1", "answered_before_handler", "Requests that Caddy answers before its routes: ACME HTTP challenges",
			"Caddy has no hook there. The status shows only without TLS."),
		count("http1", "head_timed_out", "Requests whose head is not complete when read_header_timeout ends", "net/http answers 400 or nothing."),
		count("http1", "head_cut_off", "Requests whose connection the client ends within the head", "net/http answers 400 or nothing."),
		count("http1", "head_dropped", "Requests that a server which shuts down does not take", "net/http closes the connection."),
		count("http1", "framing_conflict", "Requests with both Content-Length and Transfer-Encoding, answered 400",
			"net/http would serve them, and hide the length. In the mode report they are counted and have their record too."),
		count("http1", "length_conflict", "Requests with different values of Content-Length, answered 400", "net/http answers before any handler."),
		count("http1", "line_folding", "Requests with a header line that continues another (obs-fold), answered 400", "As for framing_conflict."),
		count("http1", "encoding_in_http10", "Requests of HTTP/1.0 with Transfer-Encoding, answered 400", "As for framing_conflict."),
		invisible("http1", "framing_behind_wrappers", "Ambiguous framing over TLS where a listener wrapper after tls hides the connection in a type of its own",
			"The requests are served as Caddy serves them, and have their records."),
		invisible("http1", "partial_pipelined", "A part of a head that came together with the request before it, and nothing after",
			"net/http has it in its buffer, and neither reads nor writes again."),
		invisible("http1", "short_second", "Less than four bytes of a head on a connection that has carried requests, under a read that also ends it",
			"net/http takes that for an idle connection. Where the bytes come alone they are counted as head_cut_off."),
		invisible("http1", "inside_upgrade", "What passes over a connection after its upgrade, as to WebSocket",
			"The request's record has its begin, its end and its bytes; the messages are the application's."),
	}
}

func http2() []Class {
	return []Class{
		record("http2", "request", "Requests that reach a handler, with whatever status", "As for HTTP/1."),
		count("http2", "closed_unused", "HTTP/2 connections that the client ended without a request", "Connections made in advance."),
		count("http2", "timed_out_unused", "The same, ended by a timeout of the connection", "The client sent nothing."),
		count("http2", "dropped_unused", "The same, ended by the server: idle_timeout, a reload or its exit", "The HTTP/2 server closes in the same way for all of them."),
		count("http2", "bad_preface", "Connections that do not begin as HTTP/2", "The frames are seen above TLS."),
		count("http2", "connection_error", "Connections that the server ended with an error (GOAWAY); the example has its code", "The frames are seen above TLS."),
		count("http2", "client_connection_error", "Connections that the client ended with an error (GOAWAY)", "The frames are seen above TLS."),
		count("http2", "stream_error", "Requests that the HTTP/2 server reset before any handler (RST_STREAM); the example has the last code", "The frames are seen above TLS."),
		count("http2", "malformed", "Requests that the HTTP/2 server answered 400", "Streams that reached no handler, by the statuses sent."),
		count("http2", "head_too_large", "Requests that the HTTP/2 server answered 431",
			"The same. Only the first on a connection shows its status; others count as stream_dropped."),
		count("http2", "options_asterisk", "\"OPTIONS *\", answered 200", "net/http answers before any handler of Caddy."),
		count("http2", "stream_dropped", "Streams that reached no handler for another reason, such as the end of their connection", "Opened less begun."),
		invisible("http2", "stream_error_in_handler", "Streams reset while a handler ran", "The request's record says how it ended."),
	}
}

func http3() []Class {
	return []Class{
		record("http3", "request", "Requests that reach a handler, with whatever status", "As for HTTP/1."),
		invisible("http3", "handshake", "QUIC packets, version negotiation, address validation, failed TLS handshakes, idle and aborted connections",
			"Caddy 2.11 makes the QUIC listener and its configuration itself and offers neither a tracer, an event nor a hook. What a packet wrapper would see is encrypted."),
		invisible("http3", "malformed", "Requests that the HTTP/3 server refuses before any handler, and connection and stream errors",
			"Caddy 2.11 does not let its http3.Server be reached. \"protocols h1 h2\" closes this gap by turning HTTP/3 off."),
	}
}

func caddy() []Class {
	return []Class{
		record("caddy", "error_routes", "Errors, redirects to HTTPS and unmatched requests", "They pass through the same chain, and have the status that was sent."),
		invisible("caddy", "acme_over_http2_3", "ACME HTTP challenges over HTTP/2 and HTTP/3", "Caddy answers before its routes. Certificate authorities use HTTP/1 (RFC 8555, section 8.3)."),
		invisible("caddy", "uncovered_server", "Servers without the listener wrapper soc2, and without soc2_audit in a route", "No code of this module runs there."),
		invisible("caddy", "hidden_connections", "Connections that a listener wrapper after tls hides in a type of its own",
			"Hooks of net/http then give a connection that does not lead to ours. Wrappers that embed net.Conn or have NetConn do not hide it."),
		invisible("caddy", "other_apps", "Other apps of Caddy that listen, such as layer4", "They do not use the HTTP app's servers."),
		invisible("caddy", "crash", "Counts of at most 10 seconds before a crash of the process or the machine", "Counts are written every 10 seconds, at a reload that changes the log and at exit."),
	}
}
