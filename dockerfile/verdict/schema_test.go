package verdict_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-soc2/caddy-soc2/dockerfile"
	"github.com/caddy-soc2/caddy-soc2/dockerfile/verdict"
)

// TestSARIFIsValid validates verdicts against the schema of SARIF 2.1.0.
func TestSARIFIsValid(t *testing.T) {
	data, err := os.ReadFile("../../controls/testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("sarif.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	const bad = "FROM node:latest\nENV API_TOKEN=abc\nADD https://example.com/x /x\nRUN curl http://example.com/a | sh\nCMD node app\n"
	for _, name := range []string{"Dockerfile", "a b/ä#?%.Dockerfile", "/abs/Dockerfile", `C:\x\Dockerfile`} {
		file, err := dockerfile.Parse(name, []byte(bad), nil)
		if err != nil {
			t.Fatal(err)
		}
		found, err := file.Check(dockerfile.Options{Profile: dockerfile.Strict})
		if err != nil || len(found) < 6 {
			t.Fatalf("%d findings, %v", len(found), err)
		}
		found[0].Waived = &dockerfile.Waived{Reason: "why \u2028 <b>", Approver: "alice"}
		found[1].Baseline = true
		input := verdict.NewInput(name, []byte(bad))
		for what, list := range map[string][]*verdict.Verdict{
			"findings": {verdict.New(name, "", &dockerfile.Options{Profile: dockerfile.Strict}, found, []verdict.Input{input})},
			"clean":    {verdict.New(name, "app", &dockerfile.Options{}, nil, []verdict.Input{input})},
			"two":      {verdict.New(name, "", &dockerfile.Options{}, found, nil), verdict.New("other", "", &dockerfile.Options{}, found, nil)},
			"none":     nil,
		} {
			var b bytes.Buffer
			if err := verdict.WriteSARIF(&b, "v1.2.3", list); err != nil {
				t.Fatal(err)
			}
			v, err := jsonschema.UnmarshalJSON(&b)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
}
