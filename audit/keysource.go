package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Source says where a private key is kept. Its text form is one of
//
//	PATH, file:PATH    a file that nobody but its owner can read
//	env:NAME           an environment variable
//	credential:NAME    a systemd credential, $CREDENTIALS_DIRECTORY/NAME
//
// and all of them hold the key as ParseKey reads it.
//
// An environment variable is taken out of the process's environment when it is
// read, so that programs which this one starts do not inherit the key; it is
// kept in memory for the next configuration that names it. The kernel still
// shows the environment with which the process began to its own user and to
// root, in /proc/PID/environ. A file or a credential does not have this flaw.
//
// The key that is to come in a rotation is in a source beside it: PATH.next,
// NAME_NEXT of an environment variable, NAME.next of a credential.
type Source struct {
	kind sourceKind
	name string
}

type sourceKind string

const (
	inFile       sourceKind = "file"
	inEnv        sourceKind = "env"
	inCredential sourceKind = "credential"
)

// nextSuffix ends the name of a key that is to come.
const nextSuffix = ".next"

// ParseSource reads the text form of a source.
func ParseSource(text string) (Source, error) {
	kind, name, found := strings.Cut(text, ":")
	if !found || len(kind) == 1 || strings.ContainsAny(kind, `/\.`) { // one letter is a drive of Windows
		kind, name = string(inFile), text
	}
	s := Source{sourceKind(kind), name}
	switch {
	case strings.Contains(text, "PRIVATE+KEY"):
		return Source{}, errors.New("key source: it is a private key: give the place where the key is kept")
	case text == "":
		return Source{}, errors.New("key source: it is empty: give a path, env:NAME or credential:NAME")
	case s.kind != inFile && s.kind != inEnv && s.kind != inCredential:
		return Source{}, fmt.Errorf("key source %q: %q is no kind of source: they are file:PATH, env:NAME and credential:NAME; for a file of that name write file:%s", text, kind, text)
	case name == "" || strings.ContainsRune(name, 0):
		return Source{}, fmt.Errorf("key source %q: it names nothing after %q", text, kind+":")
	case s.kind == inEnv && strings.Contains(name, "="):
		return Source{}, fmt.Errorf("key source %q: give the name of the environment variable, not its value", kind+":…")
	case s.kind == inCredential && (filepath.Base(name) != name || name == "." || name == ".."):
		return Source{}, fmt.Errorf("key source %q: the name of a credential is that of a file, without a directory", text)
	}
	return s, nil
}

// String is the text form.
func (s Source) String() string { return string(s.kind) + ":" + s.name }

// File returns the path of the key if it is kept in a file. Only there a key
// can be made or rotated by this program.
func (s Source) File() (path string, ok bool) { return s.name, s.kind == inFile }

// Next is the source of the key that is to come.
func (s Source) Next() Source {
	if s.kind == inEnv {
		return Source{inEnv, s.name + "_NEXT"}
	}
	return Source{s.kind, s.name + nextSuffix}
}

// Load reads the key. Where there is none the error is fs.ErrNotExist.
func (s Source) Load() (*Key, error) {
	switch s.kind {
	case inEnv:
		return s.fromEnv()
	case inCredential:
		return s.fromCredential()
	case inFile:
		return LoadKey(s.name)
	}
	return nil, errors.New("reading key: no source is given")
}

// Ensure is Load, but makes the key for the given origin if it belongs in a
// file that does not exist.
func (s Source) Ensure(fsys durable.FS, origin string) (*Key, error) {
	if s.kind == inFile {
		return EnsureKey(fsys, s.name, origin)
	}
	return s.Load()
}

// LoadKey reads a private key from a file, which nobody but its owner may be
// able to read.
func LoadKey(name string) (*Key, error) { return loadKey(durable.OS{}, name, 0o077) }

// maxKeyFile is far more than any key is long.
const maxKeyFile = 4 << 10

// loadKey reads a key from a file that has none of the mode bits refused.
func loadKey(fsys durable.FS, name string, refused fs.FileMode) (*Key, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("reading key: %s is a directory: name the file in it", name)
	}
	if mode := info.Mode().Perm(); mode&refused != 0 && runtime.GOOS != "windows" { // Windows has no such bits
		return nil, fmt.Errorf("reading key: %s has mode %04o, so others can read it: chmod 600 it", name, mode)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	return parseKeyOf(name, string(b))
}

// parseKeyOf parses what was found in a place.
func parseKeyOf(place, text string) (*Key, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("reading key: %s is empty: put in the line that \"caddy soc2 key new\" wrote", place)
	}
	k, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading key: %s: %w", place, err)
	}
	return k, nil
}

// taken holds the values of the environment variables that were taken out of
// the environment. A configuration that is loaded later reads them here.
var taken = struct {
	sync.Mutex
	values map[string]string
}{values: map[string]string{}}

// missing is an fs.ErrNotExist that says what to do, and no more.
type missing string

// Error implements error.
func (m missing) Error() string { return string(m) }

// Is tells that it is an fs.ErrNotExist.
func (missing) Is(target error) bool { return target == fs.ErrNotExist }

func (s Source) fromEnv() (*Key, error) {
	taken.Lock()
	defer taken.Unlock()
	if v, ok := os.LookupEnv(s.name); ok {
		if err := os.Unsetenv(s.name); err != nil {
			return nil, fmt.Errorf("reading key: taking %s out of the environment: %w", s.name, err)
		}
		taken.values[s.name] = v
	}
	v, ok := taken.values[s.name]
	if !ok {
		return nil, missing(fmt.Sprintf("reading key: the environment variable %s is not set: set it to the private key, or name another source", s.name))
	}
	return parseKeyOf("the environment variable "+s.name, v)
}

// fromCredential reads a file that systemd made (systemd.exec(5), CREDENTIALS).
// It belongs to the service's user with mode 0400, or to root with an access
// control list that lets the user read it: then its mode shows the mask of the
// list as the bits of the group, 0440 (systemd issue 29435). Bits that let
// others read or the group write come from elsewhere.
func (s Source) fromCredential() (*Key, error) {
	const variable = "CREDENTIALS_DIRECTORY"
	dir := os.Getenv(variable)
	if dir == "" {
		return nil, missing(fmt.Sprintf("reading key: %s: $%s is not set, so this is no systemd service with credentials: add LoadCredential=%s:/path/of/the/key to its unit", s, variable, s.name))
	}
	k, err := loadKey(durable.OS{}, filepath.Join(dir, s.name), 0o037)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s: add LoadCredential=%s:/path/of/the/key to the service's unit", err, s, s.name)
	}
	return k, err
}
