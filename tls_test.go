package soc2_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	soc2 "github.com/caddy-soc2/caddy-soc2"
	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/records"
	"github.com/caddy-soc2/caddy-soc2/happenings/document"
	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

// floored is a configuration with a floor and one site.
func floored(options, site string) string {
	return `
{
	GLOBAL
	soc2 {
		instance test
		data_dir DATA
		tls {
			` + options + `
		}
	}
}
SITE {
	` + site + `
	respond "x"
}
`
}

// tlsRecord is what a record has of TLS, and what was decided.
type tlsRecord struct {
	Kind string
	ID   string
	TLS  struct {
		Version string
		Below   []string
	}
	Access   struct{ Outcome, Rule, Reason string }
	Response struct{ Status int }
}

func (s *site) tlsRecords() (list []tlsRecord) {
	s.t.Helper()
	_, err := records.Dir{FS: os.DirFS(s.dir())}.Scan(0, func(_ int64, b []byte) error {
		var r tlsRecord
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		if r.Kind == string(audit.KindRequest) {
			list = append(list, r)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

// onlyAES256 is a floor that no client of Go reaches: it negotiates AES-128 or
// ChaCha20 in TLS 1.3, and a server written in Go cannot choose another.
const onlyAES256 = "min 1.3\n\t\t\tsuites TLS_AES_256_GCM_SHA384"

func TestConfigurationThatAllowsLessThanTheFloorIsRejected(t *testing.T) {
	s := newSite(t)
	if err := s.load(floored("min 1.2", "")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ tls, site, want string }{
		{"min 1.3", "tls {\n protocols tls1.2\n}", "server srv0, connection policy 0: version: have TLS 1.2"},
		{"min 1.3", "tls {\n protocols tls1.2 tls1.2\n}", "in the site's tls write protocols tls1.3 (JSON: protocol_min)"},
		{"groups x25519mlkem768", "tls {\n curves x25519 secp256r1\n}", "connection policy 0: groups: have x25519 secp256r1"},
		{"client_auth localhost", "", "client_auth: have no client authentication, want require_and_verify for localhost"},
		{"client_auth other.example", "", "no site other.example"},
		{"upstream", "reverse_proxy /app app.example:3000", "upstream_plain: have no TLS to app.example:3000"},
		{"upstream", "reverse_proxy /app https://app.example {\n transport http {\n tls_insecure_skip_verify\n}\n}", "upstream_verify: have insecure_skip_verify to app.example:443"},
		{"fips only", "", "fips: have the FIPS 140-3 mode off, want it only"},
		{"mode maybe", "", `tls mode "maybe": choose enforce or report`},
		{"min 1.0", "", `tls min "1.0": choose 1.2 or 1.3`},
		{"suites TLS_AES_128_GCM_SHA256", "", "min 1.2 needs one of TLS 1.2"},
	} {
		err := s.load(floored(c.tls, c.site))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", c.tls, err, c.want)
		}
		if got := s.get(s.url("/")); got.status != http.StatusOK {
			t.Errorf("%s: the configuration that ran answers %d", c.tls, got.status)
		}
	}
	if err := s.load(floored("min 1.3\n\t\t\tgroups x25519mlkem768 x25519", "tls {\n protocols tls1.3\n curves x25519mlkem768 x25519\n}")); err != nil {
		t.Error(err)
	}
	s.verify()
}

func TestRequestBelowTheFloorIsRefusedAndRecorded(t *testing.T) {
	for _, mode := range []string{"enforce", "report"} {
		s := newSite(t)
		if err := s.load(floored(onlyAES256+"\n\t\t\tmode "+mode, "tls {\n protocols tls1.3\n}\n\thandle_errors {\n\t\trespond \"page\"\n\t}")); err != nil {
			t.Fatal(err)
		}
		got := s.get(s.url("/"))
		status, access := http.StatusOK, ""
		if mode == "enforce" {
			status, access = http.StatusMisdirectedRequest, "deny"
		}
		if got.status != status || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: answered %d, %v", mode, got.status, got.header)
		}
		list := s.tlsRecords()
		if len(list) != 1 {
			t.Fatalf("%s: %d records", mode, len(list))
		}
		r := list[0]
		if r.ID != got.header.Get("X-Request-Id") || r.Response.Status != status || r.Access.Outcome != access || !slices.Equal(r.TLS.Below, []string{"cipher"}) || r.TLS.Version != "1.3" {
			t.Errorf("%s: recorded as %+v", mode, r)
		}
		if mode == "enforce" && (r.Access.Rule != "soc2 tls" || r.Access.Reason != "below the floor: cipher") {
			t.Errorf("%s: decided %+v", mode, r.Access)
		}
		s.verify()
	}
}

func TestReportServesAndTellsWhatIsBelowTheFloor(t *testing.T) {
	s := newSite(t)
	if err := s.load(floored("min 1.3\n\t\t\tmode report\n\t\t\texpiring 14d", "")); err != nil {
		t.Fatal(err)
	}
	if got := s.get(s.url("/")); got.status != http.StatusOK {
		t.Errorf("answered %d", got.status)
	}
	app, err := caddy.ActiveContext().AppIfConfigured("soc2")
	if err != nil {
		t.Fatal(err)
	}
	found := app.(*soc2.App).TLSFindings() //nolint:forcetypeassert // it is ours
	if len(found) != 1 || found[0].Kind != tlsfloor.Version || found[0].Server != "srv0" || found[0].Policy != 0 {
		t.Errorf("found %+v", found)
	}
	state, err := json.Marshal(app.(*soc2.App).TLSState()) //nolint:forcetypeassert // it is ours
	if err != nil || !strings.HasPrefix(string(state), `{"mode":"report","min":"1.3","findings":[{"kind":"version","server":"srv0","policy":0,`) || !strings.Contains(string(state), `"fips140":{"enabled":`) {
		t.Errorf("the state is %s, %v", state, err)
	}
	s.verify()
}

// TestPoliciesThatSayNothingGetTheFloor dials with TLS 1.2, and for a name that
// no site has.
func TestPoliciesThatSayNothingGetTheFloor(t *testing.T) {
	for _, site := range []string{"", "tls {\n alpn h2\n}", "tls {\n protocols tls1.3\n}"} {
		s := newSite(t)
		if err := s.load(floored("min 1.3\n\t\t\tgroups secp256r1", site)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			config *tls.Config
			want   string
		}{
			{&tls.Config{ServerName: "localhost", MaxVersion: tls.VersionTLS12}, "protocol version not supported"},
			{&tls.Config{ServerName: "other.example", MaxVersion: tls.VersionTLS12}, "protocol version not supported"},
			{&tls.Config{ServerName: "localhost", CurvePreferences: []tls.CurveID{tls.X25519}}, "handshake failure"},
			{&tls.Config{ServerName: "localhost"}, ""},
		} {
			c.config.InsecureSkipVerify = true
			conn, err := (&tls.Dialer{Config: c.config}).DialContext(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", s.https))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%q: %+v: %v, want %s", site, c.config, err, c.want)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if state := conn.(*tls.Conn).ConnectionState(); state.CurveID != tls.CurveP256 { //nolint:forcetypeassert // it is one
				t.Errorf("%q: negotiated %v", site, state.CurveID)
			}
			_ = conn.Close()
		}
		s.verify()
	}
}

// TestFloorHoldsForServersWithoutAnythingOfSoc2 has servers that Caddy may
// provision before or after the app soc2, in random order.
func TestFloorHoldsForServersWithoutAnythingOfSoc2(t *testing.T) {
	s := newSite(t)
	s.stock = true
	for range 10 {
		err := s.load(floored("min 1.3", "tls {\n curves x25519\n}"))
		if err == nil || !strings.Contains(err.Error(), "server srv0, connection policy 0: version: have TLS 1.2") {
			t.Fatal(err)
		}
	}
}

// TestProvisionedServersAreWrittenAsTheyWereConfigured holds what is found in a
// configuration against what is found once Caddy has provisioned it.
func TestProvisionedServersAreWrittenAsTheyWereConfigured(t *testing.T) {
	s := newSite(t)
	s.stock = true
	ca := filepath.Join(s.data, "ca.pem")
	writeAuthority(t, ca)
	caddyfile := strings.NewReplacer("CA", ca, "OTHER", fmt.Sprint("https://localhost:", freePort(t)), "PLAIN", fmt.Sprint("http://localhost:", freePort(t))).Replace(`
{
	GLOBAL
}
SITE {
	tls {
		protocols tls1.3
		client_auth {
			trust_pool file CA
		}
	}
	header Strict-Transport-Security "max-age=1"
	handle /a {
		reverse_proxy app.example:1 unix//run/x.sock
	}
	handle /b {
		reverse_proxy https://app.example {
			transport http {
				tls_insecure_skip_verify
				tls_except_ports 1
			}
			@bad status 500
			handle_response @bad {
				reverse_proxy 10.1.1.1:3
			}
		}
	}
	handle /c {
		reverse_proxy {
			dynamic a app.example 80
		}
	}
	handle_errors {
		php_fastcgi php.example:9000
	}
}
PLAIN {
	handle {
		respond "plain"
	}
}
OTHER {
	tls {
		ciphers TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
		curves x25519
		client_auth {
			mode verify_if_given
		}
	}
	respond "y"
}
`)
	config := s.adapted(caddyfile)
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	s.ready()
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		t.Fatal(err)
	}
	written, err := document.Of(nil, app.(*caddyhttp.App)) //nolint:forcetypeassert // it is Caddy's
	if err != nil {
		t.Fatal(err)
	}
	rules := tlsfloor.Rules{Min: "1.3", Groups: []string{"x25519mlkem768"}, ClientAuth: []string{"localhost"}, Upstream: &tlsfloor.Upstream{Min: "1.3"}}
	want, err := tlsfloor.Findings(config, rules)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tlsfloor.Findings(written, rules)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := said(got), said(want); !slices.Equal(a, b) || len(a) < 9 {
		t.Errorf("provisioned:\n%s\nconfigured:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

// said is what findings say, without where.
func said(list []tlsfloor.Finding) (out []string) {
	for _, f := range list {
		f.Remedy, _, _ = strings.Cut(f.Remedy, "; there is no policy yet")
		out = append(out, f.String())
	}
	slices.Sort(out)
	return out
}
