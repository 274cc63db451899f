package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
	"github.com/caddy-soc2/caddy-soc2/evidence/packer"
)

// reportSecurity lets the report have its own style, by the hash of it, and
// nothing else: the page says the same of itself for where it is saved.
var reportSecurity = func() string {
	sum := sha256.Sum256([]byte(pack.PageStyle()))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox allow-modals"
}()

// file answers with a file that a pack of the period has.
func (q *inquest) file(name, mediaType string) {
	if q.fresh() {
		return
	}
	var files map[string][]byte
	var err error
	if name == pack.CatalogFile || name == pack.ComponentFile {
		files, err = packer.Definitions(q.ctx, []packer.Log{q.packed()}, q.packing())
	} else {
		_, files, err = packer.Documents(q.ctx, []packer.Log{q.packed()}, q.packing())
	}
	switch {
	case errors.Is(err, packer.ErrPeriod):
		problemOf(q.w, q.r, http.StatusBadRequest, "from", sentence(err))
	case err != nil:
		q.failed(err)
	default:
		q.rooted()
		send(q.w, q.r, http.StatusOK, mediaType, files[name])
	}
}

func (q *inquest) catalog()    { q.file(pack.CatalogFile, typeJSON) }
func (q *inquest) component()  { q.file(pack.ComponentFile, typeJSON) }
func (q *inquest) assessment() { q.file(pack.AssessmentFile, typeJSON) }

// report answers with the page for people that a pack of the period has.
func (q *inquest) report() {
	q.w = &policed{q.w}
	q.file(pack.PageFile, typeHTML)
}

// policed has the content security policy of the report where a page is answered.
type policed struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (p *policed) WriteHeader(status int) {
	if status == http.StatusOK {
		p.Header().Set("Content-Security-Policy", reportSecurity)
	}
	p.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (p *policed) Unwrap() http.ResponseWriter { return p.ResponseWriter }
