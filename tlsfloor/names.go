package tlsfloor

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
)

// VersionName is the name of a version in records: 1.3. It allocates for
// versions only that crypto/tls has not.
func VersionName(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "1.3"
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS11:
		return "1.1"
	case tls.VersionTLS10:
		return "1.0"
	}
	return fmt.Sprintf("0x%04x", v)
}

// SuiteName is the IANA name of a cipher suite. It allocates for suites only
// that crypto/tls has not.
func SuiteName(id uint16) string {
	if name, ok := suiteNames[id]; ok {
		return name
	}
	return fmt.Sprintf("0x%04x", id)
}

// GroupName is the name of a group of the key exchange in records: X25519. It is
// empty if there was none, as with a key exchange by RSA. It allocates for
// groups only that crypto/tls has not.
func GroupName(id tls.CurveID) string {
	if id == 0 {
		return ""
	}
	if name, ok := groupNames[id]; ok {
		return name
	}
	return fmt.Sprintf("0x%04x", uint16(id))
}

// suiteNames saves tls.CipherSuiteName building its lists for each request.
var suiteNames = func() map[uint16]string {
	m := map[uint16]string{}
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range list {
			m[s.ID] = s.Name
		}
	}
	return m
}()

// suiteByName has the suites that crypto/tls takes for secure.
var suiteByName = func() map[string]uint16 {
	m := map[string]uint16{}
	for _, s := range tls.CipherSuites() {
		m[s.Name] = s.ID
	}
	return m
}()

// tls13Suites are the suites of TLS 1.3. Go lets nobody choose among them.
var tls13Suites = [...]uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

func isTLS13(id uint16) bool { return slices.Contains(tls13Suites[:], id) }

// defaultSuites are the suites of TLS 1.2 with forward secrecy and
// authenticated encryption, which are also Caddy's defaults (caddytls,
// values.go).
var defaultSuites = [...]uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// groupByOption has the groups by the names that Caddy's configuration has for
// them, and those that crypto/tls has beside. A policy of Caddy 2.11 cannot
// choose the latter, and does not negotiate them.
var groupByOption = map[string]tls.CurveID{
	"x25519mlkem768":     tls.X25519MLKEM768,
	"secp256r1mlkem768":  tls.SecP256r1MLKEM768,
	"secp384r1mlkem1024": tls.SecP384r1MLKEM1024,
	"x25519":             tls.X25519,
	"secp256r1":          tls.CurveP256,
	"secp384r1":          tls.CurveP384,
	"secp521r1":          tls.CurveP521,
}

func groupOptions() []string { return slices.Sorted(maps.Keys(groupByOption)) }

// defaultGroups are those of a connection policy that names none (caddytls,
// values.go).
var defaultGroups = []string{"x25519mlkem768", "x25519", "secp256r1"}

// groupNames are the names of crypto/tls.
var groupNames = func() map[tls.CurveID]string {
	m := map[tls.CurveID]string{}
	for _, id := range groupByOption {
		m[id] = id.String()
	}
	return m
}()
