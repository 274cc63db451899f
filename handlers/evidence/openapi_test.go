package evidence

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document is what tests read of the OpenAPI document.
type document struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		Role       string `json:"x-role"`
		Parameters []struct{ Name, In string }
		Responses  map[string]struct {
			Content map[string]json.RawMessage
		}
	}
}

func openapi(t testing.TB) (doc document, compiled func(path, status, mediaType string) *jsonschema.Schema) {
	t.Helper()
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("openapi.json", v); err != nil {
		t.Fatal(err)
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	return doc, func(path, status, mediaType string) *jsonschema.Schema {
		s, err := c.Compile("openapi.json#/paths/" + escape.Replace(path) + "/get/responses/" + status + "/content/" + escape.Replace(mediaType) + "/schema")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// TestEachRouteIsInTheDocumentAndTheOtherWayRound compares paths and roles.
func TestEachRouteIsInTheDocumentAndTheOtherWayRound(t *testing.T) {
	doc, _ := openapi(t)
	if doc.OpenAPI != "3.1.0" {
		t.Error(doc.OpenAPI)
	}
	inDocument := maps.Clone(doc.Paths)
	for _, r := range routes {
		path, api := strings.CutPrefix(r.pattern, apiVersion)
		if !api {
			continue // pages for people
		}
		path = strings.Replace(path, "...}", "}", 1)
		op, ok := inDocument[path]["get"]
		if !ok || len(inDocument[path]) != 1 {
			t.Errorf("%s is not in the document, or not as GET alone", path)
			continue
		}
		if op.Role != string(r.least) {
			t.Errorf("%s is for %s, the document says %s", path, r.least, op.Role)
		}
		for _, status := range []string{"200", "400", "403", "404", "429", "503"} {
			if op.Responses[status].Content == nil {
				t.Errorf("%s has no response %s", path, status)
			}
		}
		delete(inDocument, path)
	}
	for path := range inDocument {
		t.Errorf("%s is in the document and no route", path)
	}
}

// TestParametersAreThoseOfTheDocument asks for each with a parameter that there
// is, and with one that there is not.
func TestParametersAreThoseOfTheDocument(t *testing.T) {
	b := newBench(t)
	b.add("/")
	b.sign()
	h := b.handler(Handler{})
	doc, _ := openapi(t)
	good := map[string]string{"from": "2020-01-01", "to": "2100-01-01", "count": "none", "format": "csv", "limit": "3", "n": "3", "seed": "x"}
	for path, ops := range doc.Paths {
		if !strings.HasPrefix(path, "/populations") {
			continue
		}
		url := "/.soc2/v1" + strings.Replace(path, "{name}", "requests", 1)
		query := "?"
		for _, p := range ops["get"].Parameters {
			if value := good[p.Name]; p.In == "query" && value != "" {
				query += p.Name + "=" + value + "&"
			}
		}
		if w := get(t, h, url+query); w.Code != http.StatusOK {
			t.Errorf("%s%s: %d %s", url, query, w.Code, w.Body)
		}
		isProblem(t, get(t, h, url+query+"nonsense=1"), http.StatusBadRequest)
		isProblem(t, get(t, h, url+query+"from=2020-01-01"), http.StatusBadRequest)
		isProblem(t, get(t, h, url+query+"%zz"), http.StatusBadRequest)
	}
}

// TestAnswersAreWhatTheDocumentSays validates what each resource answers.
func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	b := newBench(t)
	_, id := b.add("/")
	b.hostile()
	b.sign()
	pack := b.packed()
	h := b.handler(Handler{Viewers: []string{"role:viewer"}, Auditors: []string{"user:auditor"}})
	_, schema := openapi(t)
	for path, urls := range map[string][]string{
		"/":                              {"/"},
		"/openapi.json":                  {"/openapi.json"},
		"/status":                        {"/status"},
		"/healthz":                       {"/healthz"},
		"/boundary":                      {"/boundary"},
		"/checks":                        {"/checks"},
		"/checks/{id}":                   {"/checks/TLS-001", "/checks/NONE"},
		"/criteria":                      {"/criteria"},
		"/criteria/{id}":                 {"/criteria/CC6.1", "/criteria/x"},
		"/findings":                      {"/findings"},
		"/exceptions":                    {"/exceptions"},
		"/upstreams":                     {"/upstreams", "/upstreams?from=x"},
		"/populations":                   {"/populations", "/populations?count=none", "/populations?count=exact&from=2020-01-01&to=2100-01-01", "/populations?from=2100-01-01"},
		"/populations/{name}":            {"/populations/requests", "/populations/principals", "/populations/requests?limit=2", "/populations/lockouts", "/populations/requests?from=2000-01-01&to=2001-01-01", "/populations/nothing", "/populations/requests?cursor=x"},
		"/populations/{name}/provenance": {"/populations/requests/provenance", "/populations/lockouts/provenance?format=ndjson", "/populations/requests/provenance?format=ocsf"},
		"/populations/{name}/sample":     {"/populations/requests/sample?seed=7", "/populations/principals/sample?seed=7&n=2", "/populations/requests/sample"},
		"/packs":                         {"/packs"},
		"/packs/{id}":                    {"/packs/" + pack, "/packs/x"},
		"/packs/{id}.zip":                {"/packs/x.zip"},
		"/log/proof/inclusion":           {"/log/proof/inclusion?seq=1", "/log/proof/inclusion?seq=1&size=2", "/log/proof/inclusion?seq=99999"},
		"/log/proof/consistency":         {"/log/proof/consistency?from=1", "/log/proof/consistency?from=1&to=2", "/log/proof/consistency?from=0", "/log/proof/consistency?from=2&to=1"},
		"/log/records/{ref}":             {"/log/records/0", "/log/records/" + id, "/log/records/x"},
	} {
		for _, url := range urls {
			for _, user := range []string{"auditor", "stranger"} {
				w, err := do(h, request{path: "/.soc2/v1" + url, user: user})
				if err != nil {
					t.Fatal(err)
				}
				secured(t, w)
				status, mediaType := http.StatusText(w.Code), w.Header().Get("Content-Type")
				if user == "stranger" && w.Code != http.StatusForbidden || status == "" {
					t.Errorf("%s for %s: %d", url, user, w.Code)
				}
				v, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
				if err != nil {
					t.Fatalf("%s: %v in %s", url, err, w.Body)
				}
				if err := schema(path, strconv.Itoa(w.Code), mediaType).Validate(v); err != nil {
					t.Errorf("%s for %s, %d: %v", url, user, w.Code, err)
				}
			}
		}
	}
}
