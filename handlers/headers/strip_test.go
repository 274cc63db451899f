package headers

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// spelled makes a handler that puts fields into the header map as they are.
func spelled(h http.Header) handlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) error {
		maps.Copy(w.Header(), h)
		w.WriteHeader(http.StatusOK)
		return nil
	}
}

func TestSpellingIsNoWayAroundTheSite(t *testing.T) {
	h := site(t, Strict, "bound X-Bound one_of a\nset X-Set b\nremove X-Removed\nbound X-Odd one_of c")
	for range 20 { // the order of a map is another one each time
		res, _ := roundTrip(&server{primary: chain(spelled(http.Header{
			"x-bound": {"evil"}, "x-set": {"evil"}, "x-removed": {"evil"}, "X-odd": {"evil"},
			"content-type": {"text/html"}, "Content-Type": {"text/plain"}, "location": {"/a"}, "Location": {"/b"},
		}), h)}, true, nil)
		got := map[string]int{}
		for name, values := range res.Header {
			got[http.CanonicalHeaderKey(name)] += len(values)
			if slices.Contains(values, "evil") {
				t.Fatalf("%s: evil came through", name)
			}
		}
		if got["Content-Type"] != 1 || got["Location"] != 1 {
			t.Fatalf("%d types and %d locations", got["Content-Type"], got["Location"])
		}
	}
}

// Trailers come after the header was judged.
func TestTrailersAreCleaned(t *testing.T) {
	h := provisioned(t, Handler{Profile: Strict})
	last := func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Trailer", "X-Sum, X-Bad")
		if err := respond("text/plain", "x")(w, r); err != nil {
			return err
		}
		w.Header()["X-Sum"], w.Header()["X-Bad"] = []string{"1"}, []string{"a\x00b"}
		w.Header()[http.TrailerPrefix+"X-Worse"] = []string{"a\x1bb", "fine"}
		w.Header()[http.TrailerPrefix+"X-Long"] = []string{strings.Repeat("a", maxValueLength+1)}
		w.Header()[http.TrailerPrefix+"X-Powered-By"] = []string{"PHP"}
		return nil
	}
	rec := httptest.NewRecorder()
	(&server{primary: chain(last, h)}).ServeHTTP(rec, get())
	want := http.Header{"X-Sum": {"1"}, "X-Worse": {"fine"}}
	got := rec.Result().Trailer
	maps.DeleteFunc(got, func(_ string, values []string) bool { return len(values) == 0 })
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%q, want %q", got, want)
	}
}
