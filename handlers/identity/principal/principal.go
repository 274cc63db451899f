// Package principal says who makes a request, how that is known, or why it is
// not believed.
package principal

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/text/unicode/norm"
)

// Method is how a principal was authenticated.
type Method string

// The methods.
const (
	JWT      Method = "jwt"
	OIDC     Method = "oidc"
	MTLS     Method = "mtls"
	APIKey   Method = "api_key"
	Password Method = "password"
)

// Principal is who makes a request.
type Principal struct {
	ID       string            // never empty
	Method   Method            //
	Roles    []string          // as the source gives them
	Claims   map[string]string // what else the source says, by name
	IssuedAt time.Time         // of the credential, or of the login; zero if not known
	AMR      []string          // methods of authentication (RFC 8176), as far as they are known
	MFA      bool              // by more than one factor
}

// User is what Caddy's placeholders {http.auth.user.*} are made of: id, roles
// (with commas), method, mfa (true or false), amr (with commas), issued_at
// (seconds since 1970), and claim.NAME. What is not known is not in it.
func (p *Principal) User() caddyauth.User {
	data := make(map[string]string, 5+len(p.Claims))
	data["method"] = string(p.Method)
	data["roles"] = strings.Join(p.Roles, ",")
	if !p.IssuedAt.IsZero() {
		data["issued_at"] = strconv.FormatInt(p.IssuedAt.Unix(), 10)
	}
	data["mfa"] = strconv.FormatBool(p.MFA)
	if len(p.AMR) > 0 {
		data["amr"] = strings.Join(p.AMR, ",")
	}
	for name, value := range p.Claims {
		data["claim."+name] = value
	}
	return caddyauth.User{ID: p.ID, Metadata: data}
}

// The longest names that are taken, in bytes.
const (
	maxID   = 256
	maxRole = 128
	// MaxRoles is how many roles a principal can have.
	MaxRoles = 200
)

// Name reports whether a text can be the name of a principal: short, of visible
// ASCII characters and single spaces within. With unicode it may also have
// letters, marks and digits of one script, in Unicode's form NFC, so that two
// names that look alike on paper are seldom two principals (UTS 39, section 5).
func Name(id string, unicode bool) bool {
	if id == "" || len(id) > maxID || id[0] == ' ' || id[len(id)-1] == ' ' || strings.Contains(id, "  ") {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c < ' ' || c == 0x7f || c >= 0x80 && !unicode {
			return false
		}
	}
	return !unicode || oneScript(id)
}

// Role reports whether a text can be a role. A comma would make two of it.
func Role(role string) bool {
	return len(role) <= maxRole && !strings.Contains(role, ",") && Name(role, true)
}

// scripts are those whose letters are told apart from those of others.
// Characters of no script, such as digits, go with all of them.
var scripts = func() []*unicode.RangeTable {
	var list []*unicode.RangeTable
	for name, table := range unicode.Scripts {
		if name != "Common" && name != "Inherited" {
			list = append(list, table)
		}
	}
	return list
}()

func oneScript(text string) bool {
	if !utf8.ValidString(text) || !norm.NFC.IsNormalString(text) {
		return false
	}
	var script *unicode.RangeTable
	for _, r := range text {
		if r < utf8.RuneSelf && !unicode.IsLetter(r) {
			continue
		}
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) {
			return false
		}
		table := scriptOf(r)
		if script != nil && table != nil && script != table {
			return false
		}
		if table != nil {
			script = table
		}
	}
	return true
}

// scriptOf is the script of a character; none if it goes with all.
func scriptOf(r rune) *unicode.RangeTable {
	if r < utf8.RuneSelf { // a letter: others were not asked for
		return unicode.Latin
	}
	for _, table := range scripts {
		if unicode.Is(table, r) {
			return table
		}
	}
	return nil
}

// Clean returns the roles that can be, each once, at most MaxRoles.
func Clean(roles []string) []string {
	var list []string
	for _, role := range roles {
		if Role(role) && !slices.Contains(list, role) && len(list) < MaxRoles {
			list = append(list, role)
		}
	}
	return list
}
