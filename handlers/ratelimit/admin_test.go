package ratelimit

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// call calls the admin API.
func call(t *testing.T, method, path, body string) (status int, answer map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	w := httptest.NewRecorder()
	if err := serveAdmin(w, r); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(w.Body.String(), "{") {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
	}
	return w.Code, answer
}

func TestAdminShowsAndChangesKeys(t *testing.T) {
	s := &site{t: t, handler: ready(t, "zone admin {\n limit 5/1h\n override 192.0.2.2 9/1h\n}")}
	s.admitted(8, "/", alice)
	s.admitted(2, "/", bob)
	status, zone := call(t, http.MethodGet, "/soc2/v1/limits/admin?top=5", "")
	offenders, _ := zone["offenders"].([]any)
	busiest, _ := zone["busiest"].([]any)
	if status != 200 || zone["limit"] != "5/1h" || len(offenders) != 1 || len(busiest) != 2 {
		t.Fatal(status, zone)
	}
	offender, _ := offenders[0].(map[string]any)
	id, _ := offender["id"].(string)
	if offender["refused"] != 3.0 || len(id) != 32 || strings.Contains(id, "192.0.2") {
		t.Error(offender)
	}
	_, byKey := call(t, http.MethodGet, "/soc2/v1/limits/admin/usage?key=192.0.2.1", "")
	_, byID := call(t, http.MethodGet, "/soc2/v1/limits/admin/usage?id="+id, "")
	if byKey["used"] != 5.0 || byID["used"] != 5.0 || byKey["id"] != id || byID["left"] != 0.0 {
		t.Error(byKey, byID)
	}
	if _, u := call(t, http.MethodGet, "/soc2/v1/limits/admin/usage?key=192.0.2.2", ""); u["left"] != 7.0 {
		t.Error("of an override:", u)
	}
	order := func(action, rest string) int {
		status, _ := call(t, http.MethodPost, "/soc2/v1/limits/admin/"+action, `{"by":"ops","reason":"test",`+rest+`}`)
		return status
	}
	if got := order("reset", `"id":"`+id+`"`); got != 200 || s.get("/", alice) != 200 {
		t.Error("reset", got)
	}
	if got := order("ban", `"key":"192.0.2.1","for":"1h"`); got != 200 || s.get("/", alice) != 429 || s.event.Limit.Reason != "ban" {
		t.Error("ban", got, s.event.Limit)
	}
	if got := order("unban", `"key":"192.0.2.1"`); got != 200 || s.get("/", alice) != 200 {
		t.Error("unban", got)
	}
	if got := order("reset", `"all":true`); got != 200 || s.admitted(9, "/", alice) != 5 {
		t.Error("reset all", got)
	}
}

func TestAdminRefusesWhatIsNoOrder(t *testing.T) {
	ready(t, "zone orders {\n limit 5/1h\n}")
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/soc2/v1/limits", "", 200},
		{"GET", "/soc2/v1/limits/none", "", 404},
		{"GET", "/soc2/v1/limits/orders/what", "", 404},
		{"POST", "/soc2/v1/limits/orders", "", 405},
		{"GET", "/soc2/v1/limits/orders/ban", "", 405},
		{"GET", "/soc2/v1/limits/orders?top=-1", "", 400},
		{"GET", "/soc2/v1/limits/orders/usage", "", 400},
		{"GET", "/soc2/v1/limits/orders/usage?id=0123", "", 400},
		{"GET", "/soc2/v1/limits/orders/usage?id=00112233445566778899aabbccddeeff", "", 400},
		{"POST", "/soc2/v1/limits/orders/reset", `{"key":"x"}`, 400},
		{"POST", "/soc2/v1/limits/orders/reset", `{"by":"a","reason":"b"}`, 400},
		{"POST", "/soc2/v1/limits/orders/reset", `{"by":"a","reason":"b","key":"x","what":1}`, 400},
		{"POST", "/soc2/v1/limits/orders/ban", `{"by":"a","reason":"b","key":"x"}`, 400},
		{"POST", "/soc2/v1/limits/orders/ban", `{"by":"a","reason":"b","key":"x","for":"99999h"}`, 400},
		{"POST", "/soc2/v1/limits/orders/unban", `{"by":"a","reason":"b","key":"x"} {}`, 400},
	} {
		if got, answer := call(t, c.method, c.path, c.body); got != c.want {
			t.Errorf("%s %s %s: %d, not %d: %v", c.method, c.path, c.body, got, c.want, answer)
		}
	}
}
