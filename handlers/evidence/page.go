package evidence

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

//go:embed web/status.html
var statusHTML string

//go:embed web/style.css
var styleCSS []byte

var statusTemplate = template.Must(template.New("status").Parse(statusHTML))

const (
	newest   = 20          // records on the page
	keepRows = time.Second // that long the page's records may be old
	maxShown = 256         // characters of a text on the page
)

// page serves the status page, for people.
type page struct {
	source Source
	prefix string
	now    func() time.Time

	mu     sync.Mutex // held while records are read, so that one request does it at a time
	rows   []row
	readAt time.Time
}

func (p *page) serve(w http.ResponseWriter, r *http.Request, path string, role Role) {
	switch path {
	case "/":
		p.status(w, r, role)
	case "/style.css":
		send(w, r, http.StatusOK, typeCSS, styleCSS)
	case "/lookup":
		p.lookup(w, r)
	default:
		notFound(w, r)
	}
}

// status serves the page itself.
func (p *page) status(w http.ResponseWriter, r *http.Request, role Role) {
	status := statusOf(p.source, p.now())
	var rows []row
	var unreadable error
	if role.may(Auditor) {
		rows, unreadable = p.records()
	}
	if unreadable != nil { // the rest of the page is needed then more than ever
		report(unreadable)
	}
	var b bytes.Buffer
	err := statusTemplate.Execute(&b, struct {
		Status
		Prefix     string
		Age        time.Duration
		Rows       []row
		Unreadable bool
	}{status, p.prefix, time.Duration(status.AgeSeconds) * time.Second, rows, unreadable != nil})
	if err != nil {
		broken(w, r, err)
		return
	}
	send(w, r, http.StatusOK, typeHTML, b.Bytes())
}

// lookup is where the form leads.
func (p *page) lookup(w http.ResponseWriter, r *http.Request) {
	ref, ok := parseReference(strings.TrimSpace(r.URL.Query().Get("id")))
	if !ok {
		problemOf(w, r, http.StatusBadRequest, "id", badReference)
		return
	}
	seeOther(w, p.prefix+apiVersion+recordsPath+ref.String())
}

// row is a record on the page.
type row struct {
	Seq      string
	Time     string
	Kind     string
	ID       string
	Method   string
	Host     string
	Path     string
	Status   string
	ClientIP string
}

// records returns the newest records. Reading them takes a whole segment, so
// what was read a moment ago is good enough.
func (p *page) records() ([]row, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := p.now().Sub(p.readAt); age >= 0 && age < keepRows {
		return p.rows, nil
	}
	var rows []row
	var failed error
	err := p.source.Log().Records().Newest(func(_ int64, record []byte) bool {
		var next row
		if next, failed = parseRow(record); failed != nil {
			return false
		}
		rows = append(rows, next)
		return len(rows) < newest
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	p.rows, p.readAt = rows, p.now()
	return rows, nil
}

func parseRow(record []byte) (row, error) {
	h, err := audit.ParseHeader(record)
	if err != nil {
		return row{}, err
	}
	var body struct {
		Client struct {
			IP string `json:"ip"`
		} `json:"client"`
		Request struct {
			Method string `json:"method"`
			Host   string `json:"host"`
			Path   string `json:"path"`
		} `json:"request"`
		Response struct {
			Status int `json:"status"`
		} `json:"response"`
	}
	if err := json.Unmarshal(record, &body); err != nil {
		return row{}, err
	}
	next := row{
		Seq: strconv.FormatInt(h.Seq, 10), Time: h.Time.UTC().Format("2006-01-02 15:04:05.000"), Kind: string(h.Kind), ID: visible(h.ID),
		Method: visible(body.Request.Method), Host: visible(body.Request.Host), Path: visible(body.Request.Path), ClientIP: visible(body.Client.IP),
	}
	if body.Response.Status != 0 {
		next.Status = strconv.Itoa(body.Response.Status)
	}
	return next, nil
}

// visible cuts a text and spells out characters that do not show, or that make
// others show in another order than they stand. That HTML has its own special
// characters is left to html/template.
func visible(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxShown {
			b.WriteRune('…')
			break
		}
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}
