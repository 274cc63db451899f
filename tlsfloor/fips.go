package tlsfloor

import (
	"crypto/fips140"
	"runtime/debug"
)

// Module says how this process does its cryptography, as far as FIPS 140-3 is
// concerned. It states what the program is and how it runs, and nothing about a
// validation, which is of a module's version, in an environment.
type Module struct {
	Enabled  bool   `json:"enabled"`         // the Go Cryptographic Module runs in FIPS mode
	Enforced bool   `json:"enforced"`        // moreover, what the mode does not allow fails
	Version  string `json:"version"`         // of the module: v1.0.0; "latest" is the standard library's own, which is no frozen version
	Build    string `json:"build,omitempty"` // the setting GOFIPS140 that the program was built with; empty: none
	Frozen   bool   `json:"frozen"`          // the module is a frozen version, and not the standard library's own
	Meaning  string `json:"meaning"`         // the same in a sentence
}

// latest is the version that crypto/fips140 has for a module that is not
// frozen.
const latest = "latest"

// CurrentModule is the state of this process.
func CurrentModule() Module {
	m := Module{Enabled: fips140.Enabled(), Enforced: fips140.Enforced(), Version: fips140.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "GOFIPS140" {
				m.Build = s.Value
			}
		}
	}
	return m.Described()
}

// Described fills in what follows from the other members.
func (m Module) Described() Module {
	m.Frozen = m.Version != "" && m.Version != latest
	switch {
	case !m.Enabled:
		m.Meaning = "The FIPS 140-3 mode is off."
	case !m.Frozen:
		m.Meaning = "The FIPS 140-3 mode is on, with the standard library's own cryptography, which is no frozen version of the module."
	default:
		m.Meaning = "The FIPS 140-3 mode is on, with the frozen version " + m.Version + " of the module. Whether that version is validated, and for this environment, is for you to look up (CMVP)."
	}
	if m.Enabled && m.Enforced {
		m.Meaning += " What the mode does not allow fails."
	}
	return m
}

// Module holds the state of a process against the rules.
func (r *Rules) Module(m Module) []Finding {
	find := func(have, want, remedy string) []Finding {
		return []Finding{{Kind: FIPS, Policy: -1, Have: have, Want: want, Remedy: remedy}}
	}
	switch {
	case r.FIPS == "":
		return nil
	case !m.Enabled:
		return find("the FIPS 140-3 mode off", "it "+r.FIPS, "build with GOFIPS140 set to a frozen version, or start with GODEBUG=fips140="+r.FIPS)
	case r.FIPS == FIPSOnly && !m.Enforced:
		return find("the FIPS 140-3 mode on, and not enforced", "it "+r.FIPS, "start with GODEBUG=fips140=only")
	case !m.Frozen:
		return find("the FIPS 140-3 mode with the module's version "+m.Version, "a frozen version", "build with GOFIPS140 set to one, such as v1.0.0")
	}
	return nil
}
