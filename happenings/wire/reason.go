package wire

// Layer is the protocol at which a connection or a request went wrong.
type Layer uint8

// The layers, as they are named in records.
const (
	TCP Layer = iota
	TLS
	HTTP1
	HTTP2
	layers
)

var layerNames = [layers]string{"tcp", "tls", "http1", "http2"}

// String is the layer's name in records.
func (l Layer) String() string { return layerNames[l] }

// Reason is why a connection or a request was refused, or answered without a
// handler.
type Reason uint8

// The reasons. docs/boundary.md explains each; its name there is its layer, a
// slash and the name here.
const (
	Other Reason = iota

	// A connection that brought no request, by who ended it.
	ClosedUnused   // by the client
	TimedOutUnused // by a timeout of the server
	DroppedUnused  // by the server, for a reload or its exit
	AcceptFailed   // the operating system could not hand it over

	// TLS handshakes.
	HTTPOnHTTPS              // an HTTP request on a TLS port
	NotTLS                   // the first bytes are neither TLS nor HTTP
	MalformedTLS             // a message breaks the protocol
	UnsupportedVersion       // no protocol version in common
	NoSharedCipher           // no cipher suite, group or signature algorithm in common
	NoSharedALPN             // no application protocol in common
	NoCertificate            // no certificate or policy for the name asked for
	DroppedByPolicy          // a TLS connection policy with "drop"
	ClientCertificateMissing // a client certificate is required
	ClientCertificateRefused // the client certificate does not verify
	ServerCertificateRefused // the client's alert says that it refuses ours
	ClientAlert              // another alert of the client
	HandshakeTimedOut        // after the first byte
	HandshakeCutOff          // closed or reset after the first byte
	HandshakeDropped         // closed by the server, for a reload or its exit

	// Requests that net/http or Caddy answers or drops before any handler.
	Malformed             // 400
	TLSOnHTTP             // 400 to a ClientHello on a port without TLS
	ExpectationFailed     // 417
	HeadTooLarge          // 431
	TransferEncoding      // 501
	Version               // 505
	OptionsAsterisk       // 200 to "OPTIONS *"
	AnsweredBeforeHandler // by Caddy: an ACME HTTP challenge
	HeadTimedOut          // a part of a head, then a timeout
	HeadCutOff            // a part of a head, then the end of the connection
	HeadDropped           // a request that a server which is shutting down did not take

	// Requests whose framing is ambiguous: 400, or served where it is only
	// reported.
	FramingConflict  // both Content-Length and Transfer-Encoding
	LengthConflict   // different values of Content-Length
	LineFolding      // a line that continues another
	EncodingInHTTP10 // Transfer-Encoding in HTTP/1.0

	// HTTP/2.
	BadPreface       // the connection preface is not HTTP/2's
	ConnectionError  // GOAWAY with an error, sent by the server
	ClientConnection // GOAWAY with an error, sent by the client
	StreamError      // RST_STREAM with an error before any handler
	StreamDropped    // a stream that the end of its connection left unanswered
	reasons
)

var reasonNames = [reasons]string{
	Other:                    "other",
	ClosedUnused:             "closed_unused",
	TimedOutUnused:           "timed_out_unused",
	DroppedUnused:            "dropped_unused",
	AcceptFailed:             "accept_failed",
	HTTPOnHTTPS:              "http_on_https",
	NotTLS:                   "not_tls",
	MalformedTLS:             "malformed",
	UnsupportedVersion:       "unsupported_version",
	NoSharedCipher:           "no_shared_cipher",
	NoSharedALPN:             "no_shared_alpn",
	NoCertificate:            "no_certificate",
	DroppedByPolicy:          "dropped_by_policy",
	ClientCertificateMissing: "client_certificate_missing",
	ClientCertificateRefused: "client_certificate_refused",
	ServerCertificateRefused: "server_certificate_refused",
	ClientAlert:              "client_alert",
	HandshakeTimedOut:        "handshake_timed_out",
	HandshakeCutOff:          "handshake_cut_off",
	HandshakeDropped:         "handshake_dropped",
	Malformed:                "malformed",
	TLSOnHTTP:                "tls_on_http",
	ExpectationFailed:        "expectation_failed",
	HeadTooLarge:             "head_too_large",
	TransferEncoding:         "transfer_encoding",
	Version:                  "version",
	OptionsAsterisk:          "options_asterisk",
	AnsweredBeforeHandler:    "answered_before_handler",
	HeadTimedOut:             "head_timed_out",
	HeadCutOff:               "head_cut_off",
	HeadDropped:              "head_dropped",
	FramingConflict:          "framing_conflict",
	LengthConflict:           "length_conflict",
	LineFolding:              "line_folding",
	EncodingInHTTP10:         "encoding_in_http10",
	BadPreface:               "bad_preface",
	ConnectionError:          "connection_error",
	ClientConnection:         "client_connection_error",
	StreamError:              "stream_error",
	StreamDropped:            "stream_dropped",
}

// String is the reason's name in records.
func (r Reason) String() string { return reasonNames[r] }
