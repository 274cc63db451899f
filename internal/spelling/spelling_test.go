package spelling_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/internal/jsonpatch"
	"github.com/caddy-soc2/caddy-soc2/internal/spelling"
)

// TestMembersAreFoundAsEncodingJSONFindsThem compares with the decoder.
func TestMembersAreFoundAsEncodingJSONFindsThem(t *testing.T) {
	names := spelling.Of("upstreams", "key")
	for _, name := range []string{"upstreams", "Upstreams", "UPSTREAMS", "upſtreams", "upſTREAMſ", "upstream", "up-streams", "upstreaḿs", "ı", "KEY", "Key", "kêy"} {
		var typed struct {
			Upstreams int `json:"upstreams"`
			Key       int `json:"key"`
		}
		b, err := json.Marshal(map[string]int{name: 7})
		if err == nil {
			err = json.Unmarshal(b, &typed)
		}
		if err != nil {
			t.Fatal(err)
		}
		doc, twice := names.Canonical(map[string]any{name: "7"})
		o, _ := doc.(map[string]any)
		if (typed.Upstreams == 7) != (o["upstreams"] == "7") || (typed.Key == 7) != (o["key"] == "7") || len(twice) != 0 {
			t.Errorf("%q: encoding/json has %+v, and this is %v %v", name, typed, o, twice)
		}
	}
}

// TestOtherMembersStay leaves names alone that it was not given, and the
// document that it got.
func TestOtherMembersStay(t *testing.T) {
	in, err := jsonpatch.Parse([]byte(`{"A":[{"Routes":1,"Other":2}],"b/c":{"ROUTES":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := jsonpatch.Parse([]byte(`{"A":[{"routes":1,"Other":2}],"b/c":{"routes":null}}`))
	out, twice := spelling.Of("routes").Canonical(in)
	if !reflect.DeepEqual(out, want) || twice != nil {
		t.Errorf("%v %v", out, twice)
	}
	if again, _ := jsonpatch.Parse([]byte(`{"A":[{"Routes":1,"Other":2}],"b/c":{"ROUTES":null}}`)); !reflect.DeepEqual(in, again) {
		t.Errorf("the document was changed: %v", in)
	}
}

// TestTwoSpellingsOfOneMemberAreTold names where they are.
func TestTwoSpellingsOfOneMemberAreTold(t *testing.T) {
	in, err := jsonpatch.Parse([]byte(`{"b/c":[0,{"routes":1,"Routes":2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, twice := spelling.Of("routes").Canonical(in); !reflect.DeepEqual(twice, []string{"/b~1c/1/routes"}) {
		t.Errorf("%v", twice)
	}
}
