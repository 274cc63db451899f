package tlsfloor_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/tlsfloor"
)

func TestRulesAreReadFromAConfiguration(t *testing.T) {
	const all = `"min":"1.3","suites":["a"],"groups":["b"],"mode":"enforce","client_auth":["c"],"expiring":"14d","fips":"on","upstream":{"min":"1.2","unverified":["d"],"plaintext":["e"]}`
	full := tlsfloor.Rules{
		Min: "1.3", Suites: []string{"a"}, Groups: []string{"b"}, ClientAuth: []string{"c"}, Expiring: 14 * 24 * time.Hour, FIPS: "on", Fills: true,
		Upstream: &tlsfloor.Upstream{Min: "1.2", Unverified: []string{"d"}, Plaintext: []string{"e"}},
	}
	for _, c := range []struct {
		config string
		want   tlsfloor.Rules
		given  bool
	}{
		{`{}`, tlsfloor.Rules{}, false},
		{`{"apps":{"soc2":{}}}`, tlsfloor.Rules{}, false},
		{`{"apps":{"soc2":{"tls":{}}}}`, tlsfloor.Rules{Fills: true}, true},
		{`{"apps":{"soc2":{"tls":{"mode":"report","expiring":5}}}}`, tlsfloor.Rules{Expiring: 5}, true},
		{`{"apps":{"soc2":{"tls":{` + all + `}}}}`, full, true},
	} {
		got, given, err := tlsfloor.Configured([]byte(c.config))
		if err != nil || given != c.given || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, %v", c.config, got, given, err)
		}
	}
	for _, config := range []string{"", `{"apps":{"soc2":{"tls":{"expiring":"soon"}}}}`, `{"apps":{"soc2":{"tls":1}}}`} {
		if _, _, err := tlsfloor.Configured([]byte(config)); err == nil {
			t.Errorf("%q is read", config)
		}
	}
}
