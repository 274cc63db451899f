package certificates

import (
	"crypto/x509"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// The names of Caddy's events.
const (
	eventStarted   = "started"
	eventObtained  = "cert_obtained"
	eventFailed    = "cert_failed"
	eventRevoked   = "cert_ocsp_revoked"
	eventManaged   = "cached_managed_cert"
	eventUnmanaged = "cached_unmanaged_cert"
)

// Events are the names of the events for Handle. Not to be among them is
// tls_get_certificate, which is emitted at each handshake, and so not the empty
// name, which stands for all.
func Events() []string {
	return []string{eventStarted, eventObtained, eventFailed, eventRevoked, eventManaged, eventUnmanaged}
}

// event is what is taken from an event of Caddy. Its data may hold private keys
// and is never kept as it is.
type event struct {
	name      string
	time      time.Time
	names     []string
	issuer    string
	path      string            // of the certificate in the storage
	obtained  *x509.Certificate // what lay there at the time of the event
	renewal   bool
	remaining time.Duration
	err       string
	cert      *certmagic.Certificate // that was revoked; public parts are read from it
	reason    int                    // of the revocation (RFC 5280, section 5.3.1)
	revoked   time.Time
}

// maxNames is how many names of a certificate are taken over.
const maxNames = 100

// read takes what matters from an event. What is not of the expected type is
// left out.
func read(e caddy.Event) (v event) {
	v.name, v.time = e.Name(), e.Timestamp()
	if v.time.IsZero() {
		v.time = time.Now()
	}
	data := e.Data
	v.names = texts(data["subjects"])
	if v.names == nil {
		v.names = texts(data["sans"])
	}
	if name := text(data["identifier"]); name != "" {
		v.names = []string{name}
	}
	v.issuer = text(data["issuer"])
	if list := texts(data["issuers"]); v.issuer == "" && len(list) > 0 {
		v.issuer = list[len(list)-1] // the one whose error is told
	}
	v.path = text(data["certificate_path"])
	v.renewal, _ = data["renewal"].(bool)
	v.remaining, _ = data["remaining"].(time.Duration)
	v.err = errorText(data["error"])
	switch c := data["certificate"].(type) {
	case certmagic.Certificate:
		v.cert = &c
	case *certmagic.Certificate:
		v.cert = c
	}
	v.reason, _ = data["reason"].(int)
	v.revoked, _ = data["revoked_at"].(time.Time)
	return v
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func texts(v any) (list []string) {
	switch v := v.(type) {
	case []string:
		list = append(list, v[:min(len(v), maxNames)]...) // the event's own may change
	case []any:
		for _, item := range v[:min(len(v), maxNames)] {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// maxError is how much of an error is kept while it waits to be recorded.
const maxError = 2048

// errorText returns the text of an error. One that panics, as a nil pointer of
// an error's type may, has none.
func errorText(v any) (s string) {
	defer func() {
		if recover() != nil {
			s = "unreadable error"
		}
	}()
	switch v := v.(type) {
	case error:
		s = v.Error()
	case string:
		s = v
	}
	return s[:min(len(s), maxError)]
}

// reasons are the names of RFC 5280, section 5.3.1.
var reasons = map[int]string{
	0: "unspecified", 1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded",
	5: "cessationOfOperation", 6: "certificateHold", 8: "removeFromCRL", 9: "privilegeWithdrawn", 10: "aACompromise",
}
