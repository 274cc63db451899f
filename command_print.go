package soc2

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

// printer is where a command prints records. What goes to a terminal has no
// character that acts on it: the log writes none, but the log may have been
// written by somebody else.
func printer(cmd *cobra.Command) io.Writer {
	w := cmd.OutOrStdout()
	if isTerminal(w) {
		return plainWriter{w}
	}
	return w
}

// plainWriter replaces what does not print. It is given whole lines.
type plainWriter struct{ w io.Writer }

func (p plainWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, plain(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r != utf8.RuneError && unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// brief is a record in a line for people.
func brief(record []byte) string {
	h, err := audit.ParseHeader(record)
	if err != nil {
		return "a record that is not JSON"
	}
	line := fmt.Sprintf("%8d %s %s", h.Seq, h.Time.UTC().Format("2006-01-02 15:04:05.000"), h.Kind)
	var body struct {
		Client   struct{ IP string }
		Request  struct{ Method, Host, Path string }
		Response struct{ Status int }
	}
	if json.Unmarshal(record, &body) == nil && body.Request.Method != "" {
		line += fmt.Sprintf(" %d %s %s%s from %s, %s", body.Response.Status, body.Request.Method, body.Request.Host, body.Request.Path, body.Client.IP, h.ID)
	}
	return strings.ReplaceAll(line, "\n", "?")
}
