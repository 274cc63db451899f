package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// ending is how the last read of a connection ended.
type ending uint32

const (
	reading  ending = iota // it did not
	ended                  // by the client's end of the stream
	reset                  // by the client or the network
	timedOut               // by a deadline that the server set
	dropped                // by the server, which closed the connection
)

// endingOf classifies the error of a read from a socket. net/http makes a read
// time out after each request, to stop waiting for the next one: that takes the
// short way.
func endingOf(err error) ending {
	if err == io.EOF { //nolint:errorlint // sockets return it bare
		return ended
	}
	if op, ok := err.(*net.OpError); ok && op.Err == os.ErrDeadlineExceeded { //nolint:errorlint // as the net package makes it
		return timedOut
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return timedOut
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ended
	case errors.Is(err, net.ErrClosed):
		return dropped
	}
	return reset
}

// failure classifies the error of a TLS handshake.
func failure(err error, h *hello) Reason {
	var header tls.RecordHeaderError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &header):
		return notRecords(h)
	case errors.As(err, &verification):
		return ClientCertificateRefused
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		switch op.Op {
		case "remote error":
			return alertReason(strings.TrimPrefix(op.Err.Error(), "tls: "))
		case "local error":
			return MalformedTLS
		}
		return cutOff(endingOf(err), h)
	}
	var errno syscall.Errno
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &errno) {
		return cutOff(endingOf(err), h)
	}
	return textReason(err.Error())
}

// notRecords is the reason for bytes that are no TLS records.
func notRecords(h *hello) Reason {
	switch h.what {
	case likeHTTP:
		return HTTPOnHTTPS
	case foreign:
		return NotTLS
	}
	return MalformedTLS
}

// cutOff is the reason for a handshake whose connection ended.
func cutOff(e ending, h *hello) Reason {
	unused := h.what == nothing
	switch {
	case e == timedOut && unused:
		return TimedOutUnused
	case e == timedOut:
		return HandshakeTimedOut
	case e == dropped && unused:
		return DroppedUnused
	case e == dropped:
		return HandshakeDropped
	case unused:
		return ClosedUnused
	}
	return HandshakeCutOff
}

// alertReason classifies the alert of a client by crypto/tls's name for it
// (RFC 8446, section 6.2).
func alertReason(text string) Reason {
	switch text {
	case "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate",
		"unknown certificate", "unknown certificate authority", "bad certificate status response":
		return ServerCertificateRefused
	case "protocol version not supported":
		return UnsupportedVersion
	}
	return ClientAlert
}

// errorTexts are how the errors of crypto/tls, CertMagic and Caddy begin, which
// have no types. What follows may come from the client.
var errorTexts = []struct {
	text   string
	reason Reason
}{
	{"client offered only unsupported versions", UnsupportedVersion},
	{"client using inappropriate protocol fallback", UnsupportedVersion},
	{"client offered TLS version older than TLS 1.3", UnsupportedVersion},
	{"no cipher suite supported by both", NoSharedCipher},
	{"no key exchanges supported by both", NoSharedCipher},
	{"peer doesn't support ", NoSharedCipher},
	{"missing signature_algorithms", NoSharedCipher},
	{"client offered only incompatible point formats", NoSharedCipher},
	{"client requested unsupported application protocols", NoSharedALPN},
	{"client didn't provide a certificate", ClientCertificateMissing},
	{"no client certificate provided", ClientCertificateMissing},
	{"failed to parse client certificate", ClientCertificateRefused},
	{"client sent certificate", ClientCertificateRefused},
	{"client certificate", ClientCertificateRefused},
	{"client leaf certificate", ClientCertificateRefused},
	{"invalid signature by the client certificate", ClientCertificateRefused},
	{"no certificate available", NoCertificate}, // and "no certificates"
	{"no certificates configured", NoCertificate},
	{"no matching certificate", NoCertificate},
	{"certificate is not allowed for server name", NoCertificate},
	{"timed out waiting to obtain certificate", NoCertificate},
	{"timed out waiting to load certificate", NoCertificate},
	{"no server TLS configuration available", NoCertificate},
	{"dropping connection", DroppedByPolicy},
	{"received unexpected", MalformedTLS},
	{"handshake message of length", MalformedTLS},
	{"too many ", MalformedTLS},
	{"client ", MalformedTLS}, // all that crypto/tls says of clients is a breach of the protocol
	{"invalid ", MalformedTLS},
	{"second client hello ", MalformedTLS},
	{"early_data without", MalformedTLS},
	{"initial handshake had", MalformedTLS},
	{"TLS 1.3 client supports illegal", MalformedTLS},
}

func textReason(text string) Reason {
	text = strings.TrimPrefix(text, "tls: ")
	for _, e := range errorTexts {
		if strings.HasPrefix(text, e.text) {
			return e.reason
		}
	}
	return Other
}

// sentReason classifies the alert that the server sent in the clear (RFC 8446,
// section 6.2), where the text of the error tells nothing.
func sentReason(alert byte) Reason {
	switch alert {
	case 10, 20, 22, 47, 50, 51, 109: // unexpected_message … missing_extension
		return MalformedTLS
	case 42, 43, 44, 45, 46, 48, 49: // bad_certificate … access_denied
		return ClientCertificateRefused
	case 70, 71, 86: // protocol_version, insufficient_security, inappropriate_fallback
		return UnsupportedVersion
	case 112: // unrecognized_name
		return NoCertificate
	case 116: // certificate_required
		return ClientCertificateMissing
	case 120: // no_application_protocol
		return NoSharedALPN
	}
	return Other
}

// explain is the text of a handshake's error, without the addresses that the
// net package puts before it and without what a client put into it at length.
func explain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	text, _, _ := strings.Cut(err.Error(), "for ClientHello:")
	return strings.TrimSpace(text)
}
