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
	mappings = map[int]string{1: "092472a54217472f0c7a985bfcd9592a589af0e09ede4e0c99a0369669be6de0"} // criteria/mapping.json, by version

	catalogues = []string{"25d1ee5091ec07eb8b0c1d9bb737b9db137a9844e4c4f7e91a78c679c43d1e61"} // checks/definitions.ndjson with all checks of a version
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
