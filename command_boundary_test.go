package soc2

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit/boundary"
)

func TestBoundaryIsPrintedForPeopleAndMachines(t *testing.T) {
	var text, machine bytes.Buffer
	if err := printBoundary(&text, false); err != nil {
		t.Fatal(err)
	}
	if err := printBoundary(&machine, true); err != nil {
		t.Fatal(err)
	}
	var b boundary.Boundary
	if err := json.Unmarshal(machine.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Classes {
		if !strings.Contains(text.String(), c.ID+" ") {
			t.Errorf("%s is not printed", c.ID)
		}
	}
	if len(b.Classes) != len(boundary.Now().Classes) {
		t.Errorf("%d classes", len(b.Classes))
	}
}
