package jwks

import (
	"context"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/reload"
)

// File is a key set in a file.
type File struct{ *reload.File[*Set] }

// Current is the set in the file.
func (f File) Current() *Set { return *f.Get() }

// Find returns the keys of a name. See jwt.Keys.
func (f File) Find(_ context.Context, kid string, _ bool) ([]Key, error) {
	return f.Current().Find(kid), nil
}
