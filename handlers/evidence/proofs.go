package evidence

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/caddy-soc2/caddy-soc2/audit/tiles"
)

// proofs answers requests for proofs of the tree alone. It reports false for
// other paths.
func (a *API) proofs(w http.ResponseWriter, r *http.Request, src Source, path string) bool {
	names := map[string][2]string{"/log/proof/inclusion": {"seq", "size"}, "/log/proof/consistency": {"from", "to"}}[path]
	if names[0] == "" {
		return false
	}
	log := src.Log()
	_, head, _ := log.Checkpoint()
	values := r.URL.Query()
	number := func(name string, missing int64) int64 {
		list, ok := values[name]
		delete(values, name)
		if !ok {
			return missing
		}
		n, err := strconv.ParseInt(list[0], 10, 64)
		if err != nil || len(list) != 1 || n < 0 {
			return -1
		}
		return n
	}
	first, second := number(names[0], -1), number(names[1], head.Size)
	blame := names[1]
	if first < 0 || names[0] == "from" && first == 0 {
		blame = names[0]
	}
	for name := range values {
		blame = name[:min(len(name), maxName)]
	}
	if inclusion := names[0] == "seq"; first < 0 || second < 0 || len(values) > 0 || first > second || inclusion && first == second || !inclusion && first == 0 || second > head.Size {
		problemOf(w, r, http.StatusBadRequest, blame, fmt.Sprintf("The query has %s and %s, by default the newest size, %d, that is signed: numbers, the first smaller than the second.", names[0], names[1], head.Size))
		return true
	}
	var hashes any
	var err error
	if names[0] == "seq" {
		hashes, err = tiles.Reader{Records: log.Records(), Size: second}.Prove(r.Context(), first)
	} else {
		hashes, err = log.ProveConsistency(r.Context(), first, second)
	}
	if err != nil {
		broken(w, r, err)
		return true
	}
	text, err := json.Marshal(hashes)
	if err != nil {
		broken(w, r, err)
		return true
	}
	if string(text) == "null" {
		text = []byte("[]")
	}
	sendJSON(w, r, http.StatusOK, typeJSON, map[string]any{names[0]: first, names[1]: second, "hashes": json.RawMessage(text)})
	return true
}
