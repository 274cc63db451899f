package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// What verifiers know by its SHA-256, hex: who holds the key of a log could sign
// another. This package does not import the checks, which import what writes the
// log. go test ./evidence/packer -run Pins -update writes them.
var (
	mappings = map[int]string{1: "d2857e284a76d89c80843731747405295159e6df3802095816ddaf47630c6c5b"} // criteria/mapping.json, by version

	catalogues = []string{"618d6a20a1bc9867c3dd8f593c7bc2aee3abb1e7276f0b98c8801f21de1cdf21"} // checks/definitions.ndjson with all checks of a version
)

// criteria returns the mapping of criteria, which is that of its version.
func (v *verifier) criteria() ([]byte, error) {
	b, err := v.file(CriteriaFile)
	if err != nil {
		return nil, err
	}
	var got struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return nil, v.stop("%s: %v", CriteriaFile, err)
	}
	sum := sha256.Sum256(b)
	switch mappings[got.Version] {
	case hex.EncodeToString(sum[:]):
		return b, nil
	case "":
		return nil, fmt.Errorf("%s is of version %d: %w", CriteriaFile, got.Version, ErrVersion)
	}
	return nil, v.stop("%s: it is not the mapping of criteria of version %d", CriteriaFile, got.Version)
}
