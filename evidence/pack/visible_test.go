package pack

import (
	"encoding/csv"
	"strings"
	"testing"
)

func TestRowsOfResultsAreNoFormulas(t *testing.T) {
	for _, s := range []string{"=1+1", "+1", "-1", "@A1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20A1", "'=1", "\t=1", "\u202e=1", "\r\n=1"} {
		row, err := csv.NewReader(strings.NewReader(string(appendRow(nil, []string{s, s})))).Read()
		if err != nil || len(row) != 2 {
			t.Fatal(row, err)
		}
		if strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", []rune(row[0])[0]) || strings.ContainsFunc(row[0], acts) {
			t.Errorf("%q is %q", s, row[0])
		}
	}
}
