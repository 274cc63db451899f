package jwt

import "github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"

// Why a token is refused.
const (
	TooLarge        principal.Reason = "jwt_too_large"
	Malformed       principal.Reason = "jwt_malformed"
	Encrypted       principal.Reason = "jwt_encrypted"        // five parts: JWE is not taken
	Base64          principal.Reason = "jwt_base64"           // not the one way to write the bytes
	Duplicate       principal.Reason = "jwt_duplicate_member" // in the header or the claims
	AlgNone         principal.Reason = "jwt_alg_none"
	AlgSymmetric    principal.Reason = "jwt_alg_symmetric"   // HS256, …: a public key is no secret
	AlgNotAllowed   principal.Reason = "jwt_alg_not_allowed" // not one of the configured
	AlgMismatch     principal.Reason = "jwt_alg_key_mismatch"
	HeaderJWK       principal.Reason = "jwt_header_jwk"
	HeaderJKU       principal.Reason = "jwt_header_jku"
	HeaderX5U       principal.Reason = "jwt_header_x5u"
	HeaderX5C       principal.Reason = "jwt_header_x5c"
	HeaderCrit      principal.Reason = "jwt_header_crit"
	Type            principal.Reason = "jwt_type"
	KidMissing      principal.Reason = "jwt_kid_missing"
	KidMalformed    principal.Reason = "jwt_kid_malformed" // a path, a URL or worse, and no key's name
	KidUnknown      principal.Reason = "jwt_kid_unknown"
	KeysUnavailable principal.Reason = "jwt_keys_unavailable" // the issuer's keys could not be had for too long
	Signature       principal.Reason = "jwt_signature"
	ClaimType       principal.Reason = "jwt_claim_type" // a registered claim is no number or text
	NoExpiry        principal.Reason = "jwt_no_expiry"
	Expired         principal.Reason = "jwt_expired"
	NotYet          principal.Reason = "jwt_not_yet_valid"
	Future          principal.Reason = "jwt_issued_in_future"
	TooOld          principal.Reason = "jwt_too_old"
	WrongIssuer     principal.Reason = "jwt_issuer"
	Audience        principal.Reason = "jwt_audience"
	NoSubject       principal.Reason = "jwt_no_subject"
	SubjectName     principal.Reason = "jwt_subject_characters" // see principal.Name
	EmailUnverified principal.Reason = "jwt_email_unverified"   // the name is an address that the issuer did not verify
	ClaimMissing    principal.Reason = "jwt_claim_missing"      // a required claim
	RevokedToken    principal.Reason = "jwt_revoked"
)
