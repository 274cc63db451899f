package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Context is what is known of the directory that a builder sends files from.
type Context struct {
	HasIgnore  bool            // there is a .dockerignore
	IgnoreName string          // its name
	Ignore     []byte          // its content
	Secrets    []string        // files with names of secrets that it does not list
	Harmless   map[string]bool // files with such names in which no secret was found
	Git        bool            // .git is there and is not listed
	Files      int             // that would be sent
	Cut        bool            // there were more files than are looked at
}

// maxFiles is how many files of a context are looked at.
const maxFiles = 200_000

// errEnough ends the walk.
var errEnough = errors.New("enough")

// ReadContext looks at a build context. The ignore file that is named like the
// Dockerfile, with .dockerignore behind it, goes before the general one.
func ReadContext(dir fs.FS, dockerfile string) (*Context, error) {
	c := &Context{Harmless: map[string]bool{}}
	for _, name := range []string{path.Base(dockerfile) + ".dockerignore", ".dockerignore"} {
		data, err := readSmall(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the build context: %w", err)
		}
		c.HasIgnore, c.IgnoreName, c.Ignore = true, name, data
		break
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(c.Ignore))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", c.IgnoreName, err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: mend the pattern", c.IgnoreName, err)
	}
	err = fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return c.look(dir, ignored, name, d)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("reading the build context: %w", err)
	}
	slices.Sort(c.Secrets)
	return c, nil
}

// maxSmall is the size of the largest file of a context that is read, in bytes.
const maxSmall = 1 << 20

// readSmall reads a file of the context, which is somebody else's: it may be a
// pipe, or a link to a device.
func readSmall(dir fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(dir, name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", name)
	case info.Size() > maxSmall:
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, info.Size(), maxSmall)
	}
	return fs.ReadFile(dir, name)
}

// look takes a file of the context.
func (c *Context) look(dir fs.FS, ignored *patternmatcher.PatternMatcher, name string, d fs.DirEntry) error {
	if name == "." {
		return nil
	}
	skip, err := ignored.MatchesOrParentMatches(name)
	if err != nil {
		return fmt.Errorf("%s: %w", c.IgnoreName, err)
	}
	if d.IsDir() {
		switch {
		case name == ".git":
			c.Git = !skip
			return fs.SkipDir
		case skip && !ignored.Exclusions(), path.Base(name) == "node_modules", path.Base(name) == "testdata":
			return fs.SkipDir // dependencies and tests have keys that are no secrets
		}
		return nil
	}
	if skip {
		return nil
	}
	if c.Files++; c.Files > maxFiles {
		c.Cut = true
		return errEnough
	}
	if secretFile(name) == "" {
		return nil
	}
	if plain(dir, name) {
		c.Harmless[name] = true
	} else {
		c.Secrets = append(c.Secrets, name)
	}
	return nil
}

// plain tells whether a file which may hold secrets, but often does not, holds
// none.
func plain(dir fs.FS, name string) bool {
	if path.Base(name) != ".npmrc" {
		return false
	}
	data, err := readSmall(dir, name)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if strings.HasPrefix(value, "${") {
			continue
		}
		for _, secret := range []string{"_authToken", "_auth", "_password", "username"} {
			if key == secret || strings.HasSuffix(key, ":"+secret) {
				return false
			}
		}
	}
	return true
}
