package inert

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestEscapedJSONSaysTheSame escapes each character of a plane, and nothing that
// stands between the tokens.
func TestEscapedJSONSaysTheSame(t *testing.T) {
	var all strings.Builder
	for c := range rune(0x10000) {
		if c < 0xd800 || c > 0xdfff {
			all.WriteRune(c)
		}
	}
	text, err := json.MarshalIndent(map[string]string{all.String(): all.String() + "\U0001f600"}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	escaped := JSON(text)
	var was, is map[string]string
	if err := json.Unmarshal(text, &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(escaped, &is); err != nil {
		t.Fatal(err)
	}
	for k, v := range was {
		if is[k] != v {
			t.Error("it says something else")
		}
	}
	if strings.ContainsFunc(string(escaped), inText) {
		t.Error("a character acts")
	}
	if plain := []byte(`{"a":"b"}`); string(JSON(plain)) != string(plain) {
		t.Error("what does not act was changed")
	}
}
