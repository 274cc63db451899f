package evidence

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// Certified knows the certificates that the server uses. The soc2 app is one.
type Certified interface {
	// CertificatesInUse reports false if nobody has looked yet.
	CertificatesInUse() ([]audit.Certificate, bool)
}

// The bounds of the inventory. What is beyond is counted.
const (
	maxCertificates = 16_384
	maxFailing      = 4096
)

// certificate is what is known of a certificate.
type certificate struct {
	SHA256    string           `json:"sha256"`
	Names     []string         `json:"names"`
	Issuer    string           `json:"issuer"`
	Serial    string           `json:"serial"`
	KeyType   string           `json:"key_type"`
	NotBefore time.Time        `json:"not_before,omitzero"`
	NotAfter  time.Time        `json:"not_after,omitzero"`
	Managed   bool             `json:"managed"`
	Used      *bool            `json:"in_use"` // now; null: not known
	Revoked   bool             `json:"revoked"`
	Events    map[string]int64 `json:"events"` // records of the period by kind
	First     *int64           `json:"first_seq"`
	Last      *int64           `json:"last_seq"`
	Seen      time.Time        `json:"last_seen,omitzero"` // time of the last record
}

// unserved is a name for which no certificate could be had in the period.
type unserved struct {
	Name   string    `json:"name"`
	Failed int64     `json:"failed"` // records
	Last   time.Time `json:"last"`
	Seq    int64     `json:"last_seq"`
	Since  bool      `json:"obtained_since"` // one was obtained after the last failure
}

// inventory adds up what the log says of certificates.
type inventory struct {
	all     map[string]*certificate
	failing map[string]*unserved
	omitted int64 // records of certificates and names that are too many
}

// certificates answers with the inventory: what the log has of the period, and
// which are in use now.
func (q *inquest) certificates() {
	after, ok := q.place()
	if !ok {
		return
	}
	v := inventory{all: map[string]*certificate{}, failing: map[string]*unserved{}}
	p, err := population.Find("certificates")
	if err != nil {
		q.failed(err)
		return
	}
	opt := q.options()
	opt.Population, opt.After, opt.Bare = p, "", true
	result, err := population.Rows(q.ctx, q.log, opt, func(row *population.Row) error { return v.add(row) })
	if err != nil {
		q.failed(err)
		return
	}
	known := v.used(q.src)
	list := v.list()
	count := int64(len(list))
	page := list[min(after, count):]
	rest := page[min(q.limit, len(page)):]
	page = page[:len(page)-len(rest)]
	var next *string
	if len(rest) > 0 {
		next = new(q.next(strconv.FormatInt(after+int64(len(page)), 10)))
	}
	q.listed(len(page), count)
	sendJSON(q.w, q.r, http.StatusOK, typeJSON, struct {
		basis
		Coverage     population.Coverage `json:"coverage"`
		Known        bool                `json:"in_use_known"`
		Count        int64               `json:"count"`
		Certificates []*certificate      `json:"certificates"`
		Failing      []*unserved         `json:"failing"`
		Omitted      int64               `json:"omitted_records"`
		Next         *string             `json:"next"`
	}{q.basis(), result.Coverage, known, count, page, v.failures(), v.omitted, next})
}

// add takes a record.
func (v *inventory) add(row *population.Row) error {
	r, err := audit.Decode(row.Record)
	if err != nil {
		return fmt.Errorf("record %d: %w", row.Seq, err)
	}
	b, ok := r.Body.(*audit.Certificate)
	if !ok {
		return nil
	}
	switch b.Kind {
	case audit.KindCertFailed:
		v.fail(row.Seq, b)
		return nil
	case audit.KindCertObtained, audit.KindCertRenewed:
		for _, name := range b.Names {
			if f := v.failing[name]; f != nil {
				f.Since = true
			}
		}
	}
	c := v.of(b)
	if c == nil {
		return nil
	}
	c.Events[strings.Clone(string(b.Kind))]++
	if c.First == nil {
		c.First = new(row.Seq)
	}
	c.Last, c.Seen = new(row.Seq), b.Time.UTC()
	c.Revoked = c.Revoked || b.Kind == audit.KindCertRevoked
	return nil
}

func (v *inventory) fail(seq int64, b *audit.Certificate) {
	for _, name := range b.Names {
		f := v.failing[name]
		if f == nil && len(v.failing) >= maxFailing {
			v.omitted++
			continue
		}
		if f == nil {
			f = &unserved{Name: visible(name)}
			v.failing[strings.Clone(name)] = f
		}
		f.Failed++
		f.Last, f.Seq, f.Since = b.Time.UTC(), seq, false
	}
}

// of is what is known of the certificate of a record; nil if the record does not
// say which it is, or if there are too many.
func (v *inventory) of(b *audit.Certificate) *certificate {
	c := v.all[b.SHA256]
	if c == nil && (b.SHA256 == "" || len(v.all) >= maxCertificates) {
		v.omitted++
		return nil
	}
	if c == nil {
		c = &certificate{Names: []string{}, Events: map[string]int64{}}
		v.all[strings.Clone(b.SHA256)] = c
		c.SHA256, c.Issuer, c.Serial, c.KeyType = visible(b.SHA256), visible(b.Issuer), visible(b.Serial), visible(b.KeyType)
		c.NotBefore, c.NotAfter = b.NotBefore.UTC(), b.NotAfter.UTC()
		for _, name := range b.Names {
			c.Names = append(c.Names, visible(name))
		}
	}
	c.Managed = b.Managed
	return c
}

// used notes which certificates are in use, and reports whether that is known.
func (v *inventory) used(src Source) bool {
	s, ok := src.(Certified)
	if !ok {
		return false
	}
	list, known := s.CertificatesInUse()
	if !known {
		return false
	}
	for _, c := range v.all {
		c.Used = new(false)
	}
	for i := range list {
		if c := v.of(&list[i]); c != nil {
			c.Used = new(true)
		}
	}
	return true
}

// list is the inventory by the end of the certificates.
func (v *inventory) list() []*certificate {
	return slices.SortedFunc(maps.Values(v.all), func(a, b *certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.SHA256, b.SHA256))
	})
}

func (v *inventory) failures() []*unserved {
	list := slices.SortedFunc(maps.Values(v.failing), func(a, b *unserved) int { return cmp.Or(cmp.Compare(b.Seq, a.Seq), cmp.Compare(a.Name, b.Name)) })
	return append([]*unserved{}, list[:min(len(list), maxPage)]...)
}
