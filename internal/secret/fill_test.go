package secret

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

type inner struct {
	Text string   `json:"text"`
	List []string `json:"list"`
}

type options struct {
	inner
	Name   string            `json:"name,omitempty"`
	One    *inner            `json:"one"`
	None   *inner            `json:"none"`
	Some   []inner           `json:"some"`
	Plain  map[string]string `json:"plain"`
	Deep   map[string]inner  `json:"deep"`
	Raw    json.RawMessage   `json:"raw"`
	Any    any               `json:"any"`
	Kept   string            `json:"-"`
	Number int               `json:"number"`
	own    string
}

func TestTextsOfAllOptionsAreFilledIn(t *testing.T) {
	t.Setenv("SOC2_TEST_SET", "value")
	file := write(t, "file", []byte("from a file"))
	const env, request = "{env.SOC2_TEST_SET}", "{http.request.host}"
	o := options{
		inner: inner{Text: env}, Name: "a " + env, One: &inner{Text: "{file." + file + "}", List: []string{request, env + "/" + request}},
		Some: []inner{{}, {Text: env}}, Plain: map[string]string{"k": env, "other": "x"}, Deep: map[string]inner{"d": {List: []string{env}}},
		Raw: json.RawMessage(env), Any: env, Kept: env, own: env,
	}
	if err := Fill(&o); err != nil {
		t.Fatal(err)
	}
	want := options{
		inner: inner{Text: "value"}, Name: "a value", One: &inner{Text: "from a file", List: []string{request, "value/" + request}},
		Some: []inner{{}, {Text: "value"}}, Plain: map[string]string{"k": "value", "other": "x"}, Deep: map[string]inner{"d": {List: []string{"value"}}},
		Raw: json.RawMessage(env), Any: env, Kept: env, own: env,
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("%+v", o)
	}
}

func TestBracesAroundPlaceholdersStayAsTheyAre(t *testing.T) {
	t.Setenv("SOC2_TEST_SET", "value")
	for text, want := range map[string]string{
		`{"group":"{env.SOC2_TEST_SET}"}`:      `{"group":"value"}`,
		`{ {env.SOC2_TEST_SET}`:                `{ value`,
		`a\{b {env.SOC2_TEST_SET}`:             `a\{b value`,
		`\{env.SOC2_TEST_SET}`:                 `\{env.SOC2_TEST_SET}`,
		`{http.vars.x}{env.SOC2_TEST_SET}{x}}`: `{http.vars.x}value{x}}`,
	} {
		o := options{Name: text}
		if err := Fill(&o); err != nil || o.Name != want {
			t.Errorf("%s: %q, %v", text, o.Name, err)
		}
	}
}

func TestOptionWhosePlaceholderStandsForNothingIsNamed(t *testing.T) {
	t.Setenv("SOC2_TEST_EMPTY", "")
	for option, o := range map[string]*options{
		"name":         {Name: "x{env.SOC2_TEST_UNSET}"},
		"one.list[1]":  {One: &inner{List: []string{"a", "{env.SOC2_TEST_EMPTY}"}}},
		"some[0].text": {Some: []inner{{Text: "{file./nowhere/at/all}"}}},
		"plain.k":      {Plain: map[string]string{"k": "{env.SOC2_TEST_UNSET}"}},
		"deep.d.text":  {Deep: map[string]inner{"d": {Text: "{env.SOC2_TEST_UNSET}"}}},
	} {
		if err := Fill(o); err == nil || !strings.HasPrefix(err.Error(), option+" ") {
			t.Errorf("%s: %v", option, err)
		}
	}
}
