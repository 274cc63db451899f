package identity

import (
	"github.com/caddyserver/caddy/v2"
)

// MTLS says how client certificates are taken. The server must verify them: see
// client_auth of Caddy's tls directive.
type MTLS struct {
	// Identity is where the name of the principal is in a certificate: san_uri,
	// san_dns, san_email or cn. A certificate must have exactly one of it.
	Identity string `json:"identity,omitempty"`

	// Authorities is a PEM file of certificates: only client certificates issued
	// below one of them are taken. Default: all that the server verifies.
	Authorities string `json:"authorities,omitempty"`

	// Roles is a JSON file of roles by name: {"NAME": ["ROLE", …], …}. Default:
	// there are none.
	Roles string `json:"roles,omitempty"`

	// ListedOnly refuses principals that are not in the file of roles.
	ListedOnly bool `json:"listed_only,omitempty"`

	// Revoked are files of certificate revocation lists, PEM or DER. If any is
	// given, a certificate whose issuer has no list there is refused. They are
	// read again when they change.
	Revoked []string `json:"crl,omitempty"`

	// AcceptStale goes on to use a list after its nextUpdate. Default: certificates
	// of an issuer whose list is stale are refused.
	AcceptStale bool `json:"crl_accept_stale,omitempty"`
}

// Naming says which claims make up a principal.
type Naming struct {
	// User is the claim that names the principal. Default: sub.
	User string `json:"user,omitempty"`

	// Roles is the claim with its roles: a list, or a text with spaces or commas.
	// Dots lead into objects: realm_access.roles. Default: there are none.
	Roles string `json:"roles,omitempty"`

	// Claims are passed on as {http.auth.user.claim.NAME}.
	Claims []string `json:"claims,omitempty"`

	// Require are claims that must have one of some values.
	Require map[string][]string `json:"require,omitempty"`

	// MFA are values of claims, such as acr, by which the issuer says that there was
	// more than one factor. Default: the claim amr alone tells (RFC 8176), by mfa or
	// by methods of two kinds.
	MFA map[string][]string `json:"mfa,omitempty"`

	// Algorithms that are taken: RS256, RS384, RS512, PS256, PS384, PS512, ES256,
	// ES384, ES512, EdDSA. Default: RS256 and ES256.
	Algorithms []string `json:"algs,omitempty"`

	// Leeway is by how much the issuer's clock may differ. Default: 60s. Most: 5m.
	Leeway caddy.Duration `json:"leeway,omitempty"`
}

// Asking says how an issuer is asked for its keys.
type Asking struct {
	// Authorities is a PEM file of the authorities that the issuer's TLS
	// certificate must come from. Default: those of the system.
	Authorities string `json:"authorities,omitempty"`

	// StaleFor is how long the issuer's keys are used while it cannot be reached.
	// Default: 24h.
	StaleFor caddy.Duration `json:"stale_for,omitempty"`

	// Retry is how often the issuer is asked at most. Default: 10s.
	Retry caddy.Duration `json:"retry,omitempty"`
}

// JWT says which bearer tokens are taken (RFC 6750, RFC 7519).
type JWT struct {
	// Issuer is the claim iss, exactly. Without keys of its own it is asked for
	// them by OpenID Connect Discovery.
	Issuer string `json:"issuer"`

	// Audience are names of this service, of which the claim aud must have one.
	Audience []string `json:"audience"`

	// JWKS is the address of the issuer's keys.
	JWKS string `json:"jwks_url,omitempty"`

	// JWKSFile is a file of the issuer's keys. It is read again when it changes.
	JWKSFile string `json:"jwks_file,omitempty"`

	// MaxAge is how old a token may be, whatever its claim exp says. Default: as
	// exp says.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// Types are the values of typ in the header that are taken. Default: JWT,
	// at+jwt, or none.
	Types []string `json:"types,omitempty"`

	// Revoked is a file of tokens that are no longer taken, in lines "jti ID" and
	// "sub SUBJECT [before TIME]". It is read again when it changes.
	Revoked string `json:"revoked,omitempty"`

	// Remember is how many verified tokens are remembered. Default: 10000.
	Remember int `json:"remember,omitempty"`

	Naming
	Asking
}

// OIDC says how people log in with a browser.
type OIDC struct {
	// Issuer of the OpenID provider, exactly as its discovery document has it.
	Issuer string `json:"issuer"`

	// ClientID of this site at the provider.
	ClientID string `json:"client_id"`

	// ClientSecretFile has the client's secret. It is read again when it changes.
	// Default: the client is public, and PKCE alone protects the code.
	ClientSecretFile string `json:"client_secret_file,omitempty"`

	// Scopes that are asked for beside openid. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// Base is the address of the site, https://app.example. Default: https:// and
	// the host of the request, which the provider must know.
	Base string `json:"base,omitempty"`

	// Paths that are served here. Defaults: /.soc2/auth/login,
	// /.soc2/auth/callback, /.soc2/auth/logout, /.soc2/auth/backchannel-logout,
	// /.soc2/auth/logged-out.
	Login       string `json:"login,omitempty"`
	Callback    string `json:"callback,omitempty"`
	Logout      string `json:"logout,omitempty"`
	BackChannel string `json:"backchannel_logout,omitempty"`
	LoggedOut   string `json:"logged_out,omitempty"`

	// SessionKeys is a file of keys for the session cookies, one a line, each 32
	// random bytes in base64. The first seals, all open.
	SessionKeys string `json:"session_keys"`

	// IdleTimeout ends a session without requests. Default: 15m.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// AbsoluteTimeout ends every session. Default: 12h.
	AbsoluteTimeout caddy.Duration `json:"absolute_timeout,omitempty"`

	// Grace is how long a session whose tokens are out of date goes on while the
	// provider cannot be reached. Default: 5m.
	Grace caddy.Duration `json:"grace,omitempty"`

	// LogoutFile remembers what was logged out. Default: a file in soc2/state in
	// Caddy's data directory.
	LogoutFile string `json:"logout_file,omitempty"`

	Naming
	Asking
}

// Clients says which API keys are taken.
type Clients struct {
	// File is a JSON list of keys: see "caddy soc2 apikey". It is read again when
	// it changes.
	File string `json:"file"`

	// Header that has the key. Default: X-Api-Key.
	Header string `json:"header,omitempty"`
}

// Accounts says who logs in with a password (HTTP Basic, RFC 7617).
type Accounts struct {
	// File has lines NAME:HASH or NAME:HASH:ROLE,ROLE, with hashes as "caddy
	// hash-password" writes them: bcrypt or argon2id. It is read again when it
	// changes.
	File string `json:"file"`

	// Parallel is how many passwords are hashed at a time. Default: a quarter of
	// the processors, and at least one.
	Parallel int `json:"parallel,omitempty"`
}

// Lockout says when somebody who fails to log in is locked out.
type Lockout struct {
	// Failures of a principal within the window that lock it out. Default: 5.
	Failures int `json:"failures,omitempty"`

	// NetworkFailures of a client's network (its IPv4 address, or the first 64
	// bits of its IPv6 address) within the window that lock it out; eight times as
	// many lock out the first 48 bits. Default: 20.
	NetworkFailures int `json:"network_failures,omitempty"`

	// Window in which failures are counted. Default: 15m.
	Window caddy.Duration `json:"window,omitempty"`

	// Duration of the first lock. Each that follows within a day is twice as long.
	// Default: 15m.
	Duration caddy.Duration `json:"duration,omitempty"`

	// Longest that a lock can get. Default: 24h.
	Longest caddy.Duration `json:"longest,omitempty"`
}
