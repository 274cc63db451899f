package secret

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Fill fills in the placeholders {env.NAME} and {file.PATH} in all texts of the
// options that v points to: fields of structs, elements of lists and values of
// maps, however deep. Each must stand for something. Other placeholders stay,
// such as those of requests. Of what it fills in, nothing gets into the
// configuration that the admin API shows.
//
// The error names the option by its members in JSON.
func Fill(v any) error { return fill("", reflect.ValueOf(v)) }

func fill(at string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		return fill(at, v.Elem())
	case reflect.Struct:
		return fillFields(at, v)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := fill(fmt.Sprintf("%s[%d]", at, i), v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		return fillValues(at, v)
	case reflect.String:
		if !v.CanSet() || !fillable(v.String()) {
			return nil
		}
		text, err := fillText(at, v.String())
		if err != nil {
			return err
		}
		v.SetString(text)
	}
	return nil
}

func fillFields(at string, v reflect.Value) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() && !field.Anonymous || name == "-" {
			continue // no option
		}
		inner := at
		if name != "" {
			inner = strings.TrimPrefix(at+"."+name, ".")
		}
		if err := fill(inner, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// fillValues replaces the values of a map, which cannot be changed in place.
func fillValues(at string, v reflect.Value) error {
	for _, key := range v.MapKeys() {
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(v.MapIndex(key))
		if err := fill(fmt.Sprintf("%s.%v", at, key), value); err != nil {
			return err
		}
		v.SetMapIndex(key, value)
	}
	return nil
}

func fillable(text string) bool {
	return strings.Contains(text, "{env.") || strings.Contains(text, "{file.")
}

// placeholder is one that is filled in, or has a backslash before it and stays. The
// rest of a text, such as braces and what escapes them, is not looked at.
var placeholder = regexp.MustCompile(`\\?\{(?:env|file)\.[^{}]*\}`)

func fillText(option, text string) (string, error) {
	repl := caddy.NewReplacer()
	var failed error
	full := placeholder.ReplaceAllStringFunc(text, func(found string) string {
		if found[0] == '\\' {
			return found
		}
		name := found[1 : len(found)-1]
		value, _ := repl.Get(name)
		filled := caddy.ToString(value)
		if filled == "" && failed == nil {
			failed = missing(name, value)
		}
		return filled
	})
	if failed != nil {
		return "", fmt.Errorf("%s %q: %w", option, text, failed)
	}
	return full, nil
}
