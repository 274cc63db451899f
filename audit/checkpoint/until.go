package checkpoint

import "golang.org/x/mod/sumdb/note"

// Until returns a key that is good for checkpoints of at most size records, as
// that of a key which was retired when the log had so many. Open and Cosigned
// treat what it signed of more records as signed by a key that is not known: who
// steals a retired key cannot sign on with it.
func Until(v note.Verifier, size int64) note.Verifier { return limited{v, size} }

// LimitOf returns how many records a checkpoint by the key may have at most, if
// Until gave it a limit.
func LimitOf(v note.Verifier) (size int64, ok bool) {
	l, ok := v.(limited)
	return l.size, ok
}

type limited struct {
	note.Verifier
	size int64
}

// Good returns the keys that are good for a checkpoint, by what it says that its
// size is.
func Good(b []byte, keys []note.Verifier) []note.Verifier {
	h, err := Peek(b)
	if err != nil {
		return keys // it is malformed, which Open tells
	}
	good := make([]note.Verifier, 0, len(keys))
	for _, k := range keys {
		if size, ok := LimitOf(k); !ok || h.Size <= size {
			good = append(good, k)
		}
	}
	return good
}
