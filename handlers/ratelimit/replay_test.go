package ratelimit

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-soc2/caddy-soc2/audit"
)

const replayConfig = `{"apps":{"http":{"servers":{"s":{"routes":[
	{"match":[{"host":["example.com"]}],"handle":[{"handler":"subroute","routes":[
		{"handle":[
			{"handler":"soc2_rate_limit","zones":[
				{"name":"login","match":[{"path":["/login"]}],"limit":"2/1m","charge":{"statuses":[401]}},
				{"name":"all","limit":"5/1m","shadow":true,"concurrency":9}
			]},
			{"handler":"soc2_rate_limit","phase":"post_auth","zones":[{"name":"user","key":["principal"],"limit":"3/1h","empty_key":"skip"}]}
		]}
	]}]}
]}}}}}`

func TestReplayTellsWhoWouldHaveBeenLimited(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	r, err := NewReplay(ctx, []byte(replayConfig), 5)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	request := func(host, path, ip, user string, status int) {
		at = at.Add(time.Second)
		if err := r.Request(&audit.Event{Start: at, Method: "GET", Host: host, Path: path, ClientIP: ip, User: user, Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 { // of which 2 fail, and 4 would not have been let try
		request("example.com", "/login", "192.0.2.1", "", 401)
	}
	for range 10 {
		request("example.com", "/login", "2001:db8::1", "", 200)
		request("elsewhere.example", "/", "192.0.2.1", "", 200)
	}
	at = at.Add(time.Hour)
	for range 7 {
		request("example.com", "/", "192.0.2.9", "alice", 200)
	}
	var got []string
	for _, z := range r.Report() {
		got = append(got, fmt.Sprintf("%s asked %d refused %d keys %d", z.Zone, z.Asked, z.Refused, z.Keys))
		for _, k := range z.Top {
			got = append(got, fmt.Sprintf("%s %d", k.Key, k.Refused))
		}
	}
	want := []string{
		"all asked 23 refused 6 keys 2", "2001:db8::/64 4", "192.0.2.9 2",
		"login asked 16 refused 4 keys 1", "192.0.2.1 4",
		"user asked 7 refused 4 keys 1", "alice 4",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, not\n%q", got, want)
	}
}

// TestReplayFollowsRoutesAsCaddyDoes has a limit in one of two routes of a group,
// one after a route that ends the chain, and one of another server.
func TestReplayFollowsRoutesAsCaddyDoes(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	zone := func(name string) string {
		return `{"handler":"soc2_rate_limit","zones":[{"name":"` + name + `","limit":"100/1h"}]}`
	}
	r, err := NewReplay(ctx, []byte(`{"apps":{"http":{"servers":{
		"a":{"routes":[
			{"group":"g","match":[{"path":["/api/*"]}],"handle":[`+zone("api")+`]},
			{"group":"g","handle":[`+zone("rest")+`]},
			{"match":[{"path":["/end"]}],"handle":[{"handler":"subroute","routes":[{"terminal":true,"handle":[{"handler":"static_response"}]}]}]},
			{"handle":[{"handler":"invoke","name":"n"}]}
		],"named_routes":{"n":{"handle":[`+zone("named")+`]}},
		"errors":{"routes":[{"handle":[`+zone("never")+`]}]}},
		"b":{"routes":[{"handle":[`+zone("other")+`]}]}
	}}}}`), 5)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for path, server := range map[string]string{"/api/1": "a", "/": "a", "/end": "a", "/api/2": "b"} {
		if err := r.Request(&audit.Event{Start: at, Server: server, Method: "GET", Host: "x", Path: path, ClientIP: "192.0.2.1"}); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]int64{"api": 1, "rest": 2, "named": 2, "other": 1}
	for _, z := range r.Report() {
		if z.Asked != want[z.Zone] {
			t.Errorf("zone %s was asked %d times, not %d", z.Zone, z.Asked, want[z.Zone])
		}
	}
	if len(r.Report()) != len(want) {
		t.Errorf("%+v", r.Report())
	}
}
