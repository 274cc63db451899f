package review

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("review").Funcs(template.FuncMap{
	"join": strings.Join,
	"time": func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return text(t)
	},
}).Parse(pageText))

// HTML writes the document as one page without scripts, which asks for nothing
// from elsewhere and can be printed.
func (d *Document) HTML(w io.Writer) error {
	view := struct {
		*Document
		Facts [][2]string
	}{d, d.facts()}
	if err := pageTemplate.Execute(w, view); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
