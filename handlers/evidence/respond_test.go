package evidence

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzStill: what is escaped means the same, and nothing of it acts.
func FuzzStill(f *testing.F) {
	for _, s := range append([]string{"a\u202eb\u200b", "\u0085\u2028\ufeff\U000e0001", "\\\u202e\"", "ü"}, payloads...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		shown := still(text)
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(shown, &got); err != nil || got != want {
			t.Errorf("%q becomes %q: %v", text, shown, err)
		}
		if bytes.ContainsFunc(shown, acts) {
			t.Errorf("%q acts", shown)
		}
		if raw := append([]byte{'"', 0xff}, shown...); !bytes.Equal(still(raw), raw) {
			t.Errorf("bytes that are no text were changed: %q", still(raw))
		}
	})
}
