package adminapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswerIsJSONOrAProblem(t *testing.T) {
	for _, c := range []struct {
		method string
		v      any
		err    error
		status int
		body   string
	}{
		{http.MethodGet, map[string]int{"n": 1}, nil, 200, `"n": 1`},
		{http.MethodHead, map[string]int{"n": 1}, nil, 200, ""},
		{http.MethodPost, nil, Fail(http.StatusConflict, "no %s", "room"), 409, `"detail": "no room"`},
		{http.MethodPost, nil, errors.New("broken"), 500, `"title": "Internal Server Error"`},
	} {
		w := httptest.NewRecorder()
		if err := Answer(w, httptest.NewRequestWithContext(t.Context(), c.method, "/", nil), c.v, c.err); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) || c.body == "" && w.Body.Len() > 0 {
			t.Errorf("%s %v: %d %s", c.method, c.err, w.Code, w.Body)
		}
		if problem := w.Header().Get("Content-Type") == "application/problem+json"; problem != (c.err != nil) || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %v: %v", c.method, c.err, w.Header())
		}
	}
}
