package evidence

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

//go:embed web/status.html
var pageSource string

//go:embed web/style.css
var styleSheet []byte

// pageTemplate escapes all that a record holds: paths, hosts and ids come from
// clients.
var pageTemplate = template.Must(template.New("status").Parse(pageSource))

// shown is how many of the newest records the page lists.
const shown = 20

// row is a record on the page.
type row struct {
	Seq    int64
	Time   string
	Kind   audit.Kind
	ID     string
	Client struct{ IP string }

	Request  struct{ Method, Host, Path string }
	Response struct{ Status int }
}

type view struct {
	status
	Prefix string
	Now    string
	Rows   []row
}

func (a *api) page(w http.ResponseWriter, _ *http.Request, s Source) {
	v := view{status: statusOf(s), Prefix: a.prefix, Now: time.Now().UTC().Format(time.RFC3339)}
	err := s.Log().Records().Newest(func(_ int64, record []byte) bool {
		var r row
		if json.Unmarshal(record, &r) == nil {
			v.Rows = append(v.Rows, r)
		}
		return len(v.Rows) < shown
	})
	if err != nil {
		problem(w, http.StatusInternalServerError, "The records cannot be read.")
		return
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		problem(w, http.StatusInternalServerError, "The page cannot be made.")
		return
	}
	send(w, http.StatusOK, "text/html; charset=utf-8", b.Bytes())
}

func (a *api) style(w http.ResponseWriter, _ *http.Request, _ Source) {
	send(w, http.StatusOK, "text/css; charset=utf-8", styleSheet)
}
