package password

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-soc2/caddy-soc2/handlers/identity/principal"
)

// Account is who can log in with a password.
type Account struct {
	Name  string
	Hash  string // bcrypt ($2a$, $2b$, $2y$) or argon2id, as "caddy hash-password" writes it
	Roles []string

	user    caddyauth.User
	compare caddyauth.Comparer
}

// Accounts are accounts by name.
type Accounts struct {
	byName map[string]*Account
	list   []*Account
}

// All lists the accounts, in the order of the file.
func (a *Accounts) All() []*Account { return slices.Clone(a.list) }

// stand is an account whose hash is compared with in the place of that of a name
// that nobody has, so that the time tells nobody which names exist. It is always
// the same for one name, and any for several: hashes may differ in their cost.
func (a *Accounts) stand(name string) *Account {
	sum := sha256.Sum256([]byte(name))
	return a.list[binary.BigEndian.Uint64(sum[:])%uint64(len(a.list))]
}

// Parse reads accounts, in lines NAME:HASH or NAME:HASH:ROLE,ROLE. Empty lines
// and those that begin with # say nothing.
func Parse(data []byte) (*Accounts, error) {
	var list []*Account
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(line, ":")
		if len(parts) < 2 || len(parts) > 3 {
			return nil, fmt.Errorf("line %d is not written NAME:HASH or NAME:HASH:ROLE,ROLE", n)
		}
		a := &Account{Name: parts[0], Hash: parts[1]}
		if len(parts) == 3 && parts[2] != "" {
			a.Roles = strings.Split(parts[2], ",")
		}
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, a)
	}
	return newAccounts(list)
}

func newAccounts(list []*Account) (*Accounts, error) {
	if len(list) == 0 {
		return nil, errors.New("there is no account")
	}
	accounts := &Accounts{byName: make(map[string]*Account, len(list)), list: list}
	for _, a := range list {
		if accounts.byName[a.Name] != nil {
			return nil, fmt.Errorf("the account %q is there twice", a.Name)
		}
		accounts.byName[a.Name] = a
	}
	return accounts, nil
}

// The bounds of what a hash may cost to compare with.
const (
	maxBcrypt       = 16
	maxArgonMemory  = 1 << 20 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
)

var argon = regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,9})\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{22,172}$`)

// check checks an account. What it says has no hash in it.
func (a *Account) check() error {
	if !principal.Name(a.Name, true) || strings.Contains(a.Name, ":") {
		return fmt.Errorf("%q cannot be a name: it is empty, too long, or has a colon or control characters", a.Name)
	}
	for _, role := range a.Roles {
		if !principal.Role(role) {
			return fmt.Errorf("account %q: %q cannot be a role", a.Name, role)
		}
	}
	if err := a.checkHash(); err != nil {
		return fmt.Errorf("account %q: %w", a.Name, err)
	}
	p := principal.Principal{ID: a.Name, Method: principal.Password, Roles: principal.Clean(a.Roles), AMR: []string{"pwd"}}
	a.user = p.User()
	return nil
}

func (a *Account) checkHash() error {
	if strings.HasPrefix(a.Hash, "$argon2id$") {
		m := argon.FindStringSubmatch(a.Hash)
		if m == nil {
			return errors.New("the hash is no argon2id one of version 19")
		}
		for i, most := range []int{maxArgonMemory, maxArgonTime, maxArgonThreads} {
			if v, err := strconv.Atoi(m[i+1]); err != nil || v < 1 || v > most {
				return errors.New("the hash costs too much, or nothing: at most m=1048576,t=16,p=16")
			}
		}
		if _, _, err := caddyauth.DecodeHash([]byte(a.Hash)); err != nil {
			return errors.New("the hash is no argon2id one of version 19")
		}
		a.compare = caddyauth.Argon2idHash{}
		return nil
	}
	cost, err := bcrypt.Cost([]byte(a.Hash))
	switch {
	case err != nil || len(a.Hash) != 60:
		return errors.New("the hash is neither bcrypt nor argon2id: make one with caddy hash-password")
	case cost < 10 || cost > maxBcrypt:
		return fmt.Errorf("the bcrypt cost is %d: it must be from 10 to %d", cost, maxBcrypt)
	}
	a.compare = caddyauth.BcryptHash{}
	return nil
}
