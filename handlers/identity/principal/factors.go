package principal

// factor is a kind of proof. Two proofs of one kind, such as a password and a
// PIN, are one factor.
type factor int

const (
	knowledge factor = iota + 1
	possession
	inherence
)

// factors are the methods of authentication (RFC 8176, section 2) that are a
// proof by themselves.
var factors = map[string]factor{
	"kba": knowledge, "pin": knowledge, "pwd": knowledge,
	"hwk": possession, "otp": possession, "pop": possession, "sc": possession, "sms": possession, "swk": possession, "tel": possession,
	"face": inherence, "fpt": inherence, "iris": inherence, "retina": inherence, "vbm": inherence,
}

// Several reports whether methods of authentication are of more than one factor:
// of two kinds, or mfa, by which an issuer says so.
func Several(amr []string) bool {
	var first factor
	for _, method := range amr {
		kind := factors[method]
		if method == "mfa" || kind != 0 && first != 0 && kind != first {
			return true
		}
		if first == 0 {
			first = kind
		}
	}
	return false
}
