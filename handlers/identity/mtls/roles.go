package mtls

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// Roles are the roles of principals, by name.
type Roles map[string][]string

// ParseRoles reads an object of JSON: names with lists of roles.
func ParseRoles(data []byte) (Roles, error) {
	var roles Roles
	if err := json.Unmarshal(data, &roles); err != nil || roles == nil {
		return nil, errors.New(`the roles are not written: {"NAME": ["ROLE", …], …}`)
	}
	for name, list := range roles {
		for _, role := range list {
			if !principal.Role(role) {
				return nil, fmt.Errorf("%q of %q cannot be a role: it is empty, too long, or has a comma or control characters", role, name)
			}
		}
	}
	return roles, nil
}
