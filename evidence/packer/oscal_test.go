package packer

import (
	"strings"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

func TestDocumentsThatAreNotOSCALAreNotSigned(t *testing.T) {
	err := validate(map[string][]byte{pack.AssessmentFile: []byte(`{"assessment-results":{"uuid":"x"}}`)})
	if err == nil || !strings.Contains(err.Error(), "not valid OSCAL") {
		t.Errorf("it says %v", err)
	}
}
