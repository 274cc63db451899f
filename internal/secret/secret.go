// Package secret reads what a configuration keeps outside itself: placeholders
// such as {env.NAME} and {file.PATH}, and files with keys and secrets. What is
// missing or empty is an error with the name of the option. Caddy's own
// replacement makes an empty text of it, by which a server could start with an
// empty secret.
//
// No error has in it what a placeholder stands for, or what a file holds.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// MaxBytes is the size of the largest file that Read takes (1 MiB, as of the
// placeholder {file.PATH}).
const MaxBytes = 1 << 20

// Text fills in the placeholders of an option's text. Each must be known and
// stand for something, and so must the text as a whole. A brace that begins no
// placeholder is written \{.
func Text(option, text string) (string, error) {
	full, err := caddy.NewReplacer().ReplaceFunc(text, func(name string, value any) (any, error) {
		if caddy.ToString(value) != "" {
			return value, nil
		}
		return nil, missing(name, value)
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("%s %q: %w", option, text, err)
	case strings.TrimSpace(full) == "":
		return "", fmt.Errorf("%s %q: it is empty", option, text)
	}
	return full, nil
}

// missing says why a placeholder stands for nothing.
func missing(name string, value any) error {
	kind, rest, dotted := strings.Cut(name, ".")
	switch {
	case kind == "env" && dotted:
		if _, set := os.LookupEnv(rest); set {
			return fmt.Errorf("the environment variable %s is empty", rest)
		}
		return fmt.Errorf("the environment variable %s is not set", rest)
	case kind == "file" && dotted:
		if _, err := os.Stat(rest); err != nil {
			return fmt.Errorf("the file %s of the placeholder: %w", rest, Cause(err))
		}
		return fmt.Errorf("the file %s of the placeholder is empty or cannot be read", rest)
	case value == nil:
		return fmt.Errorf("there is no placeholder {%s} while the configuration is loaded", name)
	}
	return fmt.Errorf("the placeholder {%s} stands for nothing", name)
}

// Texts fills in the placeholders of several options in place. Those that are
// empty, and so not given, stay so.
func Texts(options map[string]*string) error {
	for option, text := range options {
		if *text == "" {
			continue
		}
		full, err := Text(option, *text)
		if err != nil {
			return err
		}
		*text = full
	}
	return nil
}

// ErrEmpty means that a file has no contents but white space: one that is being
// written, or whose secret was never put there.
var ErrEmpty = errors.New("the file is empty")

// Read returns the contents of the file that an option names. That there is none,
// that it is empty or only white space, larger than MaxBytes, or not a regular
// file is an error.
func Read(option, name string) ([]byte, error) {
	path, err := Text(option, name)
	if err != nil {
		return nil, err
	}
	data, err := readAll(path)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", option, name, Cause(err))
	}
	return data, nil
}

// Line returns the one line that a file holds, such as a password or a token,
// without white space around it.
func Line(option, name string) (string, error) {
	data, err := Read(option, name)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(data))
	if strings.ContainsAny(line, "\r\n\x00") {
		return "", fmt.Errorf("%s %q: the file has more than one line", option, name)
	}
	return line, nil
}

func readAll(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > MaxBytes:
		return nil, fmt.Errorf("the file is larger than %d bytes", MaxBytes)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, ErrEmpty
	}
	return data, nil
}

// Cause is what an error of a file says without the file's name, which may come
// from a placeholder.
func Cause(err error) error {
	if of, ok := errors.AsType[*fs.PathError](err); ok {
		return of.Err
	}
	return err
}
