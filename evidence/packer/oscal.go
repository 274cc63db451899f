package packer

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

//go:embed schema/oscal-complete-1.2.2.json.gz
var oscalSchema []byte

// oscalValidator is the official schema.
var oscalValidator = sync.OnceValues(func() (*jsonschema.Schema, error) {
	text, err := gzip.NewReader(bytes.NewReader(oscalSchema))
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(text)
	if err != nil {
		return nil, err
	}
	const name = "oscal.json"
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
})

// validate checks the OSCAL documents before they are signed.
func validate(files map[string][]byte) error {
	schema, err := oscalValidator()
	if err != nil {
		return fmt.Errorf("the OSCAL schema: %w", err)
	}
	for _, name := range []string{pack.AssessmentFile, pack.ComponentFile, pack.CatalogFile} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(files[name]))
		if err == nil {
			err = schema.Validate(doc)
		}
		if err != nil {
			return fmt.Errorf("%s is not valid OSCAL: %w", name, err)
		}
	}
	return nil
}
