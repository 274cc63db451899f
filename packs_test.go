package soc2_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/evidence/jobs"
	"github.com/caddy-soc2/caddy-soc2/evidence/pack"
)

// office is a server whose admin API is on a socket.
type office struct {
	t    *testing.T
	dir  string
	port int
	http *http.Client
}

func newOffice(t *testing.T) *office {
	t.Helper()
	dir, err := os.MkdirTemp("", "soc2") // short: it is the path of a socket too
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, dir: dir, port: freePort(t)}
	o.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", dir+"/admin.sock")
	}}}
	t.Cleanup(func() { _ = caddy.Stop(); _ = os.RemoveAll(dir) })
	o.load("one")
	return o
}

// load runs a configuration that answers with a text.
func (o *office) load(text string) {
	o.t.Helper()
	config := fmt.Sprintf(`{"admin": {"listen": "unix/%[1]s/admin.sock|0600", "origins": ["localhost"], "config": {"persist": false}},
		"storage": {"module": "file_system", "root": "%[1]s/caddy"}, "logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"soc2": {"instance": "test", "data_dir": "%[1]s/soc2"}, "http": {"servers": {"s": {"listen": ["127.0.0.1:%[2]d"],
			"listener_wrappers": [{"wrapper": "soc2"}], "routes": [{"handle": [{"handler": "static_response", "body": "%[3]s"}]}]}}}}}`, o.dir, o.port, text)
	if err := caddy.Load([]byte(config), true); err != nil {
		o.t.Fatal(err)
	}
}

// call calls the admin API, again if it is just being replaced.
func (o *office) call(method, path, body string) (status int, answer []byte) {
	o.t.Helper()
	for try := 0; ; try++ {
		req, err := http.NewRequestWithContext(o.t.Context(), method, "http://localhost/soc2/v1"+path, strings.NewReader(body))
		if err != nil {
			o.t.Fatal(err)
		}
		resp, err := o.http.Do(req)
		if err == nil {
			answer, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			return resp.StatusCode, answer
		}
		if try > 20 {
			o.t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// order orders a pack of today.
func (o *office) order() (id string) {
	o.t.Helper()
	status, answer := o.call("POST", "/packs", fmt.Sprintf(`{"from":%q,"to":%q,"full":true}`, time.Now().AddDate(0, 0, -1).Format(time.DateOnly), time.Now().AddDate(0, 0, 1).Format(time.DateOnly)))
	var j jobs.Job
	if err := json.Unmarshal(answer, &j); err != nil || status != http.StatusAccepted {
		o.t.Fatalf("%d %s", status, answer)
	}
	return j.ID
}

// over waits until a job is over.
func (o *office) over(id string) jobs.Job {
	o.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(10 * time.Millisecond) {
		var j jobs.Job
		status, answer := o.call("GET", "/packs/"+id, "")
		if err := json.Unmarshal(answer, &j); err != nil || status != http.StatusOK || time.Now().After(deadline) {
			o.t.Fatalf("%d %v %s", status, err, answer)
		}
		if j.State.Over() {
			return j
		}
	}
}

// said is what the log says of jobs, by id, once it is closed.
func (o *office) said() map[string][]string {
	o.t.Helper()
	all := map[string][]string{}
	_, err := records.Dir{FS: os.DirFS(o.dir + "/soc2/log")}.Range(context.Background(), 0, 1<<40, func(_ int64, record []byte) error {
		r, err := audit.Decode(record)
		if read, ok := r.Body.(*audit.EvidenceRead); ok && read.Resource == "pack" {
			all[read.Name] = append(all[read.Name], read.Filter)
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

func TestAReloadEndsNoPack(t *testing.T) {
	o := newOffice(t)
	var ids []string
	for range 5 {
		ids = append(ids, o.order())
	}
	o.load("two")            // while they wait
	for i, id := range ids { // each has the records of the orders before
		if j := o.over(id); j.State != jobs.Done || j.Size <= int64(i) {
			t.Fatalf("%+v", j)
		}
	}
	status, answer := o.call("GET", "/packs/"+ids[0]+".zip", "")
	key, err := audit.LoadKey(filepath.Join(o.dir, "soc2/keys/log.key"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := key.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	r, err := pack.Verify(bytes.NewReader(answer), int64(len(answer)), []note.Verifier{v}, pack.Options{})
	if err != nil || status != http.StatusOK || !r.Verified {
		t.Errorf("%d %v %+v", status, err, r)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for id, said := range o.said() {
		if strings.Join(said, ", ") != "ordered, done" {
			t.Errorf("%s: recorded %q", id, said)
		}
	}
}

func TestPacksThatAreNotDoneAtTheExitAreRecordedAsInterrupted(t *testing.T) {
	o := newOffice(t)
	var ids []string
	for range 8 {
		ids = append(ids, o.order())
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	said := o.said()
	interrupted := 0
	for _, id := range ids {
		list := said[id]
		switch {
		case len(list) == 2 && list[1] == "done":
		case len(list) == 2 && strings.HasPrefix(list[1], "interrupted: "):
			interrupted++
		default:
			t.Errorf("%s: recorded %q", id, list)
		}
	}
	o.load("again")
	again := 0
	for _, id := range ids {
		if o.over(id).State == jobs.Interrupted {
			again++
		}
	}
	if again != interrupted {
		t.Errorf("%d were interrupted, and are %d after a restart", interrupted, again)
	}
}
